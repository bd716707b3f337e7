"""A station process without any network takes updates from kits, and goes back by hand (OTA-6)."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from kit_plant import KitPlant, kit_plant

_PROBATION = "[rollout]\nprobation_frames = 20\nmin_agreement = 0.0\nmax_mix_shift = 1.0\nserve_s = 0.5\n"


def command(plant: KitPlant, *arguments: object) -> tuple[int, dict]:
    """Run `plumbline-agent ... --json` as a person would; return its exit code and what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "agent", *map(str, arguments), "--json", "--config", plant.station / "agent.toml"],
        capture_output=True,
        timeout=120,
    )
    return done.returncode, json.loads(done.stdout or b"{}")


@pytest.fixture
def plant(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[KitPlant]:
    plant = kit_plant(tmp_path, capsys)
    with (plant.home / "cloud.toml").open("a") as file:
        file.write(_PROBATION)
    config = plant.station / "agent.toml"
    before, trust = config.read_text().split("[source]")[0], config.read_text().split("[trust]")[1]
    config.write_text(
        f'{before}[source]\nkind = "simulated"\nfps = 100.0\nheight = 32\nwidth = 32\n[line]\ndeadline_ms = 5000.0\n'
        f'[broker]\nhost = ""\n[trust]{trust}'
    )
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "agent", "run", "--config", config], stdout=log, stderr=log)
        while not (plant.state / "reported.json").exists():
            assert process.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.05)
        yield plant
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


@pytest.mark.slow
def test_kits_are_installed_one_after_the_other_and_the_first_is_gone_back_to_by_hand(
    plant: KitPlant, tmp_path: Path
) -> None:
    first, second = plant.release("v1"), plant.release("v2", seed=1)
    for released in (first, second):
        kit = plant.make(tmp_path / f"{released.version}.plk", released.version)
        code, said = command(plant, "update", "apply", kit)
        assert (code, said["end"], said["bundle"]) == (0, "committed", released.digest), said
    code, status = command(plant, "update", "status")
    assert code == 0 and status["running"] and status["boots"] == second.digest
    code, said = command(plant, "update", "rollback", "--reason", "rejects good parts")
    assert (code, said["bundle"]) == (0, first.digest)
    assert command(plant, "update", "status")[1]["boots"] == first.digest
    assert command(plant, "update", "apply", tmp_path / "v2.plk")[0] == 1
