from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from update_plant import FakeClock, FileServer

from agent.slots.download import HttpDownloader
from contract.errors import BadBundle, LinkDown, NotFound

BODY = bytes(range(256)) * 12_000  # 3 MB
DIGEST = hashlib.sha256(BODY).hexdigest()


@dataclass
class Place:
    server: FileServer
    folder: Path
    clock: FakeClock
    client: httpx.Client

    def fetch(self, stop=lambda: False, size: int = len(BODY), **more: float) -> Path | None:
        return HttpDownloader(self.client, self.server.url, self.folder, self.clock, **more).fetch(DIGEST, size, stop)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    target = tmp_path / "served" / "targets" / "bundles" / f"{DIGEST}.plb"
    target.parent.mkdir(parents=True)
    target.write_bytes(BODY)
    server = FileServer(tmp_path / "served")
    with httpx.Client(timeout=60.0, trust_env=False) as client:
        yield Place(server, tmp_path / "incoming", FakeClock(), client)
    server.close()


def test_whole_file_arrives(place: Place) -> None:
    path = place.fetch()
    assert path is not None and path.read_bytes() == BODY


def test_broken_transfer_is_resumed_where_it_broke(place: Place) -> None:
    place.server.cut_after = 1_000_000
    for _ in range(3):
        with pytest.raises(LinkDown):
            place.fetch()
    place.server.cut_after = None
    path = place.fetch()
    assert path is not None and path.read_bytes() == BODY
    starts = [int(asked.removeprefix("bytes=").rstrip("-")) for _, asked in place.server.seen if asked]
    assert starts == sorted(starts) and starts[0] == 1_000_000 and len(starts) == 3


def test_complete_file_is_not_asked_for_again(place: Place) -> None:
    place.fetch()
    place.fetch()
    assert len(place.server.seen) == 1


def test_server_that_ignores_range_starts_over(place: Place) -> None:
    place.server.cut_after = 1_000_000
    with pytest.raises(LinkDown):
        place.fetch()
    place.server.cut_after, place.server.ignore_range = None, True
    path = place.fetch()
    assert path is not None and path.read_bytes() == BODY


def test_file_that_changed_in_mid_resume_is_refused_and_forgotten(place: Place) -> None:
    place.server.cut_after = 1_000_000
    with pytest.raises(LinkDown):
        place.fetch()
    place.server.cut_after, place.server.substitutes[".plb"] = None, bytes(len(BODY))
    with pytest.raises(BadBundle, match="SHA-256"):
        place.fetch()
    place.server.substitutes.clear()
    path = place.fetch()
    assert path is not None and path.read_bytes() == BODY


def test_endless_data_stops_at_the_announced_size(place: Place) -> None:
    with pytest.raises(BadBundle, match="more than"):
        place.fetch(size=100_000)
    assert not list(place.folder.iterdir())


def test_file_shorter_than_announced_is_refused_not_asked_for_for_ever(place: Place) -> None:
    with pytest.raises(LinkDown, match="early"):
        place.fetch(size=len(BODY) + 10)
    with pytest.raises(BadBundle, match="shorter"):
        place.fetch(size=len(BODY) + 10)


@pytest.mark.parametrize(
    ("status", "kind"), [(404, NotFound), (410, NotFound), (403, NotFound), (500, LinkDown), (302, LinkDown)]
)
def test_statuses_say_whether_to_try_again(place: Place, status: int, kind: type[Exception]) -> None:
    place.server.statuses[".plb"] = status
    with pytest.raises(kind, match=str(status)):
        place.fetch()


def test_stop_is_obeyed_and_what_came_is_kept(place: Place) -> None:
    asked = iter([False] * 20)
    assert place.fetch(stop=lambda: next(asked, True)) is None
    assert 0 < (place.folder / f"{DIGEST}.part").stat().st_size < len(BODY)
    path = place.fetch()
    assert path is not None and path.read_bytes() == BODY


def test_superseded_leftovers_are_deleted(place: Place) -> None:
    place.folder.mkdir()
    (place.folder / ("ab" * 32 + ".part")).write_bytes(b"old")
    place.fetch()
    assert [path.name for path in place.folder.iterdir()] == [f"{DIGEST}.part"]


def test_rate_cap_is_kept(place: Place) -> None:
    place.fetch(max_bytes_per_s=1_000_000)
    assert place.clock.ran == pytest.approx(len(BODY) / 1e6, rel=0.02)


def test_server_that_is_away_is_a_link_that_is_down(place: Place) -> None:
    downloader = HttpDownloader(place.client, "http://127.0.0.1:9", place.folder, place.clock)
    with pytest.raises(LinkDown):
        downloader.fetch(DIGEST, 10, lambda: False)
