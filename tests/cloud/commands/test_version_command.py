"""`plumbline-cloud version`: versions listed, named, retired, and their files deleted."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "agent"))
from kit_plant import KitPlant, kit_plant

from cloud.__main__ import main
from cloud.registry.release import Registry
from cloud.store.database import Database
from cloud.store.versions import Versions


@pytest.fixture
def plant(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> KitPlant:
    plant = kit_plant(tmp_path, capsys)
    for version in ("v1", "v2", "v3"):
        plant.release(version)
    return plant


def run(plant: KitPlant, capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    capsys.readouterr()
    assert main([*words, *plant.config]) == code
    said = capsys.readouterr()
    return said.err if code else said.out


def told(plant: KitPlant, capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    return json.loads(run(plant, capsys, *words, "--json"))


def test_a_version_is_listed_named_retired_and_not_put_into_a_kit(
    plant: KitPlant, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    listed = told(plant, capsys, "version", "list")
    assert (listed[0]["version"], listed[0]["stage"], listed[0]["aliases"]) == ("v3", "CANDIDATE", ["candidate"])
    assert "'line-3' means v2" in run(plant, capsys, "version", "alias", "line-3", "v2", "--reason", "dusty")
    assert told(plant, capsys, "version", "show", "line-3")["version"] == "v2"
    assert "line-3" in run(plant, capsys, "version", "list") and "v2 (line-3)" in run(
        plant, capsys, "version", "show", "v2"
    )
    assert "means version 'v2'" in run(plant, capsys, "version", "retire", "v2", "--reason", "old", code=1)
    run(plant, capsys, "version", "alias", "line-3", "--drop")
    assert "v2 is retired" in run(plant, capsys, "version", "retire", "v2", "--reason", "old", "--actor", "eva")
    kit = ("kit", "make", "--version", "v2", "--all", "--out", str(tmp_path / "kit"))
    assert "was retired by eva: old" in run(plant, capsys, *kit, code=1)
    assert "v2 may be ordered again" in run(plant, capsys, "version", "unretire", "v2", "--reason", "needed")
    assert "(v3)" not in run(
        plant, capsys, "kit", "make", "--version", "candidate", "--all", "--out", str(tmp_path / "k")
    )
    assert json.loads((tmp_path / "k" / "kit.json").read_text())["version"] == "v3"
    assert "say which version" in run(plant, capsys, "version", "alias", "line-3", code=1)


def test_prune_shows_what_would_go_and_why_the_rest_stays_and_deletes_only_when_told(
    plant: KitPlant, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = Registry(plant.home / "registry")
    digests = {each.version: each.digest for each in registry.catalog.all()}
    database = Database(f"sqlite:///{plant.home / 'cloud.db'}") if (plant.home / "cloud.db").exists() else None
    assert database is not None, sorted(path.name for path in plant.home.iterdir())
    Versions(database).rolled_out("v2", "plumbline", 1.0)
    database.close()
    young = told(plant, capsys, "version", "prune")
    assert young["gone"] == {} and "released 0 days ago" in " ".join(young["kept"]["v1"])
    rules = ("--days", "0", "--champions", "1")
    shown = run(plant, capsys, "version", "prune", *rules)
    assert "goes   v1: " in shown and "stays  v2: it is 'champion'; it is the champion" in shown
    assert "stays  v3: it is the newest release; it is 'candidate'" in shown and "--apply deletes them" in shown
    assert registry.blobs.size_of(digests["v1"])
    done = told(plant, capsys, "version", "prune", "--apply", *rules, "--actor", "eva")
    assert done["deleted"] == ["v1"] and done["freed_bytes"] == sum(done["gone"].values()) > 0
    assert not registry.blobs.size_of(digests["v1"]) and registry.blobs.size_of(digests["v2"])
    listed = {each["version"]: each for each in told(plant, capsys, "version", "list")}
    assert listed["v1"]["stage"] == "PRUNED" and listed["v1"]["stage_by"] == "eva" and listed["v1"]["disk_bytes"] == 0
    assert "nothing" in run(plant, capsys, "version", "prune", "--apply", *rules)
    assert "--champions must be" in run(plant, capsys, "version", "prune", "--champions", "0", code=1)
