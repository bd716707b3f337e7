"""Runs a bundle's artefacts over its golden inputs in a process of its own, and tells what that took.

`python -m cloud.registry.golden_trial FOLDER` is that process: FOLDER holds an unpacked bundle. It loads nothing before it has
looked how much memory an empty process takes.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from contract.manifest import Manifest

_STATUS = Path("/proc/self/status")


def main(arguments: list[str] | None = None) -> int:
    """Print the trial as JSON; one line of why, and 1, when the bundle failed it."""
    empty_kib = _status_kib("VmRSS")
    import msgspec

    from contract.errors import PlumblineError

    (folder,) = sys.argv[1:] if arguments is None else arguments
    try:
        inputs, error = _run(Path(folder))
    except PlumblineError as failure:
        print(f"error: {failure.one_line()}", file=sys.stderr)
        return 1
    peak_kib = _status_kib("VmHWM")  # of this process alone, unlike ru_maxrss, which begins at the parent's
    trial = {"inputs": inputs, "max_abs_error": error, "memory_mib": max(0, peak_kib - empty_kib) / 1024}
    print(msgspec.json.encode(trial).decode())
    return 0


def _run(folder: Path) -> tuple[int, float | None]:
    import numpy as np

    from cloud.registry.model_file import load_as
    from contract.decode import decode
    from contract.errors import BadModel
    from contract.manifest import MANIFEST_NAME, decode_manifest
    from contract.preprocess import preprocess

    manifest = decode_manifest((folder / MANIFEST_NAME).read_bytes())
    pixels, golden = _golden(folder, manifest)
    worst = None
    for rank, artefact in enumerate(manifest.artefacts):
        model = load_as(folder / artefact.file, artefact.runtime)
        rows = []
        for image in pixels:
            scores = _answer(model.run, preprocess(image, manifest.preprocess), artefact.file)
            decode(scores, manifest.labels, artefact.output)
            rows.append(scores)
        del model
        if rank == 0 and golden is not None and manifest.golden is not None:
            worst = float(np.abs(np.stack(rows) - golden).max())
            if not worst <= manifest.golden.max_abs_error:  # NaN is off too
                raise BadModel(
                    f"'{artefact.file}' is {worst:.3g} off its golden scores, at most"
                    f" {manifest.golden.max_abs_error:.3g} is allowed",
                    hint="the model, the golden file or this machine's runtime is not the gate's",
                )
    return len(pixels), worst


def _answer(run: Any, tensor: Any, name: str) -> NDArray[np.float32]:
    from contract.errors import BadModel

    try:
        scores: NDArray[np.float32] = run(tensor)
    except Exception as error:
        raise BadModel(f"'{name}' failed on a golden input: {' '.join(str(error).split())[:300]}") from error
    return scores


def _golden(folder: Path, manifest: Manifest) -> tuple[NDArray[np.uint8], NDArray[np.float32] | None]:
    from zipfile import BadZipFile
    from zlib import error as ZlibError

    import numpy as np

    from contract.errors import BadBundle

    if manifest.golden is None:
        return np.full((1, manifest.preprocess.height, manifest.preprocess.width, 1), 128, np.uint8), None
    name = manifest.golden.file
    try:
        with np.load(folder / name, allow_pickle=False) as arrays:
            pixels, scores = arrays["pixels"], arrays["scores"]
    except (OSError, ValueError, KeyError, EOFError, TypeError, BadZipFile, ZlibError) as error:
        raise BadBundle(f"'{name}' holds no golden vectors: {error}", hint="quantize and release again") from error
    expected = (len(pixels), len(manifest.labels)) if pixels.ndim else ()
    if pixels.dtype != np.uint8 or pixels.ndim not in (3, 4) or not len(pixels) or scores.shape != expected:
        raise BadBundle(
            f"'{name}' holds {pixels.dtype}{list(pixels.shape)} and {list(scores.shape)}, not images and their scores",
            hint="quantize and release again",
        )
    return pixels, np.asarray(scores, np.float32)


def _status_kib(field: str) -> int:
    """Return a field of /proc/self/status in KiB; 0 where there is no such file."""
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{field}:")), 0)


if __name__ == "__main__":
    sys.exit(main())
