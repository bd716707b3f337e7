"""Which artefacts a pressed station may fall to."""

from __future__ import annotations

import msgspec
import pytest

from agent.decide.smaller import smaller_artefacts
from contract.manifest import Artefact, FileEntry, Manifest, OutputKind, RuntimeKind
from tests.tiny_bundle import manifest_of, model_bytes

FP32 = Artefact("fp32.onnx", RuntimeKind.ONNX, "fp32", OutputKind.LOGITS)
FP16 = Artefact("fp16.onnx", RuntimeKind.ONNX, "fp16", OutputKind.LOGITS)
INT8 = Artefact("int8.onnx", RuntimeKind.ONNX, "int8", OutputKind.LOGITS)
LITE = Artefact("int8.tflite", RuntimeKind.TFLITE, "int8", OutputKind.PROBABILITIES)
SIZES = {FP32: 400, FP16: 200, INT8: 110, LITE: 100}


def bundle(*artefacts: Artefact) -> Manifest:
    files = tuple(FileEntry(artefact.file, "0" * 64, SIZES[artefact]) for artefact in artefacts)
    return msgspec.structs.replace(manifest_of(model_bytes()), artefacts=artefacts, files=files)


@pytest.mark.parametrize(
    ("artefacts", "in_use", "chosen"),
    [
        ((FP32, FP16, INT8, LITE), FP32, (LITE, INT8, FP16)),
        ((FP32, FP16, INT8, LITE), FP16, (LITE, INT8)),
        ((INT8, FP32), INT8, ()),
        ((INT8, LITE), INT8, ()),  # the same size in another wrapping
        ((FP32,), FP32, ()),
        ((INT8, FP32), FP32, (INT8,)),
    ],
)
def test_what_is_clearly_smaller_is_tried_the_smallest_first(
    artefacts: tuple[Artefact, ...], in_use: Artefact, chosen: tuple[Artefact, ...]
) -> None:
    assert smaller_artefacts(bundle(*artefacts), in_use) == chosen
