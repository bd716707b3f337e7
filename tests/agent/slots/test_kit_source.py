"""Reading kits from sticks that are damaged, hostile or pulled out: a sentence each time, and nothing left behind."""

from __future__ import annotations

import errno
import io
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1]))
from kit_plant import STATION, KitPlant, kit_plant

from agent.runtime.machine_facts import read_machine_facts
from agent.settings import load_settings
from agent.slots.ab_slots import Slots
from agent.slots.floors_file import FloorsFile
from agent.slots.kit_apply import StationFacts, bring_in, order_in
from agent.slots.kit_inbox import KitDownloader, KitInbox
from agent.slots.kit_source import KitSource, open_kit, read_whole
from agent.update_wiring import read_trust
from cloud.registry.kit import write_kit
from contract.errors import BadBundle, NotFound, PlumblineError

FILES = {"metadata/timestamp.json": b"{}", "orders/s1.json": b"an order", "targets/bundles/aa.plb": b"x" * 1500}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("kit") / "kit.plk"
    write_kit(FILES, path)
    return path.read_bytes()


@pytest.mark.parametrize("name", ["kit.plk", "kit"])
def test_a_folder_and_a_file_read_the_same(tmp_path: Path, name: str) -> None:
    write_kit(FILES, tmp_path / name)
    kit = open_kit(tmp_path / name)
    assert kit.names("orders") == ["orders/s1.json"]
    assert {each: read_whole(kit, each, 2_000) for each in FILES} == FILES
    with kit.open("targets/bundles/aa.plb") as file:
        file.seek(1_490)
        assert file.read() == b"x" * 10
    with pytest.raises(BadBundle, match="more than 7"):
        read_whole(kit, "orders/s1.json", 7)
    for other in ("orders/s2.json", "../kit.plk", "/etc/passwd", "metadata/../orders/s1.json", "", "orders"):
        with pytest.raises(NotFound):
            kit.open(other)


@settings(max_examples=150)
@given(st.data())
def test_a_changed_kit_file_is_read_or_refused_and_nothing_else(small: bytes, data: st.DataObject) -> None:
    changed = bytearray(small)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(small) - 1))] = data.draw(st.integers(0, 255))
    with tempfile.NamedTemporaryFile(suffix=".plk") as file:
        file.write(changed[: data.draw(st.integers(0, len(changed)))])
        file.flush()
        try:
            kit = open_kit(Path(file.name))
        except PlumblineError:
            return
        for name in (*kit.names("metadata"), *kit.names("orders"), *kit.names("targets")):
            assert len(read_whole(kit, name, 10_000)) <= len(small)


class Stick(KitSource):
    """A kit whose file `bad` fails after `good` bytes, as a worn or pulled stick does."""

    def __init__(self, kit: KitSource, bad: str, good: int, number: int) -> None:
        self._kit, self._bad, self._good, self._number = kit, bad, good, number

    def names(self, folder: str) -> list[str]:
        return self._kit.names(folder)

    def open(self, name: str) -> BinaryIO:
        file = self._kit.open(name)
        return file if self._bad not in name else io.BufferedReader(_Failing(file, self._good, self._number), 4096)


class _Failing(io.RawIOBase):
    def __init__(self, file: BinaryIO, good: int, number: int) -> None:
        self._file, self._good, self._number = file, good, number

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def readinto(self, buffer) -> int:
        if self._file.tell() >= self._good:
            raise OSError(self._number, os.strerror(self._number))
        data = self._file.read(min(len(buffer), self._good - self._file.tell()))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


@pytest.fixture
def plant(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> KitPlant:
    plant = kit_plant(tmp_path, capsys)
    plant.release("v1", filler_bytes=50_000)
    return plant


def facts_of(plant: KitPlant) -> StationFacts:
    chosen = load_settings(plant.station / "agent.toml")
    trust = read_trust(chosen)
    slots, floors = Slots(plant.state / "bundles"), FloorsFile(plant.state / "floors")
    now = time.time()
    return StationFacts(STATION, trust.keys.read(), trust.root, now, read_machine_facts(), slots, floors)


@pytest.mark.parametrize("number", [errno.EIO, errno.ENODEV, errno.ESTALE])
def test_a_stick_that_fails_anywhere_is_one_sentence_and_leaves_nothing(
    plant: KitPlant, tmp_path: Path, number: int
) -> None:
    kit, facts = open_kit(plant.make(tmp_path / "kit", "v1")), facts_of(plant)
    for bad, good in ((STATION, 0), ("timestamp", 10), ("snapshot", 0), (".plb", 0), (".plb", 40_000)):
        inbox, stick = KitInbox(plant.state), Stick(kit, bad, good, number)
        with pytest.raises(BadBundle, match="cannot be read") as refused:
            _, order, data = order_in(stick, facts)
            bring_in(stick, inbox, order, data, facts, lambda: False)
        assert "taken out" in refused.value.hint
        assert inbox.stamp() is None and not any((plant.state / "kits").glob("*/*"))


def test_told_to_stop_it_leaves_nothing_and_a_kit_that_waits_stays(plant: KitPlant, tmp_path: Path) -> None:
    kit, facts, inbox = open_kit(plant.make(tmp_path / "kit", "v1")), facts_of(plant), KitInbox(plant.state)
    _, order, data = order_in(kit, facts)
    assert not bring_in(kit, inbox, order, data, facts, lambda: True)
    assert inbox.stamp() is None
    assert bring_in(kit, inbox, order, data, facts, lambda: False)
    waiting = inbox.order()
    assert waiting is not None
    with pytest.raises(BadBundle):
        bring_in(Stick(kit, ".plb", 100, errno.EIO), inbox, order, data, facts, lambda: False)
    assert inbox.order() == waiting


def test_a_kit_that_rots_on_the_stations_own_disk_is_found_when_it_is_installed(
    plant: KitPlant, tmp_path: Path
) -> None:
    kit, facts, inbox = open_kit(plant.make(tmp_path / "kit", "v1")), facts_of(plant), KitInbox(plant.state)
    _, order, data = order_in(kit, facts)
    bring_in(kit, inbox, order, data, facts, lambda: False)
    (bundle,) = (inbox.here / "targets" / "bundles").iterdir()
    rotten = bytearray(bundle.read_bytes())
    rotten[30_000] ^= 1
    bundle.write_bytes(rotten)
    downloader = KitDownloader(inbox)
    with pytest.raises(BadBundle, match="damaged at byte"):
        downloader.fetch(order.bundle, order.size_bytes, lambda: False)
    with pytest.raises(NotFound):
        downloader.fetch("ab" * 32, 10, lambda: False)
