"""Which artefact a pressed station falls to, and whether its PASS may stand."""

from __future__ import annotations

import msgspec
import pytest

from agent.decide.smaller import Smaller, smaller_artefact
from contract.manifest import Artefact, FileEntry, Manifest, OutputKind, RuntimeKind
from tests.tiny_bundle import manifest_of, model_bytes

FP32 = Artefact("fp32.onnx", RuntimeKind.ONNX, "fp32", OutputKind.LOGITS)
FP16 = Artefact("fp16.onnx", RuntimeKind.ONNX, "fp16", OutputKind.LOGITS)
INT8 = Artefact("int8.onnx", RuntimeKind.ONNX, "int8", OutputKind.LOGITS)
LITE = Artefact("int8.tflite", RuntimeKind.TFLITE, "int8", OutputKind.PROBABILITIES)
SIZES = {FP32: 400, FP16: 200, INT8: 110, LITE: 100}
ONNX_ONLY = (RuntimeKind.ONNX,)


def bundle(*artefacts: Artefact) -> Manifest:
    files = tuple(FileEntry(artefact.file, "0" * 64, SIZES[artefact]) for artefact in artefacts)
    return msgspec.structs.replace(manifest_of(model_bytes()), artefacts=artefacts, files=files)


@pytest.mark.parametrize(
    ("artefacts", "in_use", "runtimes", "chosen"),
    [
        ((FP32, FP16, INT8, LITE), FP32, ONNX_ONLY, Smaller(INT8, guaranteed=False)),
        ((FP32, FP16, INT8, LITE), FP32, tuple(RuntimeKind), Smaller(LITE, guaranteed=False)),
        ((FP32, LITE), FP32, ONNX_ONLY, None),  # nothing here loads it
        ((INT8, FP32), INT8, ONNX_ONLY, None),
        ((INT8, LITE), INT8, tuple(RuntimeKind), None),  # the same size in another wrapping
        ((FP32,), FP32, ONNX_ONLY, None),
        # The first did not load here, so a fallback ran: the first is what the thresholds were chosen for.
        ((INT8, FP32), FP32, ONNX_ONLY, Smaller(INT8, guaranteed=True)),
    ],
)
def test_the_smallest_that_this_station_can_run_is_chosen_and_keeps_the_guarantee_only_where_it_is_the_first(
    artefacts: tuple[Artefact, ...], in_use: Artefact, runtimes: tuple[RuntimeKind, ...], chosen: Smaller | None
) -> None:
    assert smaller_artefact(bundle(*artefacts), in_use, runtimes) == chosen
