"""P2: a power cut at any step of an update leaves a bootable, verified bundle. The steps are traced, not listed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from power_cut import ModelDisk, PowerCut
from update_plant import Plant, plant

from agent.update_loop import UpdateLoop
from cloud.registry.catalog import ReleasedVersion


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Plant]:
    with plant(tmp_path) as made:
        yield made


def process(here: Plant, disk: ModelDisk) -> UpdateLoop:
    """Start the update loop of a new process over `disk`."""
    from agent.slots.floors_file import FloorsFile

    return here.loop(disk=disk, floors=FloorsFile(here.home / "floors", disk=disk))


def update_until_cut(here: Plant, disk: ModelDisk, envelope: str) -> None:
    here.send(envelope)
    here.settle(process(here, disk))


@pytest.mark.parametrize(
    ("power", "incumbent", "stride"),
    [
        pytest.param(True, True, 2, id="power cut in an update"),
        pytest.param(True, False, 3, id="power cut in the first installation"),
        pytest.param(False, True, 3, id="kill in an update"),
        pytest.param(False, False, 1, id="every kill in the first installation", marks=pytest.mark.long),
        pytest.param(False, True, 1, id="every kill in an update", marks=pytest.mark.long),
        pytest.param(True, False, 1, id="every power cut in the first installation", marks=pytest.mark.long),
        pytest.param(True, True, 1, id="every power cut in an update", marks=pytest.mark.long),
    ],
)
def test_cut_before_every_step_boots_a_whole_bundle_and_finishes(
    here: Plant, power: bool, incumbent: bool, stride: int
) -> None:
    old: ReleasedVersion | None = here.deploy("1") if incumbent else None
    here.home.mkdir(exist_ok=True)
    for name in ("bundles", "floors", "incoming"):
        (here.home / name).mkdir(exist_ok=True)
    new = here.release("2", seed=1)
    envelope = here.order(new)
    before = here.folder / "before"
    shutil.copytree(here.home, before, symlinks=True)

    traced = ModelDisk(here.home)
    update_until_cut(here, traced, envelope)
    traced.close()
    assert len(traced.steps) > 30
    boots = set()
    for cut_at in range(0, len(traced.steps), stride):
        shutil.rmtree(here.home)
        shutil.copytree(before, here.home, symlinks=True)
        disk = ModelDisk(here.home, cut_at)
        downloads = sum(".plb" in path for path, _ in here.server.seen)
        with pytest.raises(PowerCut):
            update_until_cut(here, disk, envelope)
        if power:
            disk.forget()
        disk.close()
        where = f"cut before step {cut_at}: {traced.steps[cut_at]}"
        booted = here.slots().boot_bundle()
        digest = booted.digest if booted else ""
        assert digest in {old.digest if old else "", new.digest}, where
        boots.add(digest)
        # The retained order comes again after the restart, and the update ends as if nothing had been.
        recovered = ModelDisk(here.home)
        here.send(envelope)
        loop = process(here, recovered)
        for _ in range(30):
            loop.tick(1.0)
        recovered.close()
        said = here.report.said[-1]
        assert (said.update_state, said.bundle) == ("COMMITTED", new.digest), f"{where}; {said.reason}"
        assert sum(".plb" in path for path, _ in here.server.seen) - downloads <= 2, where
    assert len(boots) == 2, "cuts late in the update boot the new bundle"
