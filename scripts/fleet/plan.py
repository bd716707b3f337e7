"""What a simulated run is to do."""

from __future__ import annotations

import re
from dataclasses import dataclass

from contract.errors import InvalidConfig

_UNITS = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True)
class Outage:
    """The broker is away for `length_s`, from `at_s` after the first summary."""

    length_s: float
    at_s: float


@dataclass(frozen=True, slots=True)
class Plan:
    """`rate` summaries a minute from each of `stations`, for `minutes`; their clocks are off by up to `skew_s`.

    `broker` "" is one of our own; `database` as `scripts.fleet.databases.database` takes it.
    """

    stations: int
    rate: float = 1.0
    minutes: float = 3.0
    outage: Outage | None = None
    skew_s: float = 0.0
    database: str = "sqlite"
    broker: str = ""
    workers: int = 1
    connect_per_s: float = 500.0
    seed: int = 1


def parse_seconds(text: str) -> float:
    """Return the seconds in "30s", "500ms", "2m", "1h" or a plain number.

    Raises:
        InvalidConfig: it is none of these.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", text.strip())
    if found is None or found[2] not in _UNITS:
        raise InvalidConfig(f"'{text}' is no length of time", hint="e.g. 30s, 2m, 500ms")
    return float(found[1]) * _UNITS[found[2]]


def parse_outage(text: str, minutes: float) -> Outage:
    """Return the outage of "LENGTH" (in the middle of the run) or "LENGTH@START".

    Raises:
        InvalidConfig: it is neither, or does not end within the run.
    """
    length, _, start = text.partition("@")
    length_s, whole_s = parse_seconds(length), minutes * 60.0
    at_s = parse_seconds(start) if start else max((whole_s - length_s) / 2.0, 0.0)
    if at_s + length_s > whole_s:
        raise InvalidConfig(
            f"an outage of {length_s:g} s from {at_s:g} s does not end within {whole_s:g} s",
            hint="more --minutes, or a shorter or an earlier --outage",
        )
    return Outage(length_s, at_s)
