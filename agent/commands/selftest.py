"""`plumbline-agent selftest`: run an unpacked bundle's golden inputs and compare with its golden outputs."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from agent.decide.thresholds import decide
from agent.health.own_limits import limit_this_process, peak_memory_mib
from contract.decode import Prediction, decode, softmax
from contract.errors import BadBundle, BadModel, PlumblineError
from contract.manifest import Artefact, LabelKind, Manifest, OutputKind

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Probabilities this near to a threshold, or to each other, may fall either way on another machine.
_BORDER = 1e-3

_EXAMPLE = """\
Exit code 0: the bundle loads and gives what its golden vectors say; 1: it does not, with one line why.

example:
  plumbline-agent selftest /var/lib/plumbline/bundles/slots/3f9a... --json
"""


class _Answer(msgspec.Struct, frozen=True):
    ok: bool
    bundle: str
    artefacts: int
    inputs: int
    max_abs_error: float
    reason: str = ""
    decisions: int = 0
    """Golden inputs whose label and verdict were compared; 0: the bundle has no golden vectors, and only loads."""
    memory_mib: float = 0.0
    """Peak memory above what the process held before it read the bundle; 0: the system does not say."""
    seconds: float = 0.0


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "selftest",
        help="check that an unpacked bundle gives its golden answers",
        description="Load an unpacked bundle here and compare its answers with its golden vectors.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, metavar="SLOT_FOLDER", help="an unpacked bundle")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--memory-mib", type=int, default=0, metavar="N", help="limit the address space (0: no limit)")
    parser.add_argument("--cpu-s", type=int, default=0, metavar="N", help="limit the processor time (0: no limit)")
    parser.add_argument("--wall-s", type=int, default=0, metavar="N", help="end by SIGALRM after so long (0: no limit)")
    parser.add_argument("--nice", type=int, default=0, metavar="N", help="run at a lower priority, 0 to 19")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the result; return 0 when the bundle passed, else 1."""
    # Before anything of the bundle is read: it is a stranger until it passed.
    limit_this_process(args.memory_mib, args.cpu_s, args.wall_s, args.nice)
    try:
        answer = selftest(args.folder)
    except PlumblineError as error:
        answer = _Answer(False, str(args.folder), 0, 0, 0.0, error.one_line())
    except MemoryError:
        answer = _Answer(False, str(args.folder), 0, 0, 0.0, f"the bundle needs more than {args.memory_mib} MiB")
    if args.json:
        print(msgspec.json.encode(answer).decode())
    elif answer.ok:
        print(
            f"ok: bundle {answer.bundle[:12]}, {answer.inputs} inputs, largest error {answer.max_abs_error:.2g},"
            f" {answer.memory_mib:.0f} MiB, {answer.seconds:.1f} s"
        )
    if not answer.ok:
        print(f"error: {answer.reason}", file=sys.stderr)
    return 0 if answer.ok else 1


def selftest(folder: Path) -> _Answer:
    """Return the answer for the bundle unpacked in `folder`.

    Every artefact must load and answer with finite scores. The first one's must match the golden scores, and decide every
    golden input as they do: a tolerance that is wide enough for any answer lets no other decision through. One behind it that has
    thresholds of its own, and so may pass parts, must name the inputs that the first is sure of as it does; its scores are its own.

    Raises:
        BadBundle: a file is missing, changed, or no golden file.
        BadModel: an artefact does not load, or answers otherwise than it must.
    """
    from agent.slots.unpacked import open_folder
    from contract.golden_behind import first_disagreement

    began_s, before_mib = time.monotonic(), peak_memory_mib()
    bundle = open_folder(folder)
    manifest = bundle.manifest
    pixels, golden = _golden_vectors(folder, manifest)
    worst, decisions = 0.0, 0
    for rank, artefact in enumerate(manifest.artefacts):
        scores = _scores(folder, manifest, artefact, pixels)
        if rank == 0 and golden is not None and manifest.golden is not None:
            worst = float(abs(scores - golden).max())
            if not worst <= manifest.golden.max_abs_error:
                raise BadModel(
                    f"'{artefact.file}' is {worst:.3g} off its golden scores, at most {manifest.golden.max_abs_error:.3g}"
                    " is allowed",
                    hint="this machine's runtime computes otherwise than the gate's",
                )
            for at, (mine, theirs) in enumerate(zip(scores, golden, strict=True)):
                decisions += _compare_decisions(manifest, artefact, at, mine, theirs)
        elif golden is not None and artefact.thresholds is not None:
            at_odds = first_disagreement(scores, golden, artefact.output)
            if at_odds is not None:
                raise BadModel(
                    f"'{artefact.file}' names golden input {at_odds} otherwise than the first artefact, which is sure of it",
                    hint="this machine's runtime computes otherwise than the gate's",
                )
    return _Answer(
        True,
        bundle.digest,
        len(manifest.artefacts),
        len(pixels),
        worst,
        decisions=decisions,
        memory_mib=round(max(peak_memory_mib() - before_mib, 0.0), 1),
        seconds=round(time.monotonic() - began_s, 3),
    )


def _compare_decisions(
    manifest: Manifest, artefact: Artefact, at: int, scores: NDArray[np.float32], golden: NDArray[np.float32]
) -> bool:
    """Return whether golden input `at` was compared: one so near a threshold that rounding decides is not.

    Raises:
        BadModel: the scores lead to another label or verdict than the golden ones.
    """
    mine, theirs = (decode(each, manifest.labels, artefact.output) for each in (scores, golden))
    if _is_borderline(theirs, golden, manifest, artefact):
        return False
    thresholds = manifest.thresholds_of(artefact)
    here, there = (decide(each, thresholds).verdict.value for each in (mine, theirs))
    if (mine.label.name, here) != (theirs.label.name, there):
        raise BadModel(
            f"'{artefact.file}' says {mine.label.name}, {here} of golden input {at}, not {theirs.label.name}, {there}",
            hint="this machine's runtime computes otherwise than the gate's",
        )
    return True


def _is_borderline(theirs: Prediction, golden: NDArray[np.float32], manifest: Manifest, artefact: Artefact) -> bool:
    shares = sorted(softmax(golden) if artefact.output is OutputKind.LOGITS else golden)
    if len(shares) > 1 and shares[-1] - shares[-2] < _BORDER:
        return True
    good = theirs.label.kind is LabelKind.GOOD
    thresholds = manifest.thresholds_of(artefact)
    share, threshold = (theirs.good, thresholds.pass_at) if good else (theirs.confidence, thresholds.reject_at)
    return abs(share - threshold) < _BORDER


def _golden_vectors(folder: Path, manifest: Manifest) -> tuple[NDArray[np.uint8], NDArray[np.float32] | None]:
    import numpy as np

    if manifest.golden is None:
        grey = np.full((1, manifest.preprocess.height, manifest.preprocess.width, 1), 128, np.uint8)
        return grey, None
    from agent.slots.golden_file import read_golden

    pixels, scores = read_golden(folder / manifest.golden.file)
    if pixels.ndim not in (3, 4) or not len(pixels) or scores.shape != (len(pixels), len(manifest.labels)):
        raise BadBundle(f"'{manifest.golden.file}' holds pixels {list(pixels.shape)} and scores {list(scores.shape)}")
    if not np.isfinite(scores).all():
        raise BadBundle(f"'{manifest.golden.file}' holds scores that nothing could be compared with")
    return pixels, scores


def _scores(folder: Path, manifest: Manifest, artefact: Artefact, pixels: Any) -> NDArray[np.float32]:
    import numpy as np

    from agent.runtime.load import load_runtime
    from contract.preprocess import preprocess

    runtime = load_runtime(folder, manifest, artefact)
    try:
        rows = []
        for image in pixels:
            scores = runtime.run(preprocess(image, manifest.preprocess))
            decode(scores, manifest.labels, artefact.output)  # K finite numbers, or BadModel
            rows.append(scores)
        return np.stack(rows)
    finally:
        runtime.close()
