"""Metadata that is malformed, signed or not, is refused in our words and leaves no trace."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from repository import BUNDLE, NOW, Repository, Station, lay_out

from contract.errors import BadBundle, PlumblineError

UNKNOWN = ("2.0.0", "0.9", "1", "", "one", "1.0.x", None, 1, [], "9" * 5000)
WRONG = (
    *({"spec_version": each} for each in UNKNOWN),
    *({"version": each} for each in (0, -1, "2", [], None)),
    *({"expires": each} for each in ("", "tomorrow", 1, None, "2030-01-01", "2030-13-01T00:00:00Z")),
    *({"_type": each} for each in ("", "role", 1, None)),
)


@pytest.mark.parametrize("role", ["root", "timestamp"])
def test_signed_metadata_with_an_unknown_specification_or_a_malformed_field_is_refused(
    repo: Repository, station: Station, role: str
) -> None:
    station.refresh(repo)
    repo.publish(role)
    whole = repo.files[repo.path(role)]
    for change in WRONG:
        repo.files[repo.path(role)] = whole
        repo.change_and_sign(role, lambda signed, change=change: signed.update(change))
        with pytest.raises(BadBundle):
            station.refresh(repo)
        assert station.cached()[role] == 1, change
    repo.files[repo.path(role)] = whole
    repo.change_and_sign(role, lambda signed: signed.update(note="or else the others were refused for their signature"))
    assert getattr(station.refresh(repo), role) == 2


@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets"])
def test_a_file_that_is_no_metadata_is_refused(repo: Repository, station: Station, role: str) -> None:
    station.refresh(repo)
    repo.publish(role)
    repo.publish(*{"targets": ("snapshot", "timestamp"), "snapshot": ("timestamp",)}.get(role, ()))
    for data in (b"", b"<html>log in</html>", b"{}", b"[]", b"null", b"\xff\xfe", b"[" * 16_000, b'{"signed": {}}'):
        repo.files[repo.path(role)] = data
        with pytest.raises(BadBundle):
            station.refresh(repo)
        assert station.cached()[role] == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 2**70) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)


def _places(value: object, path: tuple = ()) -> list[tuple]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, each in inner for place in _places(each, (*path, key)))]


def _spoil(document: dict, data: st.DataObject) -> None:
    *path, last = data.draw(st.sampled_from([place for place in _places(document) if place]))
    holder = document
    for key in path:
        holder = holder[key]
    if data.draw(st.booleans()):
        holder[last] = data.draw(JSON)
    else:
        del holder[last]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["root", "timestamp", "snapshot", "targets"]), st.booleans(), st.data())
def test_any_spoiled_field_ends_in_an_error_of_ours_and_in_nothing_outside(
    station: Station, tmp_path_factory: pytest.TempPathFactory, role: str, signed: bool, data: st.DataObject
) -> None:
    folder, repo = tmp_path_factory.mktemp("spoiled"), Repository()
    station.root, station.home = repo.pinned(), folder / "station"
    repo.delegate("targets", "A", ["*"])
    repo.serve("A")
    repo.publish("root", "targets", "snapshot", "timestamp")
    (repo.change_and_sign if signed else repo.change)(role, lambda document: _spoil(document, data))
    station.kit = lay_out(repo, folder / "kit")
    try:
        station.refresh(repo, NOW, BUNDLE, "other")
    except PlumblineError as error:
        assert "\n" not in error.one_line()
    assert {path.name for path in folder.iterdir()} == {"kit", "station"}
    assert {path.name for path in station.home.iterdir()} <= {"tuf", "floors"}
