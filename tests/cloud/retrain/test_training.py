from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from PIL import Image

from cloud.clock import SystemClock
from cloud.quantize.artefact_runner import ArtefactRunner
from cloud.retrain.dataset import FolderSource, read_dataset
from cloud.retrain.progress import Progress
from cloud.retrain.reviewed import is_reviewed
from cloud.retrain.run_folder import RunFolder
from cloud.retrain.run_records import Split
from cloud.retrain.tensors import choose_spec, native_px, scale, to_tensors
from cloud.retrain.train import train
from contract.errors import BadDataset, BadModel, InvalidConfig, NotFound
from contract.preprocess import preprocess
from tests.cloud.retrain.pictures import LABELS, QUICK, picture, quick_job, write_folders


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = tmp_path_factory.mktemp("base")
    train(quick_job(write_folders(folder / "data"), folder / "run"), SystemClock())
    return RunFolder(folder / "run")


def _reviewed(folder: Path, count: int = 12) -> Path:
    """Write pictures from a camera that shows everything darker."""
    folder.mkdir(parents=True)
    lines = []
    for number in range(count):
        label = LABELS[number % 3]
        Image.fromarray((picture(label, 900 + number) * 0.5).astype(np.uint8)).save(folder / f"{number}.png")
        lines.append(f'{{"file": "{number}.png", "label": "{label}", "part": "r{number}"}}\n')
    (folder / "labels.jsonl").write_text("".join(lines))
    return folder


def _weights(run: RunFolder) -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor] = torch.load(run.checkpoint, weights_only=True)["model"]
    return weights


def test_trained_run_names_pictures_it_never_saw(base: RunFolder) -> None:
    figures = base.info().figures
    assert figures.holdout_accuracy is not None and figures.holdout_accuracy >= 0.8
    assert figures.parameters < 110_000 and figures.steps == QUICK.min_steps
    runner = ArtefactRunner(base.fp32, base.info().preprocess, threads=1)
    scores = runner.scores([picture(label, 999) for label in LABELS])
    assert scores.shape == (3, 3) and scores.argmax(1).tolist() == [0, 1, 2]


def test_exported_model_tells_nobody_where_it_was_made(base: RunFolder) -> None:
    assert b"site-packages" not in base.fp32.read_bytes() and b"stack_trace" not in base.fp32.read_bytes()


def test_training_sees_what_the_device_computes(tmp_path: Path) -> None:
    dataset = read_dataset(FolderSource(write_folders(tmp_path / "d", 4)))
    for channels in (1, 3):
        spec = choose_spec(dataset.samples, 32, channels)
        tensors = scale(to_tensors(dataset.samples, spec, dataset.index_of()).pixels, spec).numpy()
        expected = np.concatenate([preprocess(s.pixels, spec) for s in dataset.samples])
        np.testing.assert_allclose(tensors, expected, atol=1e-5)
        assert abs(float(expected.mean())) < 0.01 and abs(float(expected.std()) - 1) < 0.01
    assert native_px(dataset.samples) == 40


def test_finished_run_is_not_overwritten(base: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match="holds a finished run"):
        train(quick_job(tmp_path, base.root), SystemClock())


class _PowerCut(Exception):
    pass


class _FastClock(SystemClock):
    """Every look at the clock is an hour later, so every step is shown and saved."""

    def __init__(self) -> None:
        self._at = 0.0

    def monotonic(self) -> float:
        self._at += 3600.0
        return self._at


@pytest.mark.slow
@pytest.mark.parametrize("warm", [False, True])
def test_killed_training_resumes_to_the_same_weights(base: RunFolder, tmp_path: Path, warm: bool) -> None:
    data = write_folders(tmp_path / "d", 8)
    recipe = msgspec.structs.replace(QUICK, min_steps=12, warm_steps=12, epochs=1)
    straight = msgspec.structs.replace(quick_job(data, tmp_path / "straight"), recipe=recipe)
    if warm:
        straight = msgspec.structs.replace(straight, data=None, parent=str(base.root))
    train(straight, SystemClock())

    def cut(progress: Progress) -> None:
        if progress.stage == "train" and progress.done == 7:
            raise _PowerCut

    killed = msgspec.structs.replace(straight, out=str(tmp_path / "killed"))
    with pytest.raises(_PowerCut):
        train(killed, _FastClock(), cut)
    assert not RunFolder(tmp_path / "killed").is_trained()
    steps: list[int] = []
    train(
        msgspec.structs.replace(killed, resume=True),
        _FastClock(),
        lambda p: steps.append(p.done) if p.stage == "train" else None,
    )
    assert steps[0] == 7  # the step under way when the power went is done again, those before are not
    first, second = _weights(RunFolder(tmp_path / "straight")), _weights(RunFolder(tmp_path / "killed"))
    for name, weights in first.items():
        torch.testing.assert_close(second[name], weights, rtol=0, atol=0)

    other = msgspec.structs.replace(killed, resume=True, seed=5)
    (tmp_path / "killed" / "run.json").unlink()
    with pytest.raises(BadModel, match="other settings"):
        train(other, SystemClock())


def test_retrain_learns_the_drift_and_keeps_the_parents_splits(base: RunFolder, tmp_path: Path) -> None:
    job = msgspec.structs.replace(
        quick_job(tmp_path, tmp_path / "next"),
        data=None,
        parent=str(base.root),
        reviewed=str(_reviewed(tmp_path / "r", 36)),
    )
    figures = train(job, SystemClock())
    run = RunFolder(tmp_path / "next")
    assert figures.reviewed_images == 30 and figures.drift_accuracy is not None and figures.drift_accuracy >= 0.75
    assert figures.holdout_accuracy is not None and figures.holdout_accuracy >= 0.75
    inherited = [e for e in run.dataset().entries if not is_reviewed(e)]
    assert inherited == list(base.dataset().entries)
    assert run.info().labels == base.info().labels and run.info().preprocess == base.info().preprocess
    assert run.info().parent == str(base.root)
    before, after = _weights(base), _weights(run)
    largest = max(before, key=lambda name: before[name].numel())
    assert (before[largest] == after[largest]).float().mean() > 0.5, "most of what is costly to send is the parent's"

    # A retrain of the retrain carries the reviewed images along, held-out ones held out.
    again = msgspec.structs.replace(job, parent=str(run.root), reviewed=None, out=str(tmp_path / "third"))
    assert train(again, SystemClock()).reviewed_images == 30
    drift = [e.sha256 for e in RunFolder(tmp_path / "third").dataset().entries if e.split is Split.DRIFT]
    assert len(drift) == 6


def test_retrain_on_the_folder_again_never_learns_from_the_parents_holdout(base: RunFolder, tmp_path: Path) -> None:
    data = base.dataset().folders[0]
    job = msgspec.structs.replace(quick_job(Path(data), tmp_path / "next"), parent=str(base.root), seed=11)
    train(job, SystemClock())
    splits = {e.sha256: e.split for e in RunFolder(tmp_path / "next").dataset().entries}
    assert splits == {e.sha256: e.split for e in base.dataset().entries}


def test_bad_jobs_say_what_to_do(base: RunFolder, tmp_path: Path) -> None:
    job = quick_job(tmp_path, tmp_path / "out")
    with pytest.raises(InvalidConfig, match="no images to train on"):
        train(msgspec.structs.replace(job, data=None), SystemClock())
    with pytest.raises(NotFound, match=r"run\.json is not there"):
        train(msgspec.structs.replace(job, parent=str(tmp_path / "nowhere")), SystemClock())
    with pytest.raises(InvalidConfig, match="--epochs 0"):
        train(msgspec.structs.replace(job, recipe=msgspec.structs.replace(QUICK, epochs=0)), SystemClock())
    with pytest.raises(InvalidConfig, match=r"cannot read .*gone"):
        train(msgspec.structs.replace(job, exclude=str(tmp_path / "gone.txt")), SystemClock())
    folder = write_folders(tmp_path / "d", 4)
    (folder / "stain").rename(folder / "dent")
    with pytest.raises(BadDataset, match="does not know the label 'dent'"):
        train(msgspec.structs.replace(job, data=str(folder), parent=str(base.root)), SystemClock())


def test_damaged_parent_checkpoint_is_named(base: RunFolder, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in ("run.json", "dataset.json"):
        (broken / file).write_bytes((base.root / file).read_bytes())
    job = msgspec.structs.replace(quick_job(tmp_path, tmp_path / "out"), data=None, parent=str(broken))
    with pytest.raises(NotFound, match=r"checkpoint\.pt is not there"):
        train(job, SystemClock())
    (broken / "checkpoint.pt").write_bytes(base.checkpoint.read_bytes()[:1000])
    with pytest.raises(BadModel, match=r"checkpoint\.pt is damaged"):
        train(job, SystemClock())
