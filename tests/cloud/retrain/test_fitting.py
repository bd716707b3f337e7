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
from cloud.retrain.answers import Answers
from cloud.retrain.batches import BatchPlan
from cloud.retrain.camera_change import CameraChange, ChangeKind
from cloud.retrain.early_stop import EarlyStop
from cloud.retrain.evaluation import Evaluation
from cloud.retrain.feed import Feed
from cloud.retrain.job import TrainJob, check_job
from cloud.retrain.metrics_log import Metric, MetricsLog, read_metrics
from cloud.retrain.models.output import ModelOutput
from cloud.retrain.objective import Targets
from cloud.retrain.parent_recipe import recipe_of_child
from cloud.retrain.place import Place
from cloud.retrain.progress import Progress
from cloud.retrain.rate_schedule import make_schedule
from cloud.retrain.run_folder import RunFolder
from cloud.retrain.run_records import Recipe
from cloud.retrain.tensors import ImageTensors
from cloud.retrain.train import train
from cloud.retrain.train_step import Gradients
from cloud.retrain.weight_average import WeightAverage
from contract.errors import BadModel, InvalidConfig, TransientError
from contract.preprocess import PreprocessSpec
from tests.cloud.retrain.pictures import LABELS, picture, quick_job, write_folders

pytestmark = pytest.mark.slow

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
    figures = train(_job(data, tmp_path / "run", min_steps=200, patience=2, learning_rate=0.02), SystemClock())
    assert figures.best_step < figures.steps < 200
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


def test_child_takes_the_parents_width_and_says_what_drift_it_saw(base: RunFolder, tmp_path: Path) -> None:
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
    assert info.recipe.width == 0.5 and info.warnings[0].startswith("reviewed: the reviewed images ")
    with pytest.raises(InvalidConfig, match=r"--width 2 contradicts the parent, which has 0\.5"):
        recipe_of_child(Recipe(width=2.0), info.recipe)
    with pytest.raises(InvalidConfig, match="--width 1 contradicts"):
        recipe_of_child(Recipe(), info.recipe, frozenset({"width"}))


def test_pruned_child_is_smaller_and_can_be_a_parent(base: RunFolder, tmp_path: Path) -> None:
    job = _job(tmp_path, tmp_path / "pruned", prune=0.5, warm_steps=4)
    job = msgspec.structs.replace(job, data=None, parent=str(base.root), input_px=0)
    pruned = train(job, SystemClock())
    assert pruned.parameters < 0.5 * base.info().figures.parameters
    recipe = msgspec.structs.replace(job.recipe, prune=0.0)
    again = msgspec.structs.replace(job, parent=job.out, out=str(tmp_path / "again"), recipe=recipe)
    assert train(again, SystemClock()).parameters == pruned.parameters


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


@pytest.mark.parametrize(("field", "value"), [("input_px", 100_000), ("seed", 2**62)])
def test_number_that_cannot_work_is_refused_before_images_are_read(field: str, value: int, tmp_path: Path) -> None:
    # No bundle may hold such an input; no generator takes such a seed.
    with pytest.raises(InvalidConfig, match=str(value)):
        check_job(msgspec.structs.replace(_job(tmp_path, tmp_path / "run"), **{field: value}))


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


def test_only_base_images_are_shown_as_the_reviewed_ones_look() -> None:
    pixels = torch.full((16, 1, 32, 32), 200, dtype=torch.uint8)
    labels, is_base = torch.zeros(16, dtype=torch.int64), torch.arange(16) < 10
    spec = PreprocessSpec(32, 32, 1, (0.0,), (1 / 255,))
    plan = BatchPlan(torch.arange(10), torch.arange(10, 16), 12, 0.5, 3)
    recipe = Recipe(seen_drift=0.5)
    dark = (CameraChange(ChangeKind.GAIN, 0.5),)
    feed = Feed(ImageTensors(pixels, labels), Answers(labels), plan, spec, recipe, 3, is_base, dark)
    shown = [feed.batch(step, CPU)[0].amax((1, 2, 3)).round() for step in range(40)]
    for step, batch in enumerate(shown):
        assert (batch[:6] == 200).all() and len(torch.unique(batch[6:][batch[6:] != 200])) <= 1
        assert torch.equal(batch, feed.batch(step, CPU)[0].amax((1, 2, 3)).round())
    drifted = torch.cat([batch[6:] for batch in shown])
    assert 0.35 < float((drifted != 200).float().mean()) < 0.65
    changed = drifted[drifted != 200]
    # Half to one and a half times as strong: a gain of 0.71 to 0.35.
    assert changed.min() >= 70 and changed.max() <= 142 and changed.min() < 90 and changed.max() > 120


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


@pytest.mark.parametrize("kind", ["onecycle", "cosine"])
@pytest.mark.parametrize("steps", range(1, 9))
def test_shortest_runs_have_a_schedule_too(kind: str, steps: int) -> None:
    optimizer = torch.optim.AdamW(nn.Linear(1, 1).parameters(), lr=0.1)
    schedule = make_schedule(kind, optimizer, 0.1, steps)
    for _ in range(steps):
        assert 0 < float(optimizer.param_groups[0]["lr"]) <= 0.1
        optimizer.step()
        schedule.step()


def test_average_forgets_its_start_and_keeps_counters() -> None:
    model = nn.BatchNorm1d(2)
    average = WeightAverage(model, 0.9)
    for tensor in model.state_dict().values():
        tensor.add_(5)
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


class _PowerCut(Exception):
    pass


class _Hours(SystemClock):
    """Every look at the clock is an hour later, so every step is shown and saved."""

    _at = 0.0

    def monotonic(self) -> float:
        self._at += 3600.0
        return self._at


def _cut_short(job: TrainJob) -> TrainJob:
    """Run `job` until its first checkpoint; return the job that goes on from it."""

    def cut(progress: Progress) -> None:
        if progress.stage == "train" and RunFolder(Path(job.out)).checkpoint.exists():
            raise _PowerCut

    with pytest.raises(_PowerCut):
        train(job, _Hours(), cut)
    return msgspec.structs.replace(job, resume=True)


def test_checkpoint_of_other_images_is_not_gone_on_from(tmp_path: Path) -> None:
    job = _cut_short(_job(write_folders(tmp_path / "data", 4), tmp_path / "run", min_steps=4))
    Image.fromarray(picture("stain", 70)).save(tmp_path / "data" / "stain" / "more.png")
    with pytest.raises(BadModel, match="other settings or images"):
        train(job, SystemClock())
    (tmp_path / "data" / "stain" / "more.png").unlink()
    train(job, SystemClock())


def test_network_that_draws_numbers_by_itself_resumes_to_the_same_weights(data: Path, tmp_path: Path) -> None:
    straight = _job(data, tmp_path / "straight", min_steps=12, model="tests.cloud.retrain.odd_networks:forgetful")
    train(straight, SystemClock())
    killed = _cut_short(msgspec.structs.replace(straight, out=str(tmp_path / "killed")))
    torch.rand(7)
    train(killed, SystemClock())
    first, second = (torch.load(RunFolder(tmp_path / n).checkpoint)["model"] for n in ("straight", "killed"))
    for name, weights in first.items():
        torch.testing.assert_close(second[name], weights, rtol=0, atol=0)


@pytest.mark.parametrize("factory", ["undecided", "unique"])
def test_network_that_cannot_ship_is_refused_before_it_is_trained(data: Path, tmp_path: Path, factory: str) -> None:
    shown: list[str] = []
    job = _job(data, tmp_path / "run", model=f"tests.cloud.retrain.odd_networks:{factory}")
    with pytest.raises(BadModel, match="cannot be exported to ONNX"):
        train(job, SystemClock(), lambda progress: shown.append(progress.stage))
    assert "train" not in shown and list((tmp_path / "run").iterdir()) == []


def test_labels_that_a_model_never_gives_are_said(data: Path, tmp_path: Path) -> None:
    train(_job(data, tmp_path / "run", min_steps=2, model="tests.cloud.retrain.odd_networks:stubborn"), SystemClock())
    said = [w.partition(":")[0] for w in RunFolder(tmp_path / "run").info().warnings if "named right" in w]
    assert said == [f"none of the 3 held-out images of '{name}' is named right" for name in LABELS[1:]]


def test_second_training_in_a_folder_is_refused_while_the_first_is_at_work(data: Path, tmp_path: Path) -> None:
    job = _job(data, tmp_path / "run", min_steps=2)
    refused: list[str] = []

    def start_again(progress: Progress) -> None:
        if progress.stage == "train" and not refused:
            with pytest.raises(TransientError, match="another process trains in") as caught:
                train(msgspec.structs.replace(job, resume=True), SystemClock())
            refused.append(caught.value.hint)

    train(job, SystemClock(), start_again)
    assert refused and RunFolder(tmp_path / "run").is_trained()
