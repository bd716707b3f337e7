"""The part id of a file is its path below the folder, however the folder is written."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.sources.image_file import part_of

_NAMES = st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1, max_size=8).filter(
    lambda name: name not in (".", "..")
)


@given(
    st.sampled_from([".", "/", "parts", "./parts", "/var/parts/", "a b/../c"]), st.lists(_NAMES, min_size=1, max_size=3)
)
def test_it_is_what_pathlib_makes_of_it(folder: str, below: list[str]) -> None:
    path = Path(folder, *below)
    assert part_of(path, Path(folder)) == path.relative_to(folder).as_posix()


@pytest.mark.parametrize("folder", [".", "/", "parts"])
def test_a_file_that_is_called_like_its_folder_keeps_its_name(folder: str) -> None:
    assert part_of(Path(folder, "parts", "parts.png"), Path(folder)) == "parts/parts.png"
