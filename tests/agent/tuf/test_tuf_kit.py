"""A kit's folder is looked into as a server is asked: the same checks, and nothing outside it is ever opened."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from repository import BUNDLE, DAY, NOW, Repository, Station, lay_out, versions

from agent.slots.tuf_fetcher import FetchLimits, open_in_kit
from contract.errors import BadBundle, LinkDown, NotFound, PlumblineError, TransientError


@pytest.fixture
def kit(repo: Repository, station: Station, tmp_path: Path) -> Path:
    station.kit = lay_out(repo, tmp_path / "usb stick")
    return station.kit


def test_a_kit_is_looked_up_like_a_server(repo: Repository, station: Station, kit: Path) -> None:
    target, seen = station.client(repo).look_up_target(BUNDLE, NOW)
    assert (target.size_bytes, target.custom) == (1000, {"manifest": "cd" * 32}) and versions(seen) == (1, 1, 1, 1)
    assert not repo.asked


def test_a_kit_older_than_what_the_server_said_is_refused_and_a_newer_one_taken(
    repo: Repository, station: Station, kit: Path
) -> None:
    repo.everything()
    station.kit = None
    station.refresh(repo)
    station.kit = kit
    with pytest.raises(BadBundle, match="must be >= 2"):
        station.refresh(repo)
    shutil.rmtree(station.cache)
    with pytest.raises(BadBundle, match="went backwards"):
        station.refresh(repo)
    repo.everything()
    lay_out(repo, kit)
    assert versions(station.refresh(repo)) == (1, 3, 3, 3)


def test_an_expired_kit_is_refused(repo: Repository, station: Station, kit: Path) -> None:
    with pytest.raises(TransientError, match="expired"):
        station.refresh(repo, NOW + 31 * DAY)


def test_a_folder_that_is_no_kit_is_not_found(repo: Repository, station: Station, kit: Path) -> None:
    (kit / "metadata" / "timestamp.json").unlink()
    with pytest.raises(NotFound, match=r"has no 'metadata/timestamp\.json'"):
        station.refresh(repo)
    shutil.rmtree(kit)
    with pytest.raises(NotFound):
        station.refresh(repo)


def link_to_a_file_outside(place: Path) -> None:
    outside = place.parent.parent.parent / "outside.json"
    place.rename(outside)
    place.symlink_to(outside)


def link_within(place: Path) -> None:
    place.rename(place.with_name("moved"))
    place.symlink_to("moved")


def link_to_a_device(place: Path) -> None:
    place.unlink()
    place.symlink_to("/dev/zero")


def pipe(place: Path) -> None:
    place.unlink()
    os.mkfifo(place)


def folder(place: Path) -> None:
    place.unlink()
    place.mkdir()


def listening_socket(place: Path) -> None:
    place.unlink()
    here = Path.cwd()
    os.chdir(place.parent)  # a socket's path must be short
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(place.name)
    finally:
        os.chdir(here)


def folder_behind_a_link(place: Path) -> None:
    outside = place.parent.parent.parent / "outside"
    place.parent.rename(outside)
    place.parent.symlink_to(outside)


ODD = [link_to_a_file_outside, link_within, link_to_a_device, pipe, folder, listening_socket, folder_behind_a_link]


@pytest.mark.parametrize("spoil", ODD)
def test_what_is_no_regular_file_of_the_kit_is_never_opened(
    repo: Repository, station: Station, kit: Path, spoil: Callable[[Path], None]
) -> None:
    spoil(kit / "metadata" / "timestamp.json")
    with pytest.raises(LinkDown, match=r"'metadata/[\w.]+' of the kit"):
        station.refresh(repo)
    assert "timestamp" not in station.cached()


def test_a_kit_s_files_are_held_to_the_same_sizes(repo: Repository, station: Station, kit: Path) -> None:
    with (kit / "metadata" / "timestamp.json").open("wb") as file:
        file.truncate(64 << 20)  # a hole: it takes no room
    with pytest.raises(BadBundle, match="is longer than 16384 bytes"):
        station.refresh(repo)
    station.limits = FetchLimits(max_bytes=100)
    with pytest.raises(PlumblineError, match="is longer than 100 bytes"):
        station.refresh(repo)


@pytest.mark.parametrize("parts", [("..", "secret"), ("a/../../secret",), ("",), (".",), ("a\0",), ("/etc/passwd",)])
def test_a_name_that_leads_out_of_the_kit_opens_nothing(tmp_path: Path, parts: tuple[str, ...]) -> None:
    (tmp_path / "secret").write_bytes(b"s")
    (tmp_path / "kit" / "a").mkdir(parents=True)
    with pytest.raises(ValueError, match="no file's name"):
        open_in_kit(tmp_path / "kit", *parts)


def test_what_a_role_name_says_opens_nothing_outside_metadata(
    repo: Repository, station: Station, tmp_path: Path
) -> None:
    repo.delegate("targets", "../../secret", ["*"])
    repo.serve("../../secret")
    repo.everything()
    station.kit = lay_out(repo, tmp_path / "kit")
    with pytest.raises(LinkDown, match="no file's name"):
        station.client(repo).look_up_target("nothing", NOW)
