"""Whatever is torn or gone of a station's cache and floors, an old repository is told from the newest that anything remembers.

Said exactly (OTA-2), for an old state of the same root, and for one from before the root was rotated:
- One whole copy of the floors: refused.
- No copy, and the cached snapshot whole: refused, since it names newer targets. No snapshot, and the cached timestamp whole with
  the root that its key comes from: refused, for the same root; for the older one, the newer root alone refuses it.
- None of these: accepted, as by a station that was never there. This is the limit, and the tests hold it too.
And after any of it the true repository is taken again.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from repository import NOW, Repository, Station, lay_out, versions

from contract.errors import BadBundle

TIMESTAMP, SNAPSHOT, TARGETS = "tuf/timestamp.json", "tuf/snapshot.json", "tuf/targets.json"
ROOT, FLOORS_A, FLOORS_B = "tuf/root_history/2.root.json", "floors/floors.a", "floors/floors.b"
FILES = (TIMESTAMP, SNAPSHOT, TARGETS, ROOT, FLOORS_A, FLOORS_B)
DAMAGE = ("whole", "emptied", "torn", "deleted", "older")
WHOLE, GONE = ("whole",) * len(FILES), ("deleted",) * len(FILES)


class Scene:
    """A station that saw root 2 and version 4 of everything, an old state of the same root, and one of the root before."""

    def __init__(self, folder: Path, station: Station) -> None:
        repo = Repository()
        station.root = repo.pinned()
        self.kits = {"of root 1": lay_out(repo, folder / "root 1")}
        repo.keys("timestamp", [71], 1)
        repo.publish("root", "targets", "snapshot", "timestamp")
        self.kits["of root 2"] = lay_out(repo, folder / "root 2")
        self.repo, self.station = repo, station
        self.refresh("of root 2")
        self._older = station.files()
        repo.everything()
        repo.everything()
        self.kits["true"] = lay_out(repo, folder / "true")
        self.refresh("true")
        self._saved = shutil.copytree(station.home, folder / "saved")

    def refresh(self, kit: str) -> tuple[int, ...]:
        self.station.kit = self.kits[kit]
        return versions(self.station.refresh(self.repo, NOW))

    def damage(self, how: Sequence[str]) -> None:
        shutil.rmtree(self.station.home)
        shutil.copytree(self._saved, self.station.home)
        for name, what in zip(FILES, how, strict=True):
            path = self.station.home / name
            assert path.is_file()
            if what == "deleted":
                path.unlink()
            elif what == "older":  # as a power cut leaves it between the files that a refresh replaced
                path.write_bytes(self._older[name])
            elif what != "whole":
                path.write_bytes(b"" if what == "emptied" else path.read_bytes()[:-20])


def detected(old: str, whole: set[str]) -> bool:
    """Return whether anything left can tell."""
    if whole & {FLOORS_A, FLOORS_B, SNAPSHOT}:
        return True
    return ROOT in whole if old == "of root 1" else TIMESTAMP in whole


def check(scene: Scene, old: str, how: Sequence[str]) -> None:
    scene.damage(how)
    # What is older here is of root 2: still newer than anything of root 1. A root itself is never replaced.
    as_good = set(FILES) if old == "of root 1" else {ROOT}
    whole = {
        name for name, what in zip(FILES, how, strict=True) if what == "whole" or (what == "older" and name in as_good)
    }
    before = scene.station.files()
    if detected(old, whole):
        with pytest.raises(BadBundle):
            scene.refresh(old)
        after = scene.station.files()
        # Nothing is forgotten for the old state's sake, and with floors nothing of it stays at all.
        for name in (TIMESTAMP, SNAPSHOT, TARGETS):
            if name in whole or whole & {FLOORS_A, FLOORS_B}:
                assert after.get(name) == before.get(name)
    else:
        assert scene.refresh(old)[1:] == ((2, 2, 2) if old == "of root 2" else (1, 1, 1))
    assert scene.refresh("true") == (2, 4, 4, 4)
    floors = scene.station.floors.read()
    assert (floors.root, floors.timestamp, floors.snapshot, floors.targets) == (2, 4, 4, 4)


@pytest.fixture
def scene(tmp_path: Path, station: Station) -> Scene:
    return Scene(tmp_path, station)


OLD = st.sampled_from(["of root 1", "of root 2"])


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example("of root 1", WHOLE)
@example("of root 2", WHOLE)
@example("of root 1", GONE)
@example("of root 2", GONE)
@example("of root 2", ("whole", "deleted", "deleted", "deleted", "torn", "torn"))
@example("of root 1", ("whole", "deleted", "deleted", "whole", "torn", "torn"))
@example("of root 1", ("deleted", "deleted", "deleted", "deleted", "deleted", "whole"))
@example("of root 1", ("whole", "whole", "whole", "emptied", "emptied", "emptied"))
@given(OLD, st.tuples(*[st.sampled_from(DAMAGE)] * len(FILES)))
def test_an_old_repository_is_refused_while_anything_newer_is_remembered(
    scene: Scene, old: str, how: tuple[str, ...]
) -> None:
    check(scene, old, how)


@pytest.mark.long
@pytest.mark.parametrize("old", ["of root 1", "of root 2"])
@pytest.mark.timeout(1800)
def test_every_subset_of_cache_and_floors_torn_or_gone(scene: Scene, old: str) -> None:
    for how in itertools.product(("whole", "torn", "deleted"), repeat=len(FILES)):
        check(scene, old, how)


@pytest.mark.parametrize("name", [TIMESTAMP, SNAPSHOT, ROOT, "tuf/root_history", "tuf/next"])
@pytest.mark.parametrize("what", ["a folder", "a link to a device", "a hole of 64 MiB"])
def test_a_cache_that_holds_anything_at_all_is_taken_for_nothing(scene: Scene, name: str, what: str) -> None:
    path = scene.station.home / name
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    if what == "a folder":
        (path / "deep").mkdir(parents=True)
    elif what == "a link to a device":
        path.symlink_to("/dev/zero")
    else:
        with path.open("wb") as file:
            file.truncate(64 << 20)
    assert scene.refresh("true") == (2, 4, 4, 4)
    assert scene.station.cached() == {"root": 2, "timestamp": 4, "snapshot": 4, "targets": 4}
    with pytest.raises(BadBundle):
        scene.refresh("of root 2")
