from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.errors import InvalidConfig
from contract.ids import bundle_target, check_camera_name, check_station_id, is_digest, sample_name

STATION_ID = r"\A[a-z0-9][a-z0-9_-]{0,62}\Z"
CAMERA_NAME = r"\A[a-z0-9-]{0,32}\Z"


@given(st.from_regex(STATION_ID))
def test_a_station_id_is_returned_as_it_came(text: str) -> None:
    assert check_station_id(text) == text


@pytest.mark.parametrize("text", ["a", "0", "line3-cam1", "a" * 63, "a--_", "9_"])
def test_these_are_station_ids(text: str) -> None:
    assert check_station_id(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a" * 64,
        "-a",
        "_a",
        "Line3",
        "a b",
        "a/b",
        "a\\b",
        "..",
        ".",
        "a.b",
        "+",
        "#",
        "$share",
        "a\n",
        "a\0",
        "\n",
        "ä",
        "а",  # a Cyrillic letter that looks like an a
        "١",  # a digit to str.isdigit, but no 0-9
        "a" * 1_000_000,
    ],
)
def test_these_are_no_station_ids(text: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        check_station_id(text)
    assert caught.value.hint
    assert len(caught.value.one_line()) < 300


@given(st.text(max_size=70))
def test_any_text_is_a_station_id_or_refused_as_config(text: str) -> None:
    try:
        accepted = check_station_id(text)
    except InvalidConfig:
        return
    # What passes can be a topic level, a folder name and a certificate's CN.
    assert accepted.isascii()
    assert not set(accepted) & set("/\\+#$. \0")


@pytest.mark.parametrize("text", ["", "left", "2", "a" * 32, "a--", "-"])
def test_these_are_names_of_cameras(text: str) -> None:
    assert check_camera_name(text) == text


@pytest.mark.parametrize("text", ["a" * 33, "Left", "a_b", "a/b", "..", "a\n", "\n", "ä", " "])
def test_these_are_no_names_of_cameras(text: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        check_camera_name(text)
    assert caught.value.hint


NAMED = st.tuples(st.from_regex(CAMERA_NAME), st.integers(0, 10**7), st.integers(0, 10**7))


@given(NAMED, NAMED)
def test_no_two_frames_of_any_cameras_share_a_samples_name(
    first: tuple[str, int, int], second: tuple[str, int, int]
) -> None:
    assert (sample_name("6f1d", *first) == sample_name("6f1d", *second)) == (first == second)


@given(NAMED)
def test_a_samples_name_fits_where_it_is_kept(named: tuple[str, int, int]) -> None:
    assert len(sample_name("0123456789abcdef", *named)) <= 80


def test_the_only_cameras_samples_are_named_as_ever() -> None:
    assert sample_name("6f1d", "", 12, 7) == "6f1d-12-7"
    assert sample_name("6f1d", "left", 12, 7) == "6f1d-left-12-7"


@given(st.binary(max_size=10))
def test_a_sha256_in_hex_is_a_digest(content: bytes) -> None:
    assert is_digest(hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize("text", ["", "a" * 63, "a" * 65, "A" * 64, "g" * 64, "a" * 64 + "\n", "../" + "a" * 61])
def test_these_are_no_digests(text: str) -> None:
    assert not is_digest(text)


def test_a_bundles_target_is_one_file_in_one_folder() -> None:
    assert bundle_target("ab" * 32) == "bundles/" + "ab" * 32 + ".plb"
