"""P2: the update's own process, killed with -9 before, within and after every step it takes on the disk."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from update_child import Run
from update_plant import Plant, plant

from cloud.registry.catalog import ReleasedVersion
from contract.messages import ReportedState

CHILD, ROOT = Path(__file__).with_name("update_child.py"), Path(__file__).parents[3]


@dataclass
class Station:
    """A station's folder and the processes that work in it, one after another."""

    here: Plant
    child: subprocess.Popen[str]
    says: Path

    def run(self, envelope: str, kill_at: int = -1, *, after: bool = False) -> int:
        """Run a process until it ends or kills itself; return its code."""
        assert self.child.stdin is not None and self.child.stdout is not None
        self.says.unlink(missing_ok=True)
        self.child.stdin.write(msgspec.json.encode(Run(envelope, kill_at, after, str(self.says))).decode() + "\n")
        self.child.stdin.flush()
        return int(self.child.stdout.readline())

    def said(self) -> tuple[ReportedState, list[str]]:
        """Return the last process's last report, and its steps."""
        return msgspec.json.decode(self.says.read_bytes(), type=tuple[ReportedState, list[str]])

    def boots(self) -> str:
        booted = self.here.slots().boot_bundle()
        return booted.digest if booted else ""


@pytest.fixture
def station(tmp_path: Path) -> Iterator[Station]:
    with plant(tmp_path) as here:
        (tmp_path / "root.json").write_bytes(here.root)
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests" / "agent")])}
        command = (sys.executable, str(CHILD), str(tmp_path), here.server.url)
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        ) as child:
            yield Station(here, child, tmp_path / "says.json")


@pytest.mark.parametrize(
    ("incumbent", "stride"),
    [
        pytest.param(True, 14, id="some steps of an update"),
        pytest.param(True, 1, id="every step of an update", marks=pytest.mark.long),
        pytest.param(False, 1, id="every step of the first installation", marks=pytest.mark.long),
    ],
)
def test_killed_at_a_step_boots_a_whole_bundle_and_ends_committed_with_one_installation_more_at_most(
    station: Station, incumbent: bool, stride: int
) -> None:
    here = station.here
    old: ReleasedVersion | None = here.deploy("1") if incumbent else None
    here.home.mkdir(exist_ok=True)
    new = here.release("2", seed=1)
    envelope, before = here.order(new), here.folder / "before"
    shutil.copytree(here.home, before, symlinks=True)
    assert station.run(envelope) == 0
    steps = station.said()[1]
    assert len(steps) > 30 and station.boots() == new.digest
    boots = set()
    for kill_at in range(0, len(steps), stride):
        for after in (False, True):
            where = f"killed {'after' if after else 'before'} step {kill_at}: {steps[kill_at]}"
            shutil.rmtree(here.home)
            shutil.copytree(before, here.home, symlinks=True)
            fetched = sum(".plb" in path for path, _ in here.server.seen)
            assert station.run(envelope, kill_at, after=after) == -signal.SIGKILL, where
            boots.add(booted := station.boots())
            assert booted in {old.digest if old else "", new.digest}, where
            # The retained order comes again after the restart, and the update ends as if nothing had been.
            assert station.run(envelope) == 0, where
            said, again = station.said()
            assert (said.update_state, said.bundle) == ("COMMITTED", new.digest), f"{where}; {said.reason}"
            assert station.boots() == new.digest and not here.slots().banned(), where
            assert sum(step == f"rename {new.digest}" for step in again) <= 3, where  # slot, its marks
            assert sum(step == f"make folder {new.digest}.tmp" for step in again) <= 1, where
            assert sum(".plb" in path for path, _ in here.server.seen) - fetched <= 2, where
            left = {path.name for path in (here.home / "bundles" / "slots").iterdir()}
            assert left == {new.digest} | ({old.digest} if old else set()), where
    assert len(boots) == 2, "blows late in the update boot the new bundle"


@pytest.mark.long
def test_killed_again_in_its_recovery_it_still_ends_committed(station: Station) -> None:
    here = station.here
    old, new = here.deploy("1"), here.release("2", seed=1)
    envelope, before = here.order(new), here.folder / "before"
    shutil.copytree(here.home, before, symlinks=True)
    assert station.run(envelope) == 0
    steps = station.said()[1]
    for first in range(0, len(steps), 7):
        for second in range(0, len(steps), 11):
            shutil.rmtree(here.home)
            shutil.copytree(before, here.home, symlinks=True)
            assert station.run(envelope, first) == -signal.SIGKILL
            station.run(envelope, second, after=True)
            where = f"killed at {first} ({steps[first]}), then at {second}"
            assert station.boots() in {old.digest, new.digest}, where
            assert station.run(envelope) == 0, where
            said = station.said()[0]
            assert (said.update_state, said.bundle) == ("COMMITTED", new.digest), f"{where}; {said.reason}"
