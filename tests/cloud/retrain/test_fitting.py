from __future__ import annotations

import itertools
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from cloud.clock import SystemClock
from cloud.retrain.batches import BatchPlan
from cloud.retrain.early_stop import EarlyStop
from cloud.retrain.evaluation import Evaluation
from cloud.retrain.job import TrainJob, check_job
from cloud.retrain.metrics_log import Metric, MetricsLog, read_metrics
from cloud.retrain.models.output import ModelOutput
from cloud.retrain.objective import Targets
from cloud.retrain.parent_recipe import recipe_of_child
from cloud.retrain.place import Place
from cloud.retrain.progress import Progress
from cloud.retrain.rate_schedule import make_schedule
from cloud.retrain.run_folder import Recipe, RunFolder
from cloud.retrain.train import train
from cloud.retrain.train_step import Gradients
from cloud.retrain.weight_average import WeightAverage
from contract.errors import BadModel, InvalidConfig
from tests.cloud.retrain.pictures import LABELS, picture, quick_job, write_folders

SMALL = Recipe(epochs=1, min_steps=24, warm_steps=8, batch_size=8, shift_px=2, width=0.5)
CPU = Place(torch.device("cpu"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folders(tmp_path_factory.mktemp("fitting") / "data", 8)


@pytest.fixture(scope="module")
def base(data: Path) -> RunFolder:
    run = RunFolder(data.parent / "base")
    train(msgspec.structs.replace(_job(data, run.root), plots=True), SystemClock())
    return run


def _job(data: Path, out: Path, **recipe: object) -> TrainJob:
    changed = msgspec.structs.replace(SMALL, **recipe)
    return msgspec.structs.replace(quick_job(data, out), recipe=changed, input_px=32)


def test_run_leaves_its_figures_and_curves(base: RunFolder) -> None:
    metrics = read_metrics(base.metrics)
    assert [m.step for m in metrics] == list(range(1, 25)) and any(m.calibration_accuracy is not None for m in metrics)
    with Image.open(base.plots / "training.png") as image:
        image.load()
        assert image.size == (800, 700)
    assert base.info().figures.images_per_s > 0 and base.info().figures.best_step == 0


@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_diverged_training_names_the_step_and_leaves_no_bad_checkpoint(data: Path, tmp_path: Path) -> None:
    job = msgspec.structs.replace(_job(data, tmp_path / "run", learning_rate=1e30), save_every_s=0.0)
    with pytest.raises(BadModel, match=r"diverged: a.* step \d+ .*the last good loss was .* at step \d+") as caught:
        train(job, SystemClock())
    assert "--learning-rate" in caught.value.hint
    run = RunFolder(tmp_path / "run")
    if run.checkpoint.exists():
        weights = torch.load(run.checkpoint, weights_only=True)["model"].values()
        assert all(torch.isfinite(w.float()).all() for w in weights)
        lower = _job(data, run.root, learning_rate=1e-3)
        with pytest.raises(BadModel, match="other settings"):
            train(msgspec.structs.replace(lower, resume=True), SystemClock())


def test_progress_tells_speed_and_time_left(data: Path, tmp_path: Path) -> None:
    shown: list[Progress] = []
    train(_job(data, tmp_path / "run", min_steps=3), SystemClock(), shown.append)
    last = [p for p in shown if p.stage == "train"][-1]
    assert last.left_s == 0 and last.images_per_s and last.loss and "images/s, 0:00 left" in last.text


class _Hungry(nn.Module):
    """Asks for a thousand terabytes when it is given more than `most` images."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.layer, self._most = nn.Linear(4, 3), most

    def forward(self, images: torch.Tensor) -> ModelOutput:
        if len(images) > self._most:
            torch.empty(10**15)
        return ModelOutput(self.layer(images.flatten(1)))


def test_batch_that_does_not_fit_is_computed_in_pieces_with_the_same_gradient() -> None:
    images, targets = torch.randn(10, 1, 2, 2), Targets(torch.arange(10) % 3)
    said: list[str] = []
    hungry, whole = _Hungry(3), _Hungry(99)
    whole.load_state_dict(hungry.state_dict())
    gradients = Gradients(hungry, Recipe(), CPU, on_shortage=said.append)
    loss = gradients.fill(images, targets)
    expected = Gradients(whole, Recipe(), CPU).fill(images, targets)
    assert gradients.pieces == 4 and len(said) == 2 and "in 4 pieces" in said[1]
    torch.testing.assert_close(loss, expected)
    for mine, other in zip(hungry.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad)


def test_image_that_does_not_fit_alone_is_an_error() -> None:
    with pytest.raises(BadModel, match="out of memory with a single image"):
        Gradients(_Hungry(0), Recipe(), CPU).fill(torch.randn(4, 1, 2, 2), Targets(torch.zeros(4, dtype=torch.int64)))


def test_run_that_no_longer_gains_stops_and_keeps_its_best(data: Path, tmp_path: Path) -> None:
    figures = train(_job(data, tmp_path / "run", min_steps=400, patience=2, learning_rate=0.02), SystemClock())
    assert figures.best_step < figures.steps < 400
    metrics = {m.step: m for m in read_metrics(tmp_path / "run" / "metrics.jsonl")}
    looks = [m.calibration_accuracy for m in metrics.values() if m.calibration_accuracy is not None]
    assert figures.calibration_accuracy == max(looks) == metrics[figures.best_step].calibration_accuracy


@given(st.lists(st.integers(0, 3), min_size=1, max_size=20), st.integers(1, 4), st.integers(0, 19))
@settings(max_examples=40, deadline=None)
def test_early_stop_decides_the_same_after_a_restart(looks: list[int], patience: int, cut: int) -> None:
    model = nn.Linear(1, 1)
    straight, resumed = EarlyStop(patience), EarlyStop(patience)
    for number, look in enumerate(looks):
        if number == cut:
            again = EarlyStop(patience)
            again.load_state_dict(resumed.state_dict())
            resumed = again
        found = Evaluation(look / 3, 1.0)
        assert straight.look(found, model, number) == resumed.look(found, model, number)
        assert straight.best_step == resumed.best_step == looks[: number + 1].index(max(looks[: number + 1]))


def test_teacher_is_learnt_from_and_must_know_the_same_labels(base: RunFolder, data: Path, tmp_path: Path) -> None:
    job = msgspec.structs.replace(_job(data, tmp_path / "pupil", distil=0.9), teacher=str(base.root))
    train(job, SystemClock())
    assert RunFolder(tmp_path / "pupil").info().teacher == str(base.root)
    alone = read_metrics(base.metrics)[0].loss
    assert read_metrics(tmp_path / "pupil" / "metrics.jsonl")[0].loss != alone
    other = write_folders(tmp_path / "other", 6)
    (other / "stain").rename(other / "dent")
    with pytest.raises(InvalidConfig, match="knows other labels: dent, stain"):
        train(msgspec.structs.replace(job, data=str(other), out=str(tmp_path / "no")), SystemClock())


def test_child_takes_the_parents_width_and_sees_its_drift(base: RunFolder, tmp_path: Path) -> None:
    reviewed = tmp_path / "reviewed"
    reviewed.mkdir()
    lines = []
    for number in range(12):
        label = LABELS[number % 3]
        Image.fromarray((picture(label, 900 + number) * 0.5).astype(np.uint8)).save(reviewed / f"{number}.png")
        lines.append(f'{{"file": "{number}.png", "label": "{label}", "part": "r{number}"}}\n')
    (reviewed / "labels.jsonl").write_text("".join(lines))
    job = _job(tmp_path, tmp_path / "child", width=1.0, seen_drift=0.5)
    job = msgspec.structs.replace(job, data=None, parent=str(base.root), reviewed=str(reviewed), input_px=0)
    train(job, SystemClock())
    info = RunFolder(tmp_path / "child").info()
    assert info.recipe.width == 0.5 and any("look like gain of 0.5" in warning for warning in info.warnings)
    with pytest.raises(InvalidConfig, match=r"--width 2 contradicts the parent, which has 0\.5"):
        recipe_of_child(Recipe(width=2.0), info.recipe)
    with pytest.raises(InvalidConfig, match="--width 1 contradicts"):
        recipe_of_child(Recipe(), info.recipe, frozenset({"width"}))


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ({"ema": 1.0}, "--ema 1"),
        ({"class_balance": -0.5}, "--class-balance -0.5"),
        ({"seen_drift": float("nan")}, "--seen-drift nan"),
        ({"patience": -1}, "--patience -1"),
        ({"schedule": "sawtooth"}, "--schedule sawtooth"),
        ({"distil": 0.5}, "--distil and --teacher"),
        ({"prune": 0.5}, "--prune takes"),
        ({"learning_rate": float("inf")}, "--learning-rate inf"),
    ],
)
def test_flag_that_cannot_work_is_named(recipe: dict[str, object], words: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig) as caught:
        check_job(_job(tmp_path, tmp_path / "run", **recipe))
    assert words in caught.value.message and caught.value.hint


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=2, max_size=4), st.sampled_from([0.5, 1.0]), st.integers(0, 99))
def test_balanced_batches_show_rare_labels_as_often_as_their_weight(
    counts: list[int], balance: float, seed: int
) -> None:
    labels = torch.tensor(list(itertools.chain.from_iterable([place] * n for place, n in enumerate(counts))))
    size = len(labels)
    plan = BatchPlan(torch.arange(size), torch.arange(0), size, 0.5, seed, balance, labels)
    rows = plan.batch(3)
    assert torch.equal(rows, plan.batch(3))
    share = torch.tensor(counts, dtype=torch.float64) ** (1 - balance)
    expected = share / share.sum() * size
    seen = torch.bincount(labels[rows], minlength=len(counts)).double()
    # Each image comes as often as its weight, up or down by less than one.
    assert ((seen - expected).abs() <= torch.tensor(counts) + 1e-6).all() and int(seen.sum()) == size
    often = torch.bincount(rows, minlength=size).double()
    assert ((often - (expected / torch.tensor(counts))[labels]).abs() < 1 + 1e-6).all()


@pytest.mark.parametrize("kind", ["onecycle", "cosine"])
def test_rate_rises_to_its_top_once_and_falls_to_almost_nothing(kind: str) -> None:
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1)
    schedule = make_schedule(kind, optimizer, 0.1, 100)
    rates = []
    for _ in range(100):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        schedule.step()
    top = rates.index(max(rates))
    assert abs(max(rates) - 0.1) < 0.01 and rates[:top] == sorted(rates[:top]) and rates[-1] < 0.002
    assert rates[top:] == sorted(rates[top:], reverse=True)


def test_average_forgets_its_start_and_keeps_counters() -> None:
    model = nn.BatchNorm1d(2)
    average = WeightAverage(model, 0.9)
    with torch.no_grad():
        model.weight.fill_(3.0)
        model.running_mean += 5.0  # type: ignore[operator]  # a buffer that is there
        model.num_batches_tracked += 7  # type: ignore[operator]
    for step in range(200):
        average.update(model, step)
    for name, tensor in average.module.state_dict().items():
        torch.testing.assert_close(tensor, model.state_dict()[name])


def test_metrics_stay_few_and_a_full_disk_only_loses_lines(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "m.jsonl", 50_000)
    assert sum(log.is_due(step) for step in range(1, 50_001)) <= 1000
    full = MetricsLog(Path("/dev/full"), 10)
    full.add(Metric(1, 0.5, 0.1))
    assert full.lost == 1
