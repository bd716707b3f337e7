"""A cloud that makes kits and a station that applies them, both by their own commands, for tests."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from update_plant import bundle_content

from agent.__main__ import main as agent
from cloud.__main__ import main as cloud
from cloud.registry.catalog import ReleasedVersion
from cloud.registry.keys import load_keys
from cloud.registry.release import Registry, release

STATION = "line3-cam1"


@dataclass
class KitPlant:
    """`home` is the cloud's folder, `station` the one with agent.toml."""

    home: Path
    station: Path
    capsys: pytest.CaptureFixture[str]

    @property
    def config(self) -> list[str]:
        return ["--config", str(self.home / "cloud.toml")]

    @property
    def state(self) -> Path:
        return self.station / "state"

    def release(self, version: str, seed: int = 0, **more: Any) -> ReleasedVersion:
        content = bundle_content(self.home / "content", version, seed, **more)
        return release(content, Registry(self.home / "registry"), load_keys(self.home / "keys"), time.time())

    def cloud(self, *arguments: object) -> tuple[int, str, str]:
        self.capsys.readouterr()
        code = cloud([*map(str, arguments), *self.config])
        return code, *self.capsys.readouterr()

    def make(self, out: Path, version: str, *more: object) -> Path:
        stations = () if "--all" in more or "--station" in more else ("--station", STATION)
        code, _, error = self.cloud("kit", "make", "--version", version, "--out", out, *stations, *more)
        assert code == 0, error
        return out

    def agent(self, *arguments: object) -> tuple[int, str, str]:
        self.capsys.readouterr()
        code = agent([*map(str, arguments), "--config", str(self.station / "agent.toml")])
        return code, *self.capsys.readouterr()

    def apply(self, kit: Path, *more: object) -> tuple[int, str, str]:
        return self.agent("update", "apply", kit, *more)

    def status(self) -> dict[str, Any]:
        code, out, error = self.agent("update", "status", "--json")
        assert code == 0, error
        return json.loads(out)


def kit_plant(folder: Path, capsys: pytest.CaptureFixture[str]) -> KitPlant:
    """Return a plant with one station and no release."""
    plant = KitPlant(folder / "cloud", folder / "station", capsys)
    assert cloud(["init", "--home", str(plant.home)]) == 0
    assert cloud(["station", "add", STATION, "--out", str(plant.station), *plant.config]) == 0
    return plant
