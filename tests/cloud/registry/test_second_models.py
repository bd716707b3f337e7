"""Full-precision models from the registry: which of them judge several images at once, and what they say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from cloud.registry.full_precision import FullPrecisionModels
from cloud.registry.keys import init_keys
from cloud.registry.release import Registry, release_archive
from contract.decode import Prediction
from contract.errors import BadModel, NotFound
from tests.tiny_bundle import model_bytes, write_bundle


def released(folder: Path, model: bytes | None) -> tuple[FullPrecisionModels, str]:
    registry, fp32 = Registry(folder / "registry"), folder / "fp32.onnx"
    if model is not None:
        fp32.write_bytes(model)
    keys = init_keys(folder / "keys")
    made = release_archive(
        write_bundle(folder / "v1.plb"), registry, keys, 1_790_000_000.0,
        full_precision=None if model is None else fp32,
    )  # fmt: skip
    return FullPrecisionModels(registry), made.digest


def with_free_batch_axis(model: bytes) -> bytes:
    graph = onnx.load_from_string(model)
    for each in (graph.graph.input[0], graph.graph.output[0]):
        each.type.tensor_type.shape.dim[0].dim_param = "batch"
    return bytes(graph.SerializeToString())


@pytest.mark.parametrize("free", [True, False])
def test_images_are_judged_together_where_the_graph_leaves_the_batch_axis_free(tmp_path: Path, free: bool) -> None:
    plain = model_bytes()
    models, digest = released(tmp_path, with_free_batch_axis(plain) if free else plain)
    model = models.load(digest)
    assert model.batches is free and model.version == "1"
    images = [model.tensor(np.full((8, 8), level, np.uint8)) for level in (250, 5)]
    assert images[0].shape == model.blank().shape
    if free:
        answers = model.predict(np.concatenate(images))
    else:
        answers = [model.predict(each)[0] for each in images]
    assert [each.label.name for each in answers if isinstance(each, Prediction)] == ["good", "scratch"]


def test_an_answer_that_is_no_number_is_that_images_alone(tmp_path: Path) -> None:
    models, digest = released(tmp_path, with_free_batch_axis(model_bytes(gain=float("nan"))))
    model = models.load(digest)
    assert [type(each) for each in model.predict(np.concatenate([model.blank()] * 2))] == [BadModel, BadModel]


def test_a_model_that_is_torn_or_missing_says_so(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    models, digest = released(tmp_path / "a", b"no model")
    with pytest.raises(BadModel, match="does not load"):
        models.load(digest)
    (tmp_path / "b").mkdir()
    models, digest = released(tmp_path / "b", None)
    with pytest.raises(NotFound, match="no full-precision model"):
        models.load(digest)
    with pytest.raises(NotFound):
        models.load("0" * 64)
