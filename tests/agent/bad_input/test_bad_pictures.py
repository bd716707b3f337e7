"""Every odd image file, through all three doors: the command, the running station, the local API. One law: never a silent PASS."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.bad_pictures import REFUSED, odd_pictures
from tests.fixtures_broker import free_port
from tests.station_process import Station, wait_for
from tests.tiny_bundle import write_bundle

PICTURES = odd_pictures()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("odd")
    (folder / "parts").mkdir()
    for name, (body, _) in PICTURES.items():
        (folder / "parts" / name).write_bytes(body)
    write_bundle(folder / "tiny.plb", pass_at=0.5)
    return folder


@pytest.fixture(scope="module")
def scored(folder: Path) -> tuple[int, dict[str, dict[str, str]]]:
    """What `infer` says of them all: its exit code, and a line an image."""
    ran = subprocess.run(
        (sys.executable, "-m", "agent", "infer", "--json", "--bundle", str(folder / "tiny.plb"), str(folder / "parts")),
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [json.loads(line) for line in ran.stdout.splitlines()]
    return ran.returncode, {Path(line["image"]).name: line for line in lines}


@pytest.mark.parametrize("name", PICTURES)
def test_the_command_judges_what_is_an_image_and_refuses_what_is_none(
    scored: tuple[int, dict[str, dict[str, str]]], name: str
) -> None:
    line, expected = scored[1][name], PICTURES[name][1]
    if expected == REFUSED:
        assert (line["verdict"], line["cause"]) == ("REVIEW", "bad_image"), line
        assert name in line["error"]
    else:
        assert (line["verdict"], line.get("error", "")) == (expected, ""), line


def test_the_command_judges_every_file_and_its_exit_code_says_that_some_were_bad(
    scored: tuple[int, dict[str, dict[str, str]]],
) -> None:
    assert scored[0] == 1 and set(scored[1]) == set(PICTURES)


def test_no_bomb_takes_the_memory_it_claims(folder: Path) -> None:
    process = subprocess.Popen(
        (sys.executable, "-m", "agent", "infer", "--stdin", "--bundle", str(folder / "tiny.plb")),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None and process.stdout is not None

    def peak_kib_after(name: str) -> int:
        body = PICTURES[name][0]
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(len(body).to_bytes(4, "big") + body)
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["verdict"]
        state = Path(f"/proc/{process.pid}/status").read_text()
        return int(state.split("VmHWM:")[1].split()[0])

    with process:
        before = peak_kib_after("cmyk.jpg")
        # 100 megapixels of grey would be 98 MiB, the text 64.
        assert max(map(peak_kib_after, PICTURES)) - before < 48 << 10
        process.stdin.close()
        assert process.wait(60) == 0


def test_a_station_gives_each_its_verdict_and_goes_on_to_the_next(folder: Path, tmp_path: Path) -> None:
    config = tmp_path / "agent.toml"
    config.write_text(
        f'station = "s1"\nhome = "state"\n[broker]\nhost = ""\n[api]\nport = 0\n[bundle]\npath = "{folder}/tiny.plb"\n'
        f'[source]\nkind = "folder"\nfolder = "{folder}/parts"\nloop = false\nfps = 0\n'
        "[line]\ndeadline_ms = 60000.0\nfrozen_after = 0\n"
    )
    ran = subprocess.run(
        (sys.executable, "-m", "agent", "run", "--config", str(config)), capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert f"stopped after {len(PICTURES)} frames" in ran.stderr and "Traceback" not in ran.stderr
    with sqlite3.connect(tmp_path / "state/agent.sqlite") as connection:
        rows = connection.execute("SELECT part, verdict, cause FROM results").fetchall()
    connection.close()
    expected = Counter(("REVIEW", REFUSED) if want == REFUSED else (want, "") for _, want in PICTURES.values())
    assert Counter((verdict, cause) for _, verdict, cause in rows) == expected
    by_part = {part: (verdict, cause) for part, verdict, cause in rows if part}
    for name, (_, want) in PICTURES.items():
        if want != REFUSED:
            assert by_part[name] == (want, ""), name
    shown = subprocess.run(
        (sys.executable, "-m", "agent", "status", "--config", str(config), "--json"), capture_output=True, check=True
    )
    assert json.loads(shown.stdout)["review_causes"] == {REFUSED: expected["REVIEW", REFUSED]}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    port = free_port()
    station = Station(tmp_path_factory.mktemp("station"), 1, extra=f"[api]\nport = {port}\n")
    station.start()
    try:
        wait_for(lambda: station.rows() > 0)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            yield client
        assert station.end(signal.SIGTERM) == 0
        assert "Traceback" not in station.said()
    finally:
        station.close()


@pytest.mark.parametrize("name", PICTURES)
def test_the_local_api_answers_as_the_command_does(api: httpx.Client, name: str) -> None:
    body, expected = PICTURES[name]
    answer = api.post("/v1/infer", content=body)
    said = answer.json()
    if expected == REFUSED:
        assert (answer.status_code, said["verdict"], said["cause"]) == (422, "REVIEW", "bad_image"), said
    else:
        assert (answer.status_code, said["verdict"]) == (200, expected), said
