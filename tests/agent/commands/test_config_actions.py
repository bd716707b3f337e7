"""`plumbline-agent config check|explain|diff|board`: every mistake at once, every layer of a key, every difference."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agent.__main__ import main
from agent.commands.config import ACTIONS
from agent.commands.config_board import board_facts
from agent.settings_problems import examine_settings
from agent.slots.config_file import ConfigFile
from contract.messages import ConfigOrder
from tests.agent.health.test_board_profiles import ORIN_NANO_CONF, machine

LEAST = 'station = "s1"\nhome = "state"\n'
WRONG = """\
station = "Line 3"
home = 3
soruce = 1
[line]
dedline_ms = 3
threads = "many"
queue = 0
[broker]
allowed_hosts = ["a", 3]
port = 70000
[[cameras]]
kind = "folder"
[[cameras]]
name = "left"
fsp = 2
[[models]]
name = "m"
camera = "right"
bundle = 3
[policy]
fallback = true
"""


def write(folder: Path, text: str) -> str:
    (folder / "agent.toml").write_text(text)
    return str(folder / "agent.toml")


def told(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> Any:
    assert main(["config", *words, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_check_tells_every_mistake_at_once_with_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, WRONG)
    found = told(capsys, "check", "--config", path, code=2)
    assert found["ok"] is False
    messages = [problem["message"].replace(f"'{path}'", "") for problem in found["problems"]]
    assert messages == [
        " (line 2): home: expected `str`, got `int`",
        " line 3: unknown key 'soruce'",
        " line 5: unknown key 'line.dedline_ms'",
        " (line 6): line.threads: expected `int`, got `str`",
        " (line 9): broker.allowed_hosts[1]: expected `str`, got `int`",
        " (line 11): cameras[0]: object missing required field `name`",
        " line 15: unknown key 'cameras[1].fsp'",
        " (line 19): models[0].bundle: expected `str`, got `int`",
        "'Line 3' is no station id",
        " line 7: line.queue must be above 0, not 0",
        ": model 'm' looks through camera 'right', which is not there",
        " line 10: broker.port must be 1 to 65535, not 70000",
        " line 21: policy.fallback needs cloud.url",
    ]
    assert main(["config", "check", "--config", path]) == 2
    assert all(line.startswith("wrong    ") for line in capsys.readouterr().out.splitlines())


def test_a_variable_that_is_wrong_does_not_hide_what_is_wrong_in_the_file(tmp_path: Path) -> None:
    write(tmp_path, LEAST + "[line]\nqueue = 0\n")
    found = examine_settings(tmp_path / "agent.toml", {"PLUMBLINE_LINE__QUEUES": "3"})
    assert [error.message.partition(":")[0] for error in found.problems] == [
        "the environment's PLUMBLINE_LINE__QUEUES",
        f"'{tmp_path}/agent.toml' line 4",
    ]


@pytest.mark.parametrize(
    "text", ["[line", 'station = "s1"\nboard = "toaster"\n', "", "cameras = 3\nline = 3\n", "models = [3, 4]\n"]
)
def test_any_broken_file_has_problems_and_an_end(tmp_path: Path, text: str) -> None:
    write(tmp_path, text)
    assert examine_settings(tmp_path / "agent.toml", {}).problems
    assert examine_settings(tmp_path / "none.toml", {}).problems


def test_check_warns_of_what_the_board_speaks_against(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLUMBLINE_LINE_QUEUE", "2")
    path = write(
        tmp_path,
        LEAST + 'board = "raspberry-pi-5"\n[line]\nthreads = 8\n[runtime]\nprovider = "cuda"\n[degrade]\nhot_c = 90\n',
    )
    found = told(capsys, "check", "--config", path)
    assert (found["ok"], found["board"], found["problems"]) == (True, "raspberry-pi-5", [])
    assert found["warnings"] == [
        "PLUMBLINE_LINE_QUEUE is not read as a setting; PLUMBLINE_LINE__QUEUE would be",
        "line.threads = 8 is unwise on Raspberry Pi 5: it has 4 cores",
        "degrade.hot_c = 90 is unwise on Raspberry Pi 5: its firmware slows it down from 80 C on",
        "runtime.provider = 'cuda' is not on Raspberry Pi 5, which has cpu",
    ]
    path = write(tmp_path, LEAST + 'board = "raspberry-pi-5"\n')
    monkeypatch.delenv("PLUMBLINE_LINE_QUEUE")
    assert main(["config", "check", "--config", path]) == 0
    assert capsys.readouterr().out == f"'{path}' is sound, on Raspberry Pi 5\n"


def pinned(folder: Path, settings: str) -> str:
    path = write(
        folder,
        LEAST
        + 'board = "raspberry-pi-5"\n[line]\nqueue = 3\n[trust]\nroot = "r"\norder_keys = ["k"]\n[windows]\nseconds = 30.0\n',
    )
    ConfigFile(folder / "state/config").commit(ConfigOrder("s1", settings, "d1", 7, 1.0, 2.0))
    return path


def test_check_warns_of_an_order_that_no_longer_fits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = pinned(tmp_path, "[line]\ndeadline_ms = 500.0\n")
    (warning,) = told(capsys, "check", "--config", path)["warnings"]
    assert "what the cloud ordered is not used" in warning and "an order can only lower it" in warning


def test_explain_shows_every_layer_of_a_key_and_who_may_change_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = pinned(tmp_path, "[line]\nthreads = 2\n")
    monkeypatch.setenv("PLUMBLINE_LINE__THREADS", "4")
    assert told(capsys, "explain", "line.threads", "--config", path) == {
        "key": "line.threads",
        "means": "of the model's runtime",
        "type": "integer",
        "default": 1,
        "layers": {"board": 3, "agent.toml": None, "environment": 4, "order": 2},
        "variable": "PLUMBLINE_LINE__THREADS",
        "order": {"may": True, "how": "anything"},
        "value": 2,
        "from": "order",
    }
    assert main(["config", "explain", "line.threads", "--config", path]) == 0
    text = capsys.readouterr().out
    assert "  board        3\n" in text and "  in force     2 (order)\n" in text
    assert "  agent.toml   -\n" in text and "  environment  4  (PLUMBLINE_LINE__THREADS)\n" in text


@pytest.mark.parametrize(
    ("key", "type_", "order"),
    [
        ("trust.root", "string", {"may": False, "how": "an order must not choose whose orders are followed"}),
        (
            "policy.images_leave",
            '"never" or "requested" or "unsure"',
            {"may": True, "how": "not looser than the station's own"},
        ),
        ("broker.allowed_hosts", "list of strings", {"may": False, "how": "it says which brokers an order may choose"}),
        ("api.port", "integer or string", None),
        ("cameras", "list of tables", None),
        ("station", "string", None),
    ],
)
def test_explain_without_a_file_says_what_does_not_depend_on_one(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    key: str,
    type_: str,
    order: Any,
) -> None:
    monkeypatch.chdir(tmp_path)
    found = told(capsys, "explain", key)
    assert found["type"] == type_ and found["means"] and found["layers"] == {} and "value" not in found
    assert order is None or found["order"] == order
    assert found["order"]["how"]


def test_explain_lists_a_section_and_says_what_was_meant(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert set(told(capsys, "explain", "trust")) == {"trust.root", "trust.order_keys"}
    assert len(told(capsys, "explain")) > 90
    assert main(["config", "explain", "line.deadline"]) == 2
    assert "did you mean 'line.deadline_ms'?" in capsys.readouterr().err


def test_diff_of_a_file_and_what_lies_under_or_over_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = pinned(tmp_path, "[line]\nqueue = 2\n")
    monkeypatch.setenv("PLUMBLINE_WINDOWS__FRAMES", "64")
    against = {
        name: {
            each["key"]: (each["a"], each["b"]) for each in told(capsys, "diff", path, name, "--config", path, code=1)
        }
        for name in ("defaults", "raspberry-pi-5", "in-force")
    }
    assert against["in-force"] == {"line.queue": (3, 2), "windows.frames": (256, 64)}
    own = {"station", "home", "board", "line.queue", "trust.root", "trust.order_keys", "windows.seconds"}
    assert set(against["raspberry-pi-5"]) == own, "against its board, only what the file itself changes"
    assert set(against["defaults"]) == own | {"line.threads", "runtime.provider", "degrade.hot_c", "limits.commit_s"}
    assert against["defaults"]["line.threads"] == (3, 1)


def test_diff_of_two_files_is_as_diffs_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = write(tmp_path, LEAST)
    (tmp_path / "b.toml").write_text(LEAST + "[line]\ndeadline_ms = 200.0\n")
    assert told(capsys, "diff", a, str(tmp_path / "b.toml")) == [], "the default said aloud is no difference"
    (tmp_path / "b.toml").write_text(LEAST + "[line]\ndeadline_ms = 150.0\n")
    assert main(["config", "diff", a, str(tmp_path / "b.toml")]) == 1
    assert capsys.readouterr().out == "line.deadline_ms  200.0 -> 150.0\n"
    assert main(["config", "diff", a, str(tmp_path / "none.toml")]) == 2
    assert "no config file" in capsys.readouterr().err


def test_board_gives_the_installer_its_memory_cap(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = machine(
        tmp_path / "root",
        b"NVIDIA Jetson Orin Nano Developer Kit\0",
        meminfo="MemTotal: 7802564 kB\n",
        conf=ORIN_NANO_CONF,
        status="pmode:0000",
    )
    facts = board_facts("jetson-orin-nano", root)
    assert (facts["memory_mib"], facts["memory_max_mib"], facts["memory_max"]) == (7619, 4571, "4571M")
    assert (facts["power_mode"], facts["recommended_power_mode"]) == ("15W", {"id": 1, "name": "25W"})
    assert board_facts("jetson-orin-nano", tmp_path)["memory_max"] == "infinity"
    monkeypatch.chdir(tmp_path)
    assert told(capsys, "board")["profile"].startswith("generic-")  # before there is an agent.toml
    assert told(capsys, "board", "jetson-agx-thor")["gpu_sm"] == 110
    write(tmp_path, LEAST + 'board = "raspberry-pi-5"\n')
    assert told(capsys, "board")["profile"] == "raspberry-pi-5"
    write(tmp_path, LEAST + 'board = "none"\n')
    assert told(capsys, "board") == {"profile": None, "memory_max": None}
    assert main(["config", "board", "toaster"]) == 1
    assert "jetson-orin-nx" in capsys.readouterr().err


@pytest.mark.parametrize("action", ACTIONS)
def test_the_help_of_each_action_has_an_example(action: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["config", action, "--help"])
    assert left.value.code == 0
    assert f"plumbline-agent config {action}" in capsys.readouterr().out.partition("example")[2]
