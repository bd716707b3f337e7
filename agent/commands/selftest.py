"""`plumbline-agent selftest`: run an unpacked bundle's golden inputs and compare with its golden outputs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from contract.errors import BadBundle, BadModel, PlumblineError
from contract.manifest import Artefact, Manifest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

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
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the result; return 0 when the bundle passed, else 1."""
    # Before anything of the bundle is read: it is a stranger until it passed.
    _limit(args.memory_mib, args.cpu_s)
    try:
        answer = selftest(args.folder)
    except PlumblineError as error:
        answer = _Answer(False, str(args.folder), 0, 0, 0.0, error.one_line())
    except MemoryError:
        answer = _Answer(False, str(args.folder), 0, 0, 0.0, f"the bundle needs more than {args.memory_mib} MiB")
    if args.json:
        print(msgspec.json.encode(answer).decode())
    elif answer.ok:
        print(f"ok: bundle {answer.bundle[:12]}, {answer.inputs} inputs, largest error {answer.max_abs_error:.2g}")
    if not answer.ok:
        print(f"error: {answer.reason}", file=sys.stderr)
    return 0 if answer.ok else 1


def selftest(folder: Path) -> _Answer:
    """Return the answer for the bundle unpacked in `folder`.

    Every artefact must load and answer with finite scores; the first one's must match the golden scores.

    Raises:
        BadBundle: a file is missing, changed, or no golden file.
        BadModel: an artefact does not load, or answers otherwise than it must.
    """
    from agent.slots.unpacked import open_folder

    bundle = open_folder(folder)
    manifest = bundle.manifest
    pixels, golden = _golden_vectors(folder, manifest)
    worst = 0.0
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
    return _Answer(True, bundle.digest, len(manifest.artefacts), len(pixels), worst)


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
    from contract.decode import decode
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


def _limit(memory_mib: int, cpu_s: int) -> None:
    import resource

    for kind, value in ((resource.RLIMIT_AS, memory_mib << 20), (resource.RLIMIT_CPU, cpu_s)):
        if value > 0:
            _, hard = resource.getrlimit(kind)
            value = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(kind, (value, hard))
