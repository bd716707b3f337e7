from __future__ import annotations

import msgspec
import pytest

from agent.runtime.load import in_order
from contract.manifest import Artefact, OutputKind, RuntimeKind
from tests.golden.examples import manifest

U8S8 = Artefact("int8.onnx", RuntimeKind.ONNX, "int8", OutputKind.LOGITS, scheme="u8s8")
S8S8 = Artefact("int8.s8s8.onnx", RuntimeKind.ONNX, "int8-symmetric", OutputKind.LOGITS, scheme="s8s8")
FP32 = Artefact("fp32.onnx", RuntimeKind.ONNX, "fp32", OutputKind.LOGITS)


@pytest.mark.parametrize(
    ("listed", "tensorrt", "tried"),
    [
        ((U8S8, S8S8, FP32), False, (U8S8, FP32, S8S8)),
        ((U8S8, S8S8, FP32), True, (S8S8, U8S8, FP32)),
        ((U8S8, FP32), True, (U8S8, FP32)),
        ((S8S8, FP32), False, (S8S8, FP32)),
        ((S8S8,), False, (S8S8,)),
    ],
)
def test_symmetric_int8_comes_first_on_tensorrt_and_last_on_a_cpu(
    listed: tuple[Artefact, ...], tensorrt: bool, tried: tuple[Artefact, ...]
) -> None:
    assert in_order(msgspec.structs.replace(manifest(), artefacts=listed), tensorrt=tensorrt) == tried
