"""The demo must not be able to fool anybody: its splits, its steps and its checks."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from contract.errors import BadDataset, RefusedError
from scripts.benches.budget import all_held
from scripts.story.exam import defocused_copy
from scripts.story.images import real_pictures
from scripts.story.processes import Process, StepFailed, run_tool, wait_until
from scripts.story.telling import Step, Telling


def folder_of_images(folder: Path, labels: tuple[str, ...], each: int) -> Path:
    rng = np.random.default_rng(1)
    for label in labels:
        for number in range(each):
            pixels = rng.integers(0, 256, (12, 12), np.uint8)
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / f"{label}_{number}.png")
    return folder


def test_training_line_and_exam_share_no_image_and_leave_none_out(tmp_path: Path) -> None:
    data = folder_of_images(tmp_path / "data", ("pore", "flat_grain"), 30)
    (tmp_path / "work").mkdir()
    pictures = real_pictures(data, "prefix", tmp_path / "work", seed=1)
    line = {p.name for p in pictures.line.iterdir()}
    exam = {p.name for p in pictures.exam.iterdir()}
    train = set(pictures.train)
    assert not line & exam and not line & train and not exam & train
    assert line | exam | train == {p.name for p in data.iterdir()}
    assert (len(train), len(line), len(exam)) == (40, 8, 12)
    assert set(pictures.excluded.read_text().split()) == line | exam
    assert pictures.truth["flat_grain_3.png"] == "flat_grain"


@pytest.mark.parametrize(("labels", "each", "what"), [((), 0, "no images"), (("pore",), 5, "too few images of: pore")])
def test_folder_that_cannot_tell_the_story_is_refused(
    tmp_path: Path, labels: tuple[str, ...], each: int, what: str
) -> None:
    data = folder_of_images(tmp_path / "data", labels, each) if labels else tmp_path
    with pytest.raises(BadDataset, match=what):
        real_pictures(data, "prefix", tmp_path, seed=1)


def test_step_that_promised_nothing_or_broke_a_promise_has_not_held() -> None:
    assert not Step(1, "empty").held
    kept = Step(1, "kept", promises={"a": True})
    assert kept.held
    kept.promise("b", False)
    assert not kept.held


def test_step_that_raises_is_told_and_has_not_held(capsys: pytest.CaptureFixture[str]) -> None:
    def act(step: Step) -> None:
        step.promise("so far so good", True)
        raise RefusedError("the lamp is dark", hint="replace it")

    telling = Telling()
    assert not telling.step("light", act).held
    assert "the lamp is dark (replace it)" in capsys.readouterr().err
    told = json.loads(telling.as_json({"minutes": 1.0}))
    assert not told["held"] and told["steps"][0]["trouble"] == "the lamp is dark (replace it)"


def test_process_that_dies_ends_the_waiting_with_its_last_words(tmp_path: Path) -> None:
    process = Process("dying", [sys.executable, "-c", "print('out of film'); raise SystemExit(3)"], tmp_path / "log")
    process.start()
    with pytest.raises(StepFailed, match="dying ended with code 3: out of film"):
        wait_until("never", lambda: False, 20.0, [process])
    process.stop()


def test_waiting_has_an_end() -> None:
    with pytest.raises(StepFailed, match="the moon: not within"):
        wait_until("the moon", lambda: False, 0.2, [], every_s=0.05)


def test_failed_command_tells_what_the_command_said() -> None:
    with pytest.raises(StepFailed, match="code 2: no film"):
        run_tool([sys.executable, "-c", "import sys; sys.exit(print('no film', file=sys.stderr) or 2)"])


def test_defocus_of_the_exam_is_the_three_by_three_mean(tmp_path: Path) -> None:
    data = folder_of_images(tmp_path / "data", ("pore",), 1)
    defocused_copy(data, ["pore_0.png"], tmp_path / "out")
    sharp = np.asarray(Image.open(data / "pore_0.png")).astype(float)
    blurred = np.asarray(Image.open(tmp_path / "out" / "pore_0.png.png")).astype(float)
    mean = np.mean([sharp[1 + dy : 11 + dy, 1 + dx : 11 + dx] for dy in (-1, 0, 1) for dx in (-1, 0, 1)], axis=0)
    assert np.abs(blurred[1:11, 1:11] - mean).max() <= 1.0


def test_bench_fails_when_a_target_is_missed() -> None:
    good = {"loop.before_acc": 0.4, "loop.after_over_oracle": 0.98, "loop.labels": 120.0, "loop.minutes": 3.0}
    assert all_held(good)
    assert not all_held({**good, "loop.before_acc": 0.5})
