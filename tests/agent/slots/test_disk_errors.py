"""P2 on a disk that returns errors: whatever call fails, once or until the disk is repaired, the update ends committed by itself.

The calls are traced, not listed, and fail below `agent.slots.disk`, so how they are told apart is tested too.
"""

from __future__ import annotations

import errno
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from faulty_os import READS, WRITES, FaultyOs
from update_plant import FakeClock, Plant, plant

from agent.update_loop import UpdateLoop
from cloud.registry.catalog import ReleasedVersion

REPAIRED = 40

pytestmark = pytest.mark.skipif(sys.version_info < (3, 11), reason="older pathlib keeps its own copy of io.open")


class Turns(threading.Event):
    """A stop that is set after `count` turns of a loop; `look` is called before each; waiting for it moves the clock."""

    def __init__(self, clock: FakeClock, count: int, look: Callable[[int], None] = lambda turn: None) -> None:
        super().__init__()
        self._clock, self._count, self._turn, self._look = clock, count, 0, look

    def is_set(self) -> bool:
        self._turn += 1
        self._look(self._turn)
        return self._turn > self._count

    def wait(self, timeout: float | None = None) -> bool:
        self._clock.sleep(timeout or 0.0)
        return False


@dataclass
class Scene:
    """A station that runs `old` and was just sent `envelope`, an order for `new`; `reset` brings that moment back."""

    here: Plant
    disk: FaultyOs
    old: ReleasedVersion
    new: ReleasedVersion
    envelope: str
    before: Path
    kept: bool = True

    def hang_in_probation(self) -> None:
        """Make `before` a station that stopped in the middle of its trial."""
        self.here.switch.verdict = None
        loop = self.reset()
        for _ in range(40):
            loop.tick(1.0)
            if self.here.slots().trial() is not None:
                break
        assert self.here.slots().trial() is not None
        self.here.switch.verdict = ""
        shutil.rmtree(self.before)
        shutil.copytree(self.here.home, self.before, symlinks=True)

    def judge_it_worse(self) -> None:
        """Let the trial fail on live frames."""
        self.here.switch.verdict, self.kept = "it is worse", False

    def reset(self) -> UpdateLoop:
        self.disk.repair()
        shutil.rmtree(self.here.home)
        shutil.copytree(self.before, self.here.home, symlinks=True)
        self.here.report.said.clear()
        loop = self.here.loop()
        self.here.send(self.envelope)
        return loop

    def trace(self) -> list[tuple[str, str]]:
        """Return every call that an update without faults makes."""
        loop = self.reset()
        self.disk.arm()
        loop.run(Turns(self.here.clock, 12))
        self.disk.repair()
        self.check(loop, "without a fault")
        return list(self.disk.steps)

    def check(self, loop: UpdateLoop, where: str) -> None:
        """The update ended as its trial did, and nothing is left of the fault."""
        slots, old, new = self.here.slots(), self.old.digest, self.new.digest
        boots = [new, old] if self.kept else [old]
        self.says(boots[0], where)
        assert [each.digest for each in slots.boot_bundles()] == boots, where
        assert slots.trial() is None, where
        assert slots.banned() == (set() if self.kept else {(new, "second")}), where
        assert self.here.floors().read().desired_seq == 2, where  # of what failed too
        assert loop.faults == 0, where
        self.here.loop()  # a restart agrees, and sweeps
        self.says(boots[0], where)
        folders = (self.here.home / "bundles" / "slots", self.here.home / "incoming")
        left = {path.name for folder in folders for path in folder.iterdir()}
        assert left - {f"{new}.part"} == set(boots), where

    def says(self, bundle: str, where: str) -> None:
        said = self.here.report.said[-1]
        state = "COMMITTED" if self.kept else "ROLLED_BACK"
        assert (said.update_state, said.bundle) == (state, bundle), f"{where}; {said.reason}"


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    with plant(tmp_path) as here:
        old = here.deploy("1")
        new = here.release("2", seed=1)
        shutil.copytree(here.home, tmp_path / "before", symlinks=True)
        yield Scene(here, FaultyOs(here.home, monkeypatch), old, new, here.order(new, "second"), tmp_path / "before")


@dataclass(frozen=True)
class Fault:
    """An error and the calls it comes from; a read-only disk still reads, and what is open for writing was refused before."""

    code: int
    hits: frozenset[str]


FAULTS = {
    "no room": Fault(errno.ENOSPC, WRITES - {"remove"}),
    "over quota": Fault(errno.EDQUOT, WRITES - {"remove", "rename", "fsync"}),
    "read-only": Fault(errno.EROFS, WRITES - {"write", "fsync"}),
    "writing fails": Fault(errno.EIO, WRITES),
    "reading fails": Fault(errno.EIO, READS),
}


def sweep(scene: Scene, fault: Fault, *, lasting: bool, stride: int) -> None:
    steps = scene.trace()
    hit = [number for number, (kind, _) in enumerate(steps) if kind in fault.hits][::stride]
    assert len(hit) * stride >= 8
    wrong = []
    for number in hit:
        where = f"{'from' if lasting else 'at'} call {number}: {' '.join(steps[number])}"
        loop = scene.reset()
        scene.disk.arm(fault.code, fault.hits, number, lasting=lasting)

        def look(turn: int, where: str = where) -> None:
            if turn % 10 == 0 and turn <= REPAIRED:
                with scene.disk.paused():
                    booted = scene.here.slots().boot_bundle()
                assert booted is not None and booted.digest in (scene.old.digest, scene.new.digest), where
            if turn == REPAIRED:
                assert scene.disk.failed, where
                scene.disk.repair()

        try:
            loop.run(Turns(scene.here.clock, REPAIRED + 400, look))
            scene.check(loop, where)
        except AssertionError as error:
            wrong.append(str(error).splitlines()[0])
    assert not wrong, f"{len(wrong)} of {len(hit)}\n" + "\n".join(wrong)


lasts = pytest.mark.parametrize("lasting", [False, True], ids=["once", "until repaired"])
faults = pytest.mark.parametrize("fault", [pytest.param(fault, id=name) for name, fault in FAULTS.items()])


@lasts
@faults
def test_update_outlives_a_disk_error_at_some_calls(scene: Scene, fault: Fault, lasting: bool) -> None:
    sweep(scene, fault, lasting=lasting, stride=29)


@pytest.mark.long
@lasts
@faults
def test_update_outlives_a_disk_error_at_every_call(scene: Scene, fault: Fault, lasting: bool) -> None:
    sweep(scene, fault, lasting=lasting, stride=1)


STORIES = {"a trial taken up again": Scene.hang_in_probation, "a trial that fails": Scene.judge_it_worse}
stories = pytest.mark.parametrize("begin", STORIES.values(), ids=STORIES)


@stories
@lasts
@pytest.mark.parametrize("fault", [FAULTS["no room"], FAULTS["reading fails"]], ids=["no room", "reading fails"])
def test_the_end_of_a_trial_outlives_a_disk_error_at_some_calls(
    scene: Scene, fault: Fault, lasting: bool, begin: Callable[[Scene], None]
) -> None:
    begin(scene)
    sweep(scene, fault, lasting=lasting, stride=29)


@pytest.mark.long
@stories
@lasts
@faults
def test_the_end_of_a_trial_outlives_a_disk_error_at_every_call(
    scene: Scene, fault: Fault, lasting: bool, begin: Callable[[Scene], None]
) -> None:
    begin(scene)
    sweep(scene, fault, lasting=lasting, stride=1)
