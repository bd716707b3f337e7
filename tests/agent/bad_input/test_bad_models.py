"""Models that lie about themselves or answer no numbers, through the command and the running station: said, and never PASS (P6)."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from PIL import Image

from contract.manifest import OutputKind
from tests.fakes.agent_line import image
from tests.fixtures_broker import free_port
from tests.odd_bundles import odd_bundles, write_odd_bundle
from tests.station_process import Station, wait_for
from tests.tiny_bundle import model_bytes, write_bundle

ODD = odd_bundles()
# A station's start costs a second or two: one of each kind, where `infer` is asked about all.
ON_A_STATION = ("opset_newer_than_the_runtime", "a_label_more_than_scores", "bytes_for_numbers", "tflite_of_int16")


def infer(folder: Path, bundle: Path) -> subprocess.CompletedProcess[str]:
    Image.fromarray(image(230)).save(folder / "bright.png")
    return subprocess.run(
        (sys.executable, "-m", "agent", "infer", "--json", "--bundle", str(bundle), str(folder / "bright.png")),
        capture_output=True,
        text=True,
        check=False,
    )


def need_litert(name: str) -> None:
    if "tflite" in name:
        pytest.importorskip("ai_edge_litert")


@pytest.mark.parametrize("name", ODD)
def test_the_command_refuses_a_model_that_is_not_what_its_manifest_says_in_one_line(tmp_path: Path, name: str) -> None:
    need_litert(name)
    write, words = ODD[name]
    ran = infer(tmp_path, write(tmp_path / "odd.plb"))
    assert (ran.returncode, ran.stdout) == (1, "")
    last = ran.stderr.splitlines()[-1]
    assert last.startswith("error: ") and words in last
    assert "Traceback" not in ran.stderr


def station_with(folder: Path, write: Callable[[Path], Path]) -> tuple[Station, str]:
    port = free_port()
    write(folder / "odd.plb")
    extra = f'[api]\nport = {port}\n[bundle]\npath = "odd.plb"\n'
    return Station(folder, 1, provisioned=False, extra=extra), f"http://127.0.0.1:{port}"


@pytest.mark.parametrize("name", ON_A_STATION)
def test_a_station_with_such_a_model_says_so_and_reviews_every_part(tmp_path: Path, name: str) -> None:
    need_litert(name)
    write, words = ODD[name]
    station, url = station_with(tmp_path, write)
    try:
        station.start()
        wait_for(lambda: station.rows() > 100)
        assert words in station.said() and "every frame is REVIEW" in station.said()
        answer = httpx.post(f"{url}/v1/infer", content=(tmp_path / "odd.plb").read_bytes()[:100], timeout=60)
        assert (answer.status_code, answer.json()["verdict"]) in ((503, "REVIEW"), (422, "REVIEW"))
        assert station.end(signal.SIGTERM) == 0
        status = station.status()
        assert (status["passed"], status["rejected"]) == (0, 0)
        assert status["review_causes"] == {"no_model": status["captured"]}
        assert "Traceback" not in station.said()
    finally:
        station.close()


@pytest.mark.parametrize(
    "gain", [math.nan, *(pytest.param(each, marks=pytest.mark.long) for each in (math.inf, -math.inf))]
)
def test_scores_that_are_no_numbers_are_broken_model_through_every_door(tmp_path: Path, gain: float) -> None:
    ran = infer(tmp_path, write_bundle(tmp_path / "nan.plb", model_bytes(gain=gain)))
    assert ran.returncode == 1
    assert '"verdict":"REVIEW"' in ran.stdout and '"cause":"broken_model"' in ran.stdout
    station, url = station_with(tmp_path, lambda path: write_bundle(path, model_bytes(gain=gain)))
    try:
        station.start()
        wait_for(lambda: station.rows() > 100)
        answer = httpx.post(f"{url}/v1/infer", content=(tmp_path / "bright.png").read_bytes(), timeout=60)
        assert (answer.json()["verdict"], answer.json()["cause"]) == ("REVIEW", "broken_model")
        assert "NaN or infinite" in station.said()
        assert station.end(signal.SIGTERM) == 0
        status = station.status()
        assert (status["passed"], status["rejected"]) == (0, 0)
        assert status["review_causes"] == {"broken_model": status["captured"]}
    finally:
        station.close()


def test_logits_that_call_themselves_probabilities_pass_nothing(tmp_path: Path) -> None:
    ran = infer(tmp_path, write_odd_bundle(tmp_path / "liar.plb", model_bytes(), output=OutputKind.PROBABILITIES))
    assert ran.returncode == 1 and '"cause":"broken_model"' in ran.stdout
