"""Where a bundle can run: the least runtimes that load its artefacts, from what the model files say of themselves."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable, Mapping
from pathlib import Path

from contract.errors import BadModel, NotFound
from contract.manifest import Artefact, Compatibility, RuntimeKind

LEAST_AGENT = "0.1.0"
"""The first agent that reads manifests of this form."""

# ONNX Runtime's first release with each (opset of ai.onnx, opset of ai.onnx.ml, IR version). It refuses files stamped with later
# ones, whatever they hold. Source: onnxruntime.ai/docs/reference/compatibility (1.12 to 1.20), its pull requests #21897 (ONNX
# 1.17 in 1.21) and #24449 (ONNX 1.18 in 1.23); ONNX's own docs/Versioning.md for what each ONNX release brought.
_ONNX_RUNTIME = (
    ("1.12", 17, 3, 8),
    ("1.14", 18, 3, 8),
    ("1.15", 19, 3, 8),
    ("1.16", 19, 3, 9),
    ("1.17", 20, 4, 9),
    ("1.18", 21, 5, 10),
    ("1.21", 22, 5, 10),
    ("1.23", 23, 5, 11),
)
# Any LiteRT (it began at TensorFlow 2.17) and any TensorFlow Lite that still has wheels for a Python of ours load what converters
# of the last years write; one with a newer operator fails its self-test.
_TFLITE = {"ai-edge-litert": "1.0", "tflite-runtime": "2.11"}


def compatibility_of(artefacts: Iterable[Artefact], files: Mapping[str, Path]) -> Compatibility:
    """Return what every artefact needs: a station's self-test loads them all. Any machine will do.

    An ONNX model newer than the table needs the ONNX Runtime that it was gated with here.

    Raises:
        NotFound, BadModel: an artefact is missing, or is no model.
    """
    runtimes: dict[str, str] = {}
    for artefact in artefacts:
        if artefact.runtime is RuntimeKind.TFLITE:
            runtimes |= _TFLITE
        else:
            runtimes["onnxruntime"] = _newer(runtimes.get("onnxruntime", ""), _onnx_runtime(files[artefact.file]))
    return Compatibility(runtimes=dict(sorted(runtimes.items())), agent=LEAST_AGENT)


def needs_in_words(compatibility: Compatibility) -> list[str]:
    """Return the least packages, one phrase each; those of which one will do share a phrase."""
    phrases = {package: f"{package} {least} or newer" for package, least in sorted(compatibility.runtimes.items())}
    alternatives = [phrases.pop(package) for package in sorted(_TFLITE) if package in phrases]
    words = [*phrases.values(), *([" or else ".join(alternatives)] if alternatives else [])]
    return words + ([f"agent {compatibility.agent} or newer"] if compatibility.agent else [])


def _onnx_runtime(model: Path) -> str:
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        proto = onnx.load(str(model), load_external_data=False)
    except FileNotFoundError as error:
        raise NotFound(f"no model '{model}'", hint="check the path") from error
    except DecodeError as error:
        raise BadModel(f"'{model.name}' is no ONNX model", hint="export the model again") from error
    opsets = {entry.domain or "ai.onnx": entry.version for entry in proto.opset_import}
    wanted = (opsets.get("ai.onnx", 1), opsets.get("ai.onnx.ml", 1), proto.ir_version)
    for release, *offered in _ONNX_RUNTIME:
        if all(need <= offer for need, offer in zip(wanted, offered, strict=True)):
            return release
    return ".".join(importlib.metadata.version("onnxruntime").split(".")[:2])


def _newer(first: str, second: str) -> str:
    return max(first, second, key=lambda version: [int(number) for number in version.split(".") if number.isdigit()])
