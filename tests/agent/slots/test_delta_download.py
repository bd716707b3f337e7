"""An update by delta is the update; a delta that does not do costs its bytes and nothing else (OTA-7)."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from power_cut import ModelDisk, PowerCut
from update_plant import Plant, plant

from agent.ports.slots import InstalledBundle
from agent.slots.delta_download import MAX_BREAKS, DeltaDownloader
from agent.slots.delta_install import build_archive
from agent.slots.disk import Disk
from agent.slots.download import HttpDownloader
from agent.slots.floors_file import FloorsFile
from cloud.registry.blobs import sha256_of
from cloud.registry.catalog import ReleasedVersion
from cloud.registry.deltas import DeltaFacts, make_delta
from contract.errors import BadBundle, LinkDown, NotFound, StorageFull


@dataclass(frozen=True)
class Target:
    """What the image repository lists."""

    digest: str
    size_bytes: int


@dataclass
class Place:
    """A station that committed version 1, and version 2 on the server with a delta beside it."""

    plant: Plant
    old: ReleasedVersion
    new: ReleasedVersion
    delta: DeltaFacts
    listed: dict[str, Target]

    def downloader(self, disk: Disk | None = None) -> DeltaDownloader:
        home, clock = self.plant.home, self.plant.clock
        full, parts = (
            HttpDownloader(self.plant.http, self.plant.server.url, home / name, clock, disk=disk)
            for name in ("incoming", "deltas")
        )

        def among(targets: Iterable[str]) -> Mapping[str, Target]:
            return {target: self.listed[target] for target in targets if target in self.listed}

        bases = self.plant.slots().boot_bundles
        return DeltaDownloader(full, parts, among, bases, home / "built", disk=disk)

    def fetch(self, downloader: DeltaDownloader, stop: bool = False) -> Path | None:
        found = downloader.fetch(self.new.digest, self.new.size_bytes, lambda: stop)
        return None if found is None else Path(found)

    def asked_for(self, part: str) -> int:
        """Return how many requests there were for paths with `part` in them."""
        return sum(part in path for path, _ in self.plant.server.seen)

    def base(self) -> InstalledBundle:
        bundle = self.plant.slots().boot_bundle()
        assert bundle is not None
        return bundle

    def serve(self, content: bytes) -> None:
        """Serve and vouch for `content` as the delta."""
        path = self.plant.registry.tuf_folder / "targets" / self.delta.target
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        self.listed[self.delta.target] = Target(sha256_of(path), len(content))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with plant(tmp_path) as made:
        old, new = made.deploy("1", filler_bytes=60_000), made.release("2", seed=1, filler_bytes=60_000)
        blobs = made.registry.blobs
        facts = make_delta(blobs.path(old.digest), blobs.path(new.digest), tmp_path / "it.pld")
        made.server.seen.clear()
        found = Place(made, old, new, facts, {})
        found.serve(facts.file.read_bytes())
        yield found


def test_an_update_by_delta_never_asks_for_the_bundle(place: Place) -> None:
    downloader = place.downloader()
    place.plant.send(place.plant.order(place.new))
    said = place.plant.settle(place.plant.loop(downloader=downloader))
    assert said.update_state == "COMMITTED"
    assert place.base().digest == place.new.digest
    assert (place.asked_for(".plb"), place.asked_for(".pld")) == (0, 1)
    assert (downloader.applied, downloader.fallbacks) == (1, 0)
    left = [path for name in ("incoming", "deltas", "built") for path in (place.plant.home / name).iterdir()]
    assert left == []


def test_without_an_offer_or_a_base_the_bundle_is_fetched_whole(place: Place) -> None:
    place.listed.clear()
    assert place.fetch(place.downloader()) is not None
    assert (place.asked_for(".plb"), place.asked_for(".pld")) == (1, 0)


@pytest.mark.parametrize("what", ["truncated", "flipped", "of another base", "not served", "another hash", "junk"])
def test_a_delta_that_does_not_do_is_said_once_and_the_bundle_fetched_whole(place: Place, what: str) -> None:
    good = place.delta.file.read_bytes()
    if what == "truncated":
        place.serve(good[:-9])
    elif what == "flipped":
        place.serve(good[:-60] + bytes((good[-60] ^ 1,)) + good[-59:])
    elif what == "of another base":
        blobs = place.plant.registry.blobs
        other = make_delta(blobs.path(place.new.digest), blobs.path(place.old.digest), place.plant.folder / "o.pld")
        place.serve(other.file.read_bytes())
    elif what == "not served":
        place.plant.server.statuses[".pld"] = 404
    elif what == "another hash":
        place.plant.server.substitutes[".pld"] = good[:-1] + b"\0"
    else:
        place.serve(b"junk")
    downloader = place.downloader()
    for _ in range(2):
        archive = place.fetch(downloader)
        assert archive is not None and sha256_of(archive) == place.new.digest
    assert (downloader.applied, downloader.fallbacks) == (0, 1) and downloader.last_fallback
    assert place.asked_for(".pld") == 1
    assert list((place.plant.home / "built").iterdir()) == list((place.plant.home / "deltas").iterdir()) == []


def test_a_delta_that_never_comes_is_given_up_for_the_bundle(place: Place) -> None:
    place.plant.server.statuses[".pld"] = 500
    downloader = place.downloader()
    for _ in range(MAX_BREAKS):
        with pytest.raises(LinkDown, match="500"):
            place.fetch(downloader)
    assert place.asked_for(".plb") == 0
    archive = place.fetch(downloader)
    assert archive is not None and sha256_of(archive) == place.new.digest
    assert (place.asked_for(".pld"), downloader.fallbacks) == (MAX_BREAKS, 1)
    assert "500" in downloader.last_fallback


def test_while_nothing_of_the_bundle_comes_either_the_delta_has_its_turn_again(place: Place) -> None:
    place.plant.server.statuses |= {".pld": 500, ".plb": 500}
    downloader = place.downloader()
    for _ in range(MAX_BREAKS + 1):
        with pytest.raises(LinkDown):
            place.fetch(downloader)
    place.plant.server.statuses.clear()
    archive = place.fetch(downloader)
    assert archive is not None and archive.parent.name == "built"
    assert (place.asked_for(".plb"), downloader.applied) == (1, 1)


def test_a_delta_that_no_room_is_left_for_is_given_up_for_the_bundle(place: Place) -> None:
    class Cramped(Disk):
        def write(self, path: Path, chunks: Iterable[bytes], *, append: bool = False) -> None:
            if path.parent.name == "built":
                raise StorageFull("no room")
            super().write(path, chunks, append=append)

    downloader = place.downloader(Cramped())
    archive = place.fetch(downloader)
    assert archive is not None and sha256_of(archive) == place.new.digest
    assert list((place.plant.home / "deltas").iterdir()) == []


def test_a_newer_order_stops_a_delta_and_a_restart_takes_up_what_was_built(place: Place) -> None:
    good = place.delta.file.read_bytes()
    place.serve(bytes(4 << 20))  # large enough to be on its way when it is stopped
    stopped = place.downloader()
    assert place.fetch(stopped, stop=True) is None and stopped.fallbacks == 0
    place.serve(good)
    archive = place.fetch(place.downloader())
    assert archive is not None and archive.parent.name == "built"
    assert place.fetch(place.downloader()) == archive  # another process, before it was installed
    assert place.asked_for(".pld") == 2


def test_a_power_cut_at_any_step_of_a_delta_boots_a_whole_bundle_and_finishes(place: Place) -> None:
    home = place.plant.home
    for name in ("incoming", "deltas", "built"):
        (home / name).mkdir(exist_ok=True)
    envelope, before = place.plant.order(place.new), place.plant.folder / "before"
    shutil.copytree(home, before, symlinks=True)

    def update(disk: ModelDisk) -> None:
        place.plant.send(envelope)
        floors = FloorsFile(home / "floors", disk=disk)
        loop = place.plant.loop(disk=disk, floors=floors, downloader=place.downloader(disk))
        assert place.plant.settle(loop).update_state == "COMMITTED"

    traced = ModelDisk(home)
    update(traced)
    traced.close()
    fetched = [number for number, step in enumerate(traced.steps) if ".part" in step or ".plb" in step]
    assert len(fetched) >= 5, "the delta's own steps are among those cut"
    for cut_at in range(fetched[0], fetched[-1] + 2):
        shutil.rmtree(home)
        shutil.copytree(before, home, symlinks=True)
        disk = ModelDisk(home, cut_at)
        with pytest.raises(PowerCut):
            update(disk)
        disk.forget()
        disk.close()
        assert place.base().digest in (place.old.digest, place.new.digest), traced.steps[cut_at]
        recovered = ModelDisk(home)
        update(recovered)
        recovered.close()
        assert place.base().digest == place.new.digest, traced.steps[cut_at]


class FullDisk(Disk):
    """Has no room for archives."""

    def write(self, path: Path, chunks: Iterable[bytes], *, append: bool = False) -> None:
        first = next(iter(chunks))
        super().write(path, (first[:100],))
        raise StorageFull("no room")


def test_nothing_is_left_of_an_archive_that_could_not_be_built(place: Place, tmp_path: Path) -> None:
    out = tmp_path / "made" / "x.plb"
    out.parent.mkdir()
    facts = {"goal": place.new.digest, "size_bytes": place.new.size_bytes}
    with pytest.raises(StorageFull):
        build_archive(place.base(), place.delta.file, out, FullDisk(), **facts)
    with pytest.raises(NotFound):
        build_archive(place.base(), tmp_path / "absent.pld", out, Disk(), **facts)
    with pytest.raises(BadBundle):
        build_archive(place.base(), place.delta.file, out, Disk(), **(facts | {"size_bytes": 1}))
    # The base lost a byte since its hash was checked.
    model = Path(place.base().folder) / "model.onnx"
    base, content = place.base(), model.read_bytes()
    model.write_bytes(content[:-1])
    with pytest.raises(BadBundle):
        build_archive(base, place.delta.file, out, Disk(), **facts)
    model.write_bytes(content[:1000] + b"\0" + content[1001:])
    with pytest.raises(BadBundle, match="makes a bundle"):
        build_archive(base, place.delta.file, out, Disk(), **facts)
    assert list(out.parent.iterdir()) == []
    model.write_bytes(content)
    assert sha256_of(build_archive(base, place.delta.file, out, Disk(), **facts)) == place.new.digest
