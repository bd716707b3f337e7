"""plumbline-cloud drift check: two folders of images, sketched as a station would, and judged."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from cloud.commands.output import print_json
from cloud.drift.baseline import fit_inputs
from cloud.drift.causes import FAULTS, Cause
from cloud.drift.observation import Observation, WindowRecord, observation
from cloud.drift.one_shot import judge_once
from cloud.drift.policy import MIN_ENROL_WINDOWS, DriftPolicy
from cloud.retrain.images import IMAGE_SUFFIXES, load_image
from contract.errors import BadDataset, BadImage
from contract.sketches.enrolment import Enrolment
from contract.sketches.frame_stats import FrameStats, frame_stats
from contract.sketches.rolling import RollingSketch
from contract.sketches.window import FEATURES_VERSION, SketchIdentity

_MOST_WINDOWS = 24
_WINDOW_FRAMES = 8
_LEAST_REFERENCE = MIN_ENROL_WINDOWS * 4
_LEAST_CURRENT = 8


def register_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "reference", type=Path, help="folder of images of what is normal, at least 48; folders inside count"
    )
    parser.add_argument("current", type=Path, help="folder of images to compare, at least 8")
    parser.add_argument(
        "--alpha", type=float, default=1e-3, help="false alarms allowed in so many checks (default %(default)s)"
    )
    parser.add_argument("--in-order", action="store_true", help="reference images follow one another in time, by name")
    parser.add_argument("--seed", type=int, default=1, help="of the order of reference images (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=check)


def check(args: argparse.Namespace) -> int:
    """Compare the folders; return 3 when the current one has drifted, else 0."""
    if not 0.0 < args.alpha < 1.0:
        raise BadDataset(f"--alpha {args.alpha} is not between 0 and 1")
    if args.seed < 0:
        raise BadDataset(f"--seed {args.seed} is below 0", hint="use any whole number from 0 on")
    reference, unread = _stats(args.reference, _LEAST_REFERENCE)
    current, unread_now = _stats(args.current, _LEAST_CURRENT)
    if not args.in_order:
        order = np.random.Generator(np.random.PCG64(args.seed)).permutation(len(reference))
        reference = [reference[index] for index in order]
    enrolment = Enrolment(len(reference))
    for stats in reference:
        enrolment.add(stats)
    enrolled = enrolment.reference()
    identity = SketchIdentity(FEATURES_VERSION, enrolled.seed, enrolled.digest(), "", 1)
    sketch = RollingSketch(identity, enrolled)
    windows = min(max(len(reference) // _WINDOW_FRAMES, MIN_ENROL_WINDOWS), _MOST_WINDOWS)
    parts = np.array_split(np.arange(len(reference)), windows)
    seen = [_window(sketch, [reference[index] for index in part]) for part in parts]
    baseline = fit_inputs(seen, independent=not args.in_order)
    verdict, log_e, evidence = judge_once(baseline, _window(sketch, current), args.alpha, DriftPolicy().tolerance)
    drifted, broken = verdict.cause is not Cause.NONE, verdict.cause in FAULTS
    # A folder is no window of a station.
    sentence = verdict.sentence.removesuffix(" for 1 window") if broken else verdict.sentence
    if args.json:
        print_json(
            {
                "drifted": drifted,
                "cause": verdict.cause.value,
                "sentence": sentence,
                "log10_e": None if math.isinf(log_e) else log_e / math.log(10.0),
                "log10_e_limit": -math.log10(args.alpha),
                "evidence": [{"figure": item.figure, "z": item.z} for item in evidence],
                "reference_images": len(reference),
                "current_images": len(current),
                "unreadable": [str(file) for file in (*unread, *unread_now)],
                "doubts": msgspec.to_builtins(baseline.doubts),
            }
        )
        return 3 if drifted else 0
    print(f"{'drift' if drifted else 'no drift'}: {sentence}")
    # A broken camera is seen as it is, and nothing was weighed.
    weighed = f"; evidence 10^{log_e / math.log(10.0):.1f}, drift from 10^{-math.log10(args.alpha):.1f} on"
    print(f"  {len(current)} images against {len(reference)} of the reference{'' if broken else weighed}")
    for item in evidence:
        print(f"  {item.figure}: {item.z:+.1f} sd")
    for doubt in baseline.doubts:
        print(f"  the reference is doubtful: {doubt}")
    if unread or unread_now:
        print(f"  {len(unread) + len(unread_now)} files could not be read and are left out (--json names them)")
    return 3 if drifted else 0


def _window(sketch: RollingSketch, frames: Sequence[FrameStats]) -> Observation:
    for stats in frames:
        sketch.observe(stats, -1, 0.0, 0.0)
    # Files say nothing of the time of day.
    return observation(WindowRecord("", "", 0, 0.0, 0.0, sketch.close(), clock_synced=False))


def _stats(folder: Path, least: int) -> tuple[list[FrameStats], list[Path]]:
    """Return the statistics of the images in `folder`, by name, and the files that are none.

    Raises:
        BadDataset: there is no such folder, or it has too few images.
    """
    if not folder.is_dir():
        raise BadDataset(f"{folder} is no folder", hint="give a folder of images")
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES)
    found, unread = [], []
    for file, pixels in _pixels(files, folder):
        if pixels is None:
            unread.append(file)
        else:
            found.append(frame_stats(pixels))
    if len(found) < least:
        raise BadDataset(
            f"{folder} has {len(found)} readable images, and {least} are needed",
            hint="give more images: fewer cannot tell drift from chance",
        )
    return found, unread


def _pixels(files: Sequence[Path], folder: Path) -> Iterator[tuple[Path, NDArray[np.uint8] | None]]:
    shown = sys.stderr.isatty()
    for number, file in enumerate(files, start=1):
        if shown and (number % 50 == 0 or number == len(files)):
            end = "\n" if number == len(files) else ""
            print(f"\r{folder}: {number} of {len(files)} images", end=end, file=sys.stderr, flush=True)
        try:
            yield file, load_image(file).pixels
        except BadImage:
            yield file, None
