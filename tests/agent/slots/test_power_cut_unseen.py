"""P2 for an order to decide unseen only: cut at any step, full disk, another order: what ran boots, and it is obeyed once."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
import pytest
from power_cut import ModelDisk, PowerCut
from update_plant import PROBATION, Plant, plant

from agent.slots.disk import Disk
from agent.slots.floors_file import FloorsFile
from agent.update_loop import UpdateLoop
from contract.errors import StorageFull
from contract.messages import SHADOWED

UNSEEN = msgspec.structs.replace(PROBATION, shadow_only=True)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Plant]:
    with plant(tmp_path) as made:
        yield made


def process(here: Plant, disk: Disk) -> UpdateLoop:
    return here.loop(disk=disk, floors=FloorsFile(here.home / "floors", disk=disk))


@pytest.mark.parametrize(
    ("power", "stride"),
    [
        pytest.param(True, 4, id="power cut"),
        pytest.param(False, 7, id="kill"),
        pytest.param(True, 1, id="every power cut", marks=pytest.mark.long),
        pytest.param(False, 1, id="every kill", marks=pytest.mark.long),
    ],
)
def test_cut_before_every_step_boots_what_ran_and_the_trial_ends_as_asked(
    here: Plant, power: bool, stride: int
) -> None:
    old = here.deploy("1")
    for name in ("bundles", "floors", "incoming"):
        (here.home / name).mkdir(exist_ok=True)
    new = here.release("2", seed=1)
    unseen, earnest = here.order(new, "s1", probation=UNSEEN), here.order(new, "r1")
    before = here.folder / "before"
    shutil.copytree(here.home, before, symlinks=True)
    traced = ModelDisk(here.home)
    here.send(unseen)
    here.settle(process(here, traced))
    traced.close()
    assert len(traced.steps) > 30 and here.report.said[-1].outcome == SHADOWED
    for cut_at in range(0, len(traced.steps), stride):
        shutil.rmtree(here.home)
        shutil.copytree(before, here.home, symlinks=True)
        disk = ModelDisk(here.home, cut_at)
        with pytest.raises(PowerCut):
            here.send(unseen)
            here.settle(process(here, disk))
        if power:
            disk.forget()
        disk.close()
        where = f"cut before step {cut_at}: {traced.steps[cut_at]}"
        booted = here.slots().boot_bundle()
        assert booted is not None and booted.digest == old.digest, where
        recovered = ModelDisk(here.home)
        here.send(unseen)
        loop = process(here, recovered)
        for _ in range(30):
            loop.tick(1.0)
        said = here.report.said[-1]
        assert (said.update_state, said.outcome, said.bundle, said.deployment) == (
            "IDLE", SHADOWED, old.digest, "s1",
        ), f"{where}; {said.reason}"  # fmt: skip
        here.send(earnest)
        for _ in range(30):
            loop.tick(1.0)
        recovered.close()
        said = here.report.said[-1]
        assert (said.update_state, said.bundle) == ("COMMITTED", new.digest), f"{where}; {said.reason}"


class FullDisk(Disk):
    """Takes nothing while it is `full`."""

    full = False

    def write(self, path: Path, chunks: Iterable[bytes], *, append: bool = False) -> None:
        if self.full:
            raise StorageFull("no space left", hint="free some")
        super().write(path, chunks, append=append)


def test_a_disk_that_is_full_as_the_trial_ends_loses_no_outcome(here: Plant) -> None:
    old, new, disk = here.deploy("1"), here.release("2", seed=1), FullDisk()
    here.switch.verdict = None
    here.send(here.order(new, "s1", probation=UNSEEN))
    loop = process(here, disk)
    for _ in range(30):
        loop.tick(1.0)
    assert here.report.said[-1].update_state == "TRIAL"
    disk.full, here.switch.verdict = True, ""
    for _ in range(5):
        loop.tick(1.0)
    assert here.report.said[-1].update_state == "TRIAL" and "no space" in here.report.said[-1].reason
    disk.full = False
    for _ in range(200):
        loop.tick(1.0)
    said = here.report.said[-1]
    assert (said.update_state, said.outcome, said.bundle) == ("IDLE", SHADOWED, old.digest)
    assert len(here.switch.offered) == 2 and loop.faults == 0, "it was tried once"


def test_an_order_in_earnest_takes_over_from_one_that_decides_unseen(here: Plant) -> None:
    here.deploy("1")
    new = here.release("2", seed=1)
    here.switch.verdict = None
    here.send(here.order(new, "s1", probation=UNSEEN))
    loop = here.loop()
    for _ in range(30):
        loop.tick(1.0)
    here.switch.verdict = ""
    here.send(here.order(new, "r1"))
    for _ in range(30):
        loop.tick(1.0)
    said = here.report.said[-1]
    assert (said.update_state, said.bundle, said.deployment) == ("COMMITTED", new.digest, "r1")
    assert here.switch.withdrawn == [("s1", new.digest)]


def test_a_process_that_dies_in_the_trial_again_and_again_is_told_as_a_failure(here: Plant) -> None:
    old, new = here.deploy("1"), here.release("2", seed=1)
    here.switch.verdict = None
    here.send(here.order(new, "s1", probation=UNSEEN))
    for _ in range(4):
        loop = here.loop()
        for _ in range(30):
            loop.tick(1.0)
    said = here.report.said[-1]
    assert (said.update_state, said.outcome, said.bundle) == ("ROLLED_BACK", "", old.digest)
    assert said.reason == "the station stopped 3 times during the trial"
