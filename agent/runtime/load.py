"""From an artefact to a loaded runtime."""

from __future__ import annotations

from pathlib import Path

from agent.ports.runtime import Runtime
from contract.errors import BadModel
from contract.manifest import Artefact, Manifest, RuntimeKind


def load_runtime(folder: Path, manifest: Manifest, artefact: Artefact, *, threads: int = 1) -> Runtime:
    """Return `artefact` loaded from `folder` (an unpacked bundle), checked against `manifest` and run once.

    Raises:
        BadModel: the file or its runtime is missing, or the model is not what the manifest says.
    """
    path = folder / artefact.file
    if not path.is_file():
        raise BadModel(f"'{path}' is missing", hint="install the bundle again")
    labels = len(manifest.labels)
    # Each runtime is imported only when a bundle asks for it: a station has one of them, and imports cost start-up time.
    if artefact.runtime is RuntimeKind.ONNX:
        from agent.runtime.onnx import OnnxRuntime

        return OnnxRuntime(path, manifest.preprocess, labels, threads=threads)
    from agent.runtime.tflite import TfliteRuntime

    return TfliteRuntime(path, manifest.preprocess, labels, threads=threads)


def load_first(folder: Path, manifest: Manifest, *, threads: int = 1) -> tuple[Runtime, Artefact]:
    """Return the first artefact of `manifest` that loads, and which it is.

    Raises:
        BadModel: none does; the message is the first one's.
    """
    first: BadModel | None = None
    for artefact in manifest.artefacts:
        try:
            return load_runtime(folder, manifest, artefact, threads=threads), artefact
        except BadModel as error:
            first = first or error
    raise first or BadModel("the bundle has no artefact")
