from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from agent.store.png import encode_png
from contract.activation_map import MAX_SIDE, PNG_KEYWORD, ActivationMap, decode_map, encode_map, summarise
from contract.errors import BadImage

_EVIDENCE = hnp.arrays(np.float32, st.tuples(*[st.integers(1, 90)] * 2), elements=st.floats(-9, 9, width=32))


@given(_EVIDENCE, st.text(max_size=40))
def test_a_map_comes_back_from_its_text_and_from_a_png(evidence: np.ndarray, label: str) -> None:  # type: ignore[type-arg]
    found = summarise(label, evidence)
    if found is None:
        assert evidence.max() <= 0
        return
    assert decode_map(encode_map(found)) == found
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    with Image.open(io.BytesIO(encode_png(pixels, {PNG_KEYWORD: encode_map(found)}))) as image:
        assert decode_map(image.text[PNG_KEYWORD]) == found and (np.asarray(image) == pixels).all()  # type: ignore[attr-defined]


@given(_EVIDENCE)
def test_the_brightest_place_is_where_the_evidence_was_largest(evidence: np.ndarray) -> None:  # type: ignore[type-arg]
    found = summarise("scratch", evidence)
    if found is None:
        return
    grid = found.grid()
    assert grid.shape == (min(MAX_SIDE, evidence.shape[0]), min(MAX_SIDE, evidence.shape[1])) and grid.max() == 255
    if evidence.shape == grid.shape:
        assert grid[np.unravel_index(int(evidence.argmax()), evidence.shape)] == 255
        assert (grid[evidence <= 0] == 0).all()


def test_what_is_no_number_gives_no_map() -> None:
    assert summarise("scratch", np.full((2, 2), np.nan, np.float32)) is None
    assert summarise("scratch", np.full((2, 2), -1, np.float32)) is None


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"label":"a","rows":0,"columns":1,"values":""}', '{"label":"a","rows":2,"columns":2,"values":"AAA="}'],
)
def test_text_that_is_no_map_is_refused(text: str) -> None:
    with pytest.raises(BadImage, match="activation map"):
        decode_map(text)


def test_a_plain_map_is_as_small_as_a_line_of_text() -> None:
    assert len(encode_map(ActivationMap("scratch", 12, 12, bytes(144)))) < 300
