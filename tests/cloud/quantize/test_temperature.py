from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.quantize.artefact_runner import open_session
from cloud.quantize.int8 import quantize_int8
from cloud.quantize.ranges import Calibration
from cloud.quantize.temperature import (
    ENOUGH_IMAGES,
    HIGHEST,
    LOWEST,
    error_at,
    fit_temperature,
    load_model,
    set_temperature,
    temperature_of,
    write_temperature,
)
from contract.errors import BadModel
from tests.cloud.quantize.small_nets import images, write_net


def _answers(seed: int, count: int, labels: int, factor: float) -> tuple[np.ndarray, np.ndarray]:
    """Return logits whose softmax at temperature `factor` is the truth's own distribution, and truths drawn from it."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 2, (count, labels))
    drawn = (logits + generator.gumbel(size=logits.shape)).argmax(1)
    return (logits * factor).astype(np.float32), drawn


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_temperature_undoes_what_made_a_model_too_sure_or_too_modest(factor: float) -> None:
    scores, truth = _answers(0, 2000, 5, factor)
    fit = fit_temperature(scores, truth)
    assert fit.temperature == pytest.approx(factor, rel=0.1) and not fit.why
    right = scores.argmax(1) == truth
    if factor != 1.0:
        assert error_at(scores, right, fit.temperature) < 0.5 * error_at(scores, right, 1.0)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(ENOUGH_IMAGES, 120), st.integers(2, 6), st.floats(0.01, 50))
def test_temperature_is_bounded_and_never_lowers_the_likelihood(
    seed: int, count: int, labels: int, factor: float
) -> None:
    scores, truth = _answers(seed, count, labels, factor)
    temperature = fit_temperature(scores, truth).temperature
    assert LOWEST * 0.999 <= temperature <= HIGHEST * 1.001

    def loss(at: float) -> float:
        scaled = scores.astype(np.float64) / at
        return float((np.log(np.exp(scaled - scaled.max(1, keepdims=True)).sum(1)) + scaled.max(1)).mean()) - float(
            scaled[np.arange(count), truth].mean()
        )

    if (scores.argmax(1) != truth).any():
        assert loss(temperature) <= loss(1.0) + 1e-3


def test_model_that_is_always_right_is_not_told_to_be_certain() -> None:
    truth = np.arange(200) % 3
    scores = (np.eye(3)[truth] * 4).astype(np.float32)
    fit = fit_temperature(scores, truth)
    assert LOWEST < fit.temperature < 1.0
    confidence = np.exp(4 / fit.temperature) / (np.exp(4 / fit.temperature) + 2)
    assert confidence == pytest.approx(1 - 0.5 / 200, abs=1e-3)


def test_too_few_images_or_labels_leave_the_model_as_it_is() -> None:
    scores, truth = _answers(0, ENOUGH_IMAGES - 1, 3, 3.0)
    assert fit_temperature(scores, truth).temperature == 1.0
    assert "too few" in fit_temperature(scores, truth).why
    assert fit_temperature(np.ones((80, 1), np.float32), np.zeros(80, np.int64)).temperature == 1.0


@pytest.fixture(scope="module", params=["fp32", "int8"])
def net(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("net")
    fp32 = write_net(folder / "fp32.onnx")
    if request.param == "fp32":
        return fp32
    quantize_int8(fp32, folder / "int8.onnx", images(8), Calibration.MINMAX)
    return folder / "int8.onnx"


def _run(file: Path) -> list[np.ndarray]:
    session = open_session(file, threads=1)
    return list(session.run(["scores", "activation_map"], {"images": np.concatenate(images(16, 7))}))


def test_written_temperature_divides_the_scores_and_nothing_else(net: Path, tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(net.read_bytes())
    before, seen = _run(file)
    for temperature in (2.0, 0.5, 0.5):
        write_temperature(file, temperature)
        after, still = _run(file)
        assert np.allclose(after, before / temperature, rtol=1e-5) and np.array_equal(seen, still)
        assert np.array_equal(after.argmax(1), before.argmax(1)), "no answer changes"
        model = onnx.load(str(file))
        assert temperature_of(model) == pytest.approx(temperature) and model.graph.node[-1].name == "temperature"
    onnx.checker.check_model(onnx.load(str(file)))


def test_temperature_of_one_is_the_file_without_any(net: Path, tmp_path: Path) -> None:
    model = onnx.load(str(net))
    names = [(n.name, list(n.input), list(n.output)) for n in model.graph.node]
    set_temperature(model, 3.0)
    set_temperature(model, 1.0)
    assert names == [(n.name, list(n.input), list(n.output)) for n in model.graph.node]
    assert temperature_of(model) == 1.0


def test_quantizing_a_model_with_a_temperature_quantizes_what_is_below_it(tmp_path: Path) -> None:
    plain, warm = write_net(tmp_path / "plain.onnx"), write_net(tmp_path / "warm.onnx")
    write_temperature(warm, 0.4)
    for file in (plain, warm):
        quantize_int8(file, file.with_suffix(".int8.onnx"), images(8), Calibration.MINMAX)
    assert plain.with_suffix(".int8.onnx").read_bytes() == warm.with_suffix(".int8.onnx").read_bytes()


def test_torn_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "torn.onnx").write_bytes(b"\x08\x09\x99\x99")
    with pytest.raises(BadModel, match=r"torn\.onnx cannot be read"):
        load_model(tmp_path / "torn.onnx")
