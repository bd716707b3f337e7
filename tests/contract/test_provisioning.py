"""What a plant may have a new station write."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from contract.errors import BadMessage
from contract.provisioning import check_files


@pytest.mark.parametrize("name", ["agent.toml", "trust/root.json", "trust/order_key_2.json"])
def test_a_stations_files_are_below_its_folder(name: str) -> None:
    assert check_files({name: "text"}) == {name: "text"}


@given(st.text("ab./\\~\0 -", max_size=12))
@example("../agent.toml")
@example("/etc/passwd")
@example("trust/../../x")
@example("")
@example("a//b")
@example("trust/")
def test_no_name_leads_out_of_the_folder(name: str) -> None:
    try:
        check_files({name: "text"})
    except BadMessage:
        return
    path = PurePosixPath(name)
    assert not path.is_absolute()
    assert ".." not in path.parts
    assert str(path) == name


def test_files_without_end_are_refused() -> None:
    with pytest.raises(BadMessage, match="too many"):
        check_files({f"f{number}": "" for number in range(33)})
