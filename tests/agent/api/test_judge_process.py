"""Judging beside the line, in a real process that may hang, die, or be asked about another bundle."""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from agent.api.exchange import Request
from agent.api.judge_process import JudgeProcess
from agent.api.provenance import Manifests
from agent.api.routes import Routes
from agent.clock import SystemClock
from agent.ports.local_view import Judged
from agent.ports.slots import InstalledBundle
from agent.slots.unpacked import open_archive
from contract.errors import BadImage, BadModel, DeadlinePassed, TransientError
from tests.fakes.agent_clock import HandClock
from tests.fakes.agent_line import bundle as named_bundle
from tests.fakes.agent_line import image
from tests.tiny_bundle import model_bytes, write_bundle


def png(level: int) -> bytes:
    body = io.BytesIO()
    Image.fromarray(image(level)).save(body, "PNG")
    return body.getvalue()


@pytest.fixture
def judge() -> Iterator[JudgeProcess]:
    judge = JudgeProcess(SystemClock())
    yield judge
    judge.close()


def installed(folder: Path, model: bytes | None = None, version: str = "1") -> InstalledBundle:
    return open_archive(write_bundle(folder / f"{version}.plb", model, version=version), folder / version)


def test_another_bundle_is_another_process(judge: JudgeProcess, tmp_path: Path) -> None:
    right, wrong = installed(tmp_path), installed(tmp_path, model_bytes(gain=-20.0), "2")
    assert judge.judge(right, png(230)).verdict == "PASS"
    assert judge.judge(wrong, png(230)).verdict == "REJECT"
    with pytest.raises(BadImage):
        judge.judge(wrong, b"no image")
    with pytest.raises(BadModel, match="NaN"):
        judge.judge(installed(tmp_path, model_bytes(gain=float("nan")), "3"), png(230))


def test_a_process_that_was_killed_is_said_and_the_next_image_gets_a_new_one(
    judge: JudgeProcess, tmp_path: Path
) -> None:
    bundle = installed(tmp_path)
    judge.judge(bundle, png(230))
    process = judge._process
    assert process is not None
    os.kill(process.pid, 9)
    process.wait()
    assert judge.judge(bundle, png(230)).verdict == "PASS"


def test_a_bundle_that_does_not_load_is_a_bad_model(judge: JudgeProcess, tmp_path: Path) -> None:
    bundle = installed(tmp_path)
    (tmp_path / "1/model.onnx").write_bytes(b"torn")
    with pytest.raises(BadModel):
        judge.judge(bundle, png(230))
    assert not judge.running


def test_one_that_hangs_is_ended_at_its_deadline() -> None:
    hangs = JudgeProcess(SystemClock(), within_s=0.4, command=(sys.executable, "-c", "import time; time.sleep(300)"))
    started = time.monotonic()
    with pytest.raises(DeadlinePassed):
        hangs.judge(named_bundle("1"), png(230))
    assert time.monotonic() - started < 60.0
    assert not hangs.running
    # A pipe that is never read fills up: the deadline holds for writing too.
    with pytest.raises(DeadlinePassed):
        hangs.judge(named_bundle("1"), b"x" * (4 << 20))


def test_nonsense_for_an_answer_is_a_death() -> None:
    judge = JudgeProcess(SystemClock(), command=(sys.executable, "-c", "print('nonsense')"))
    with pytest.raises(TransientError):
        judge.judge(named_bundle("1"), png(230))


def test_after_a_while_without_images_it_lets_go_of_its_memory(tmp_path: Path) -> None:
    clock = HandClock()
    judge = JudgeProcess(clock, idle_s=60.0)
    judge.judge(installed(tmp_path), png(230))
    clock.forward(59.0)
    judge.tidy()
    assert judge.running
    clock.forward(2.0)
    judge.tidy()
    assert not judge.running


class _View:
    station = "s1"
    simulated = False

    def in_charge(self) -> InstalledBundle:
        return named_bundle("1")


class _NeverJudge:
    def judge(self, bundle: InstalledBundle, image: bytes) -> Judged:
        raise AssertionError("the line was pressed, and an image was judged all the same")

    def close(self) -> None:
        pass


def test_while_the_line_is_pressed_no_image_is_judged(tmp_path: Path) -> None:
    routes = Routes(_View(), None, Manifests(tmp_path, HandClock()), _NeverJudge(), lambda: True)  # type: ignore[arg-type]
    answer = routes.answer(Request("POST", "/v1/infer", "", b"x"))
    assert answer.code == 503 and b'"REVIEW"' in answer.body and answer.headers["Retry-After"] == "1"
