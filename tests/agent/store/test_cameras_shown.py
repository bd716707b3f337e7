"""Where windows and results are shown, a camera is named where it has a name, and nothing changes where it has none."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest

from agent.__main__ import main
from agent.api.decisions import Decisions
from agent.decide.unfamiliar import Learnt
from agent.ports.recorder import Result
from agent.store.database import claim_boot, open_database, open_read_only, transaction
from agent.store.memory import SqliteMemory, fact_of
from agent.store.outbox import Outbox
from agent.store.recovery import set_last_closed_window
from agent.store.results import add_results
from contract.sketches.enrolment import Enrolment
from contract.sketches.frame_stats import frame_stats
from contract.sketches.reference import encode_reference
from tests.fakes.agent_clock import HandClock

OF_ONE_CAMERA = {
    "id", "window", "captured_at", "part", "verdict", "cause", "label", "confidence", "latency_ms", "bundle",
    "asked_cloud", "cloud_answer",
}  # fmt: skip


def reference() -> str:
    enrolment = Enrolment(2)
    for level in (100, 110):
        enrolment.add(frame_stats(np.full((64, 64), level, np.uint8)))
    return encode_reference(enrolment.reference()).decode()


def station(folder: Path, *cameras: str) -> Path:
    """Write a station whose cameras judged a frame each and closed 1, 2, ... windows; the first of them is enrolled."""
    path = folder / "state/agent.sqlite"
    connection = open_database(path)
    Outbox(connection, boot=claim_boot(connection, path))
    SqliteMemory(connection).put(fact_of("reference", cameras[0]), reference())
    with transaction(connection):
        for windows, camera in enumerate(cameras, 1):
            row = Result(windows, 7.0, f"part-{windows}", "PASS", "", "good", 0.9, 3.0, "", camera=camera)
            add_results(connection, [row])
            set_last_closed_window(connection, windows, camera)
    connection.close()
    config = folder / "agent.toml"
    config.write_text('station = "s1"\nhome = "state"\n[broker]\nhost = ""\n')
    return config


def status(config: Path, capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, object], str]:
    assert main(["status", "--config", str(config), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert main(["status", "--config", str(config)]) == 0
    return shown, capsys.readouterr().out


def test_status_lists_the_cameras_of_a_station_that_has_several(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown, words = status(station(tmp_path, "", "left"), capsys)
    assert shown["cameras"] == {
        "": {"windows": 1, "enrolled_frames": 2}, "left": {"windows": 2, "enrolled_frames": 0},
    }  # fmt: skip
    assert (shown["windows"], shown["enrolled_frames"]) == (3, 0)
    assert "(first) 1 windows, enrolled on 2 frames; left 2 windows, enrolling" in words


def test_status_of_a_station_with_one_camera_is_what_it_always_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown, words = status(station(tmp_path, ""), capsys)
    assert "cameras" not in shown and "cameras" not in words
    assert (shown["windows"], shown["enrolled_frames"]) == (1, 2)
    assert shown["refusal"] == "not learnt: nothing is enrolled for it yet"


def test_status_says_how_far_each_camera_is_with_learning_what_to_refuse(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = station(tmp_path, "", "left")
    assert status(config, capsys)[0]["refusal"] == (
        "(first) not learnt: nothing is enrolled for it yet; left not learnt: nothing is enrolled for it yet"
    )
    connection = open_database(tmp_path / "state/agent.sqlite")
    for camera, limit in (("", None), ("left", 2.0)):
        kept = Learnt("r", b"", 0.001, 1999 if limit else 512, (3.0, 2.0), limit)
        SqliteMemory(connection).put(fact_of("refusal_limit", camera), msgspec.json.encode(kept).decode())
    connection.close()
    shown, words = status(config, capsys)
    assert shown["refusal"] == "(first) learning, 512 of 1999 frames; left in force" and str(shown["refusal"]) in words
    connection = open_database(tmp_path / "state/agent.sqlite")
    unsound = msgspec.json.encode(Learnt("r", b"", 0.001, 1999, (3.0, 2.0), None)).decode()
    SqliteMemory(connection).put(fact_of("refusal_limit", "left"), unsound)
    SqliteMemory(connection).put(fact_of("refusal_limit", ""), "{")
    connection.close()
    assert str(status(config, capsys)[0]["refusal"]).count("not learnt") == 2, (
        "what the station itself would not believe"
    )
    config.write_text(config.read_text() + "[line]\nunfamiliar = 0.0\n")
    assert status(config, capsys)[0]["refusal"] == "off"


def test_a_decision_names_its_camera_only_where_it_has_a_name(tmp_path: Path) -> None:
    station(tmp_path, "", "left")
    decisions = Decisions(lambda: open_read_only(tmp_path / "state/agent.sqlite"), HandClock())
    of_left, of_first = decisions.of_part(None, 10)
    assert of_left["camera"] == "left" and set(of_left) == OF_ONE_CAMERA | {"camera"}
    assert set(of_first) == OF_ONE_CAMERA
    assert decisions.find(2) == of_left
