"""`run` and `status` in words, and what they say when something is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from agent.__main__ import main
from tests.fakes.agent_line import image
from tests.tiny_bundle import write_bundle


def config(folder: Path, extra: str = "") -> Path:
    path = folder / "agent.toml"
    path.write_text(f'station = "s1"\nhome = "state"\n[broker]\nhost = ""\n{extra}')
    return path


def agent(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        (sys.executable, "-m", "agent", *map(str, arguments)), capture_output=True, text=True, check=False
    )


def test_a_folder_read_to_its_end_is_judged_stored_and_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_bundle(tmp_path / "tiny.plb")
    (tmp_path / "parts").mkdir()
    for n, level in enumerate((230, 230, 20, 128)):
        Image.fromarray(image(level, n)).save(tmp_path / f"parts/{n}.png")
    (tmp_path / "parts/4.png").write_bytes(b"torn")
    path = config(
        tmp_path,
        '[source]\nkind = "folder"\nfolder = "parts"\nloop = false\nfps = 0\n[bundle]\npath = "tiny.plb"\n'
        "[line]\ndeadline_ms = 5000.0\n",
    )
    ran = agent("run", "--config", path)
    assert ran.returncode == 0, ran.stderr
    assert "stopped after 5 frames" in ran.stderr
    assert "SIMULATED" not in ran.stderr
    assert main(["status", "--config", str(path), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["captured"], shown["passed"], shown["rejected"], shown["review"]) == (5, 2, 1, 2)
    assert shown["review_causes"] == {"bad_image": 1, "unsure": 1}
    assert (shown["windows"], shown["outbox"], shown["running"]) == (1, 1, False)
    assert main(["status", "--config", str(path)]) == 0
    assert "last" in capsys.readouterr().out


def test_status_of_a_station_that_never_ran_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--config", str(config(tmp_path))]) == 1
    assert capsys.readouterr().err.startswith("error: no station data at")


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ('[source]\nkind = "folder"\nfolder = "nowhere"\n', "nowhere"),
        ('[bundle]\npath = "none.plb"\n', "none.plb"),
        ('[cloud]\nurl = "http://127.0.0.1:9"\ntoken_file = "none.token"\n', "cloud.token_file"),
        ('[cloud]\nurl = "http://127.0.0.1:9"\n[trust]\nroot = "r"\norder_keys = ["none.pub"]\n', "trust.order_keys"),
    ],
)
def test_what_is_configured_and_missing_is_one_line(tmp_path: Path, extra: str, words: str) -> None:
    ran = agent("run", "--config", config(tmp_path, extra))
    assert ran.returncode in (1, 2)
    last = ran.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert words in last
    assert "Traceback" not in ran.stderr


def test_help_has_an_example_and_every_key() -> None:
    shown = agent("run", "--help").stdout
    assert "plumbline-agent run --config agent.toml" in shown
    assert "images_leave" in shown
