"""Room on the disk: what was fetched already is not asked for again, and what is left of other orders makes room (OTA-6)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from update_plant import Plant, plant

from agent.slots.ab_slots import Slots
from agent.slots.disk import Disk
from agent.slots.kit_inbox import KitDownloader, KitInbox
from contract.errors import StorageFull, TransientError
from contract.ids import bundle_target

FILLER = 2 << 20
_COPY_AND_WAIT = """
import sys
from pathlib import Path
from agent.slots.kit_inbox import KitInbox
inbox = KitInbox(Path(sys.argv[1]))
(inbox.prepare() / "half").write_bytes(bytes(1000))
print("copying", flush=True)
sys.stdin.read()
"""


class Narrow(Disk):
    """Has `room` bytes for what lies below `home`."""

    def __init__(self, home: Path, room: int) -> None:
        self.home, self.room = home, room

    def free_bytes(self, folder: Path) -> int:
        return self.room - sum(path.stat().st_size for path in self.home.rglob("*") if path.is_file())


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Plant]:
    with plant(tmp_path) as made:
        made.loop()
        yield made


def narrow(here: Plant, size_bytes: int) -> Narrow:
    """Return a disk on which a bundle of `size_bytes` just fits, with a little for metadata."""
    used = sum(path.stat().st_size for path in here.home.rglob("*") if path.is_file())
    return Narrow(here.home, used + 2 * size_bytes + (8 << 20) + (200 << 10))


def test_after_a_break_only_the_rest_is_asked_for(here: Plant) -> None:
    big = here.release("1", filler_bytes=FILLER)
    here.server.cut_after = FILLER // 2
    loop = here.loop(narrow(here, big.size_bytes))
    here.send(here.order(big))
    for _ in range(3):
        loop.tick(1.0)
    (part,) = (here.home / "incoming").glob("*.part")
    assert part.stat().st_size >= FILLER // 2
    here.server.cut_after = None
    for _ in range(20):
        loop.tick(60.0)
    assert here.report.said[-1].update_state == "COMMITTED"


def test_what_is_left_of_a_superseded_order_makes_room(here: Plant) -> None:
    first, second = here.release("1", 1, filler_bytes=FILLER), here.release("2", 2, filler_bytes=FILLER)
    here.server.cut_after = FILLER // 2
    loop = here.loop(narrow(here, first.size_bytes))
    here.send(here.order(first))
    for _ in range(3):
        loop.tick(1.0)
    assert list((here.home / "incoming").glob(f"{first.digest}.part"))
    here.server.cut_after = None
    (here.home / "deltas" / ("ab" * 32 + ".part")).write_bytes(bytes(FILLER))
    (here.home / "built" / ("cd" * 32 + ".plb")).write_bytes(bytes(FILLER))
    here.send(here.order(second))
    for _ in range(20):
        loop.tick(60.0)
    last = here.report.said[-1]
    assert (last.update_state, last.bundle) == ("COMMITTED", second.digest)
    assert not [path for name in ("incoming", "deltas", "built") for path in (here.home / name).iterdir()]


def test_a_bundle_that_lies_in_the_kit_is_not_asked_room_for_twice(tmp_path: Path) -> None:
    digest, inbox = "ab" * 32, KitInbox(tmp_path)
    assert KitDownloader(inbox).make_ready(digest) == 0
    place = inbox.prepare() / "targets" / bundle_target(digest)
    place.parent.mkdir(parents=True)
    place.write_bytes(bytes(FILLER))
    inbox.put(b"{}")
    here = KitDownloader(inbox).make_ready(digest)
    assert here == FILLER
    disk = Narrow(tmp_path, FILLER + FILLER + (8 << 20) + 100)
    slots = Slots(tmp_path / "bundles", disk=disk)
    slots.preflight(FILLER, here)
    with pytest.raises(StorageFull):
        slots.preflight(FILLER)


def test_two_kits_are_never_copied_at_once_and_what_a_killed_copy_left_is_deleted(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _COPY_AND_WAIT, str(tmp_path)]
    inbox, left = KitInbox(tmp_path), tmp_path / "kits" / "coming" / "half"
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "copying\n"
        with pytest.raises(TransientError, match="being copied"):
            inbox.prepare()
        inbox.sweep()
        assert left.exists(), "it is another process's, which is at work"
        other.kill()
        other.wait()
    assert left.exists()
    inbox.sweep()
    assert not left.parent.exists()
    assert not any(inbox.prepare().iterdir())
    inbox.abandon()
    inbox.prepare()  # whoever gave up locks nobody out
    inbox.put(b"{}")
    KitInbox(tmp_path).prepare()
