"""What is in the address of the fleet page, whatever it is."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

from hypothesis import given
from hypothesis import strategies as st

from cloud.dashboard.fleet_address import FleetAddress, address_of
from cloud.store.fleet_rows import DriftPhase, LinkState, SortBy

_TEXT = st.text(max_size=40)


@given(st.dictionaries(st.one_of(st.sampled_from(FleetAddress.__slots__), _TEXT), st.text(max_size=300)))
def test_any_address_is_read_and_what_is_read_comes_back(query: dict[str, str]) -> None:
    found = address_of(query)
    split = urlsplit(found.path())
    assert split.path == "/fleet" and not split.netloc
    assert address_of(dict(parse_qsl(split.query, keep_blank_values=True))) == found
    assert found.first() >= 0 and isinstance(found.sort_by(), SortBy)
    found.chosen({"d" * 64: "v1"}, frozenset())


def test_names_become_what_is_filtered_for() -> None:
    asked = {
        "link": "never heard",
        "drift": "drifting",
        "model": "v1",
        "simulated": "no",
        "needs": "yes",
        "start": "50",
    }
    address = address_of(asked)
    chosen = address.chosen({"d" * 64: "v1"}, frozenset({"a"}))
    assert (chosen.link, chosen.drift, chosen.bundle) == (LinkState.NEVER, DriftPhase.ALARMED, "d" * 64)
    assert (chosen.simulated, chosen.among, address.first()) == (False, frozenset({"a"}), 50)
    assert address_of({"model": "none"}).chosen({}, frozenset()).bundle == ""
    assert address_of({"model": "e" * 64}).chosen({}, frozenset()).bundle == "e" * 64
    assert address_of({"link": "x", "sort": "token_sha256"}).chosen({}, frozenset()).link is None
