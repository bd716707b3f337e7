"""What quantization is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec

from cloud.gate.scorecard import Promise
from cloud.quantize.ranges import Calibration
from cloud.quantize.scheme import Scheme
from contract.errors import InvalidConfig


class QuantizeJob(msgspec.Struct, frozen=True):
    """What to quantize, and how.

    `methods`: calibrations to try. `images`: how many training images calibrate. `max_drop`: accuracy that an artefact may lose on
    the calibration split before it may not ship. `alpha`, `delta`: the promise behind `pass_at` (see thresholds); None
    for the parent run's, so that a retrain never promises less, or what Promise says.

    `schemes`: those to make; U8S8 always is. `fp16`: whether to make that one too. `exclude`: nodes left in full precision.
    `search_s`: time box for finding further ones when int8 loses too much; 0 for none. `qat_steps`: steps of fine-tuning when it
    still does, None for the recipe's (or 200 where it names none), 0 for none. `debug`: whether to write quantize_debug.json.
    """

    run: str
    methods: tuple[Calibration, ...] = tuple(Calibration)
    images: int = 96
    max_drop: float = 0.01
    alpha: float | None = None
    delta: float | None = None
    seed: int = 0
    threads: int = 2
    schemes: tuple[Scheme, ...] = (Scheme.U8S8,)
    fp16: bool = False
    exclude: tuple[str, ...] = ()
    search_s: float = 60.0
    qat_steps: int | None = None
    debug: bool = False


Named = TypeVar("Named", Calibration, Scheme)


def promise_of(alpha: float | None, delta: float | None, otherwise: Promise) -> Promise:
    """Return the promise with what is None taken from `otherwise`."""
    return Promise(
        otherwise.alpha if alpha is None else alpha,
        otherwise.delta if delta is None else delta,
    )


def parse_methods(text: str) -> tuple[Calibration, ...]:
    """Return the calibrations in a comma-separated list.

    Raises:
        InvalidConfig: one of them does not exist.
    """
    return _parse(text, Calibration, "calibration")


def parse_schemes(text: str) -> tuple[Scheme, ...]:
    """Return the schemes in a comma-separated list. Raises: as `parse_methods`."""
    return _parse(text, Scheme, "scheme")


def check_job(job: QuantizeJob) -> None:
    """Raise InvalidConfig for figures that no quantization could work with."""
    wrong = {
        "--images": job.images < 1,
        "--max-drop": not 0 <= job.max_drop <= 1,
        "--alpha": job.alpha is not None and not 0 < job.alpha < 1,
        "--delta": job.delta is not None and not 0 < job.delta < 1,
        "--search-s": not job.search_s >= 0,
        "--qat-steps": job.qat_steps is not None and job.qat_steps < 0,
    }
    for name, is_wrong in wrong.items():
        if is_wrong:
            raise InvalidConfig(f"{name} is out of range", hint="quantize --help says what each is")


def read_job(file: Path) -> QuantizeJob:
    """Return the job in a file.

    Raises:
        InvalidConfig: it holds none.
    """
    try:
        return msgspec.json.decode(file.read_bytes(), type=QuantizeJob)
    except (OSError, msgspec.DecodeError) as error:
        raise InvalidConfig(f"{file} is no quantization job: {error}", hint="use 'plumbline-cloud quantize'") from error


def _parse(text: str, kind: type[Named], word: str) -> tuple[Named, ...]:
    try:
        return tuple(dict.fromkeys(kind(name.strip()) for name in text.split(",")))
    except ValueError as error:
        known = ", ".join(each.value for each in kind)
        raise InvalidConfig(f"'{text}' names a {word} that does not exist", hint=f"use {known}") from error
