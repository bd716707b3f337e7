"""The pieces that a manifest says an archive consists of, and what a Retry-After header asks for."""

from __future__ import annotations

import hashlib
import sys
from datetime import datetime, timezone
from email.utils import format_datetime
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "slots"))
from piece_archive import archive_of

from agent.update.archive_pieces import head_size, pieces_of
from agent.update.retry_after import CAP_S, retry_after_s
from contract.archive import BLOCK
from contract.errors import BadBundle
from contract.manifest import PIECE_BYTES

SIZES = st.lists(st.sampled_from([0, 1, 511, 512, 513, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1]), max_size=2)


@settings(max_examples=25)
@given(SIZES, st.booleans())
def test_pieces_cover_the_archive_without_a_gap_and_each_has_its_hash(sizes: list[int], by_piece: bool) -> None:
    archive = archive_of(700, *sizes, by_piece=by_piece)
    head = archive.body[: head_size(archive.body[:BLOCK])]
    pieces = pieces_of(head, archive.manifest_sha256)
    assert pieces[0].end == len(head)
    at = 0
    for piece in pieces:
        assert piece.start == at and piece.size > 0
        assert hashlib.sha256(archive.body[at : piece.end]).hexdigest() == piece.sha256
        at = piece.end
    assert at == len(archive.body)


@given(st.binary(max_size=600))
def test_what_is_no_head_is_a_bad_bundle_and_nothing_else(junk: bytes) -> None:
    with pytest.raises(BadBundle):
        head_size(junk)
    with pytest.raises(BadBundle):
        pieces_of(junk, "0" * 64)


@given(st.integers(0, BLOCK - 1), st.integers(1, 255))
def test_a_changed_byte_in_the_head_is_told(at: int, flip: int) -> None:
    archive = archive_of(700)
    head = bytearray(archive.body[: head_size(archive.body[:BLOCK])])
    for place in (at, BLOCK + at):
        changed = head.copy()
        changed[place] ^= flip
        with pytest.raises(BadBundle):
            pieces_of(bytes(changed), archive.manifest_sha256)


@given(st.text(), st.floats(0.0, 4e9))
@example("1" * 400, 0.0)
@example("-1", 0.0)
@example("Wed, 21 Oct 99999 07:28:00 GMT", 0.0)
@example("٣", 0.0)
def test_any_retry_after_gives_a_wait_within_bounds(header: str, now: float) -> None:
    assert 0.0 <= retry_after_s(header, now) <= CAP_S


@given(st.integers(1, 3600), st.integers(1_700_000_000, 2_000_000_000))
def test_seconds_and_dates_are_both_understood(wait_s: int, now: int) -> None:
    date = format_datetime(datetime.fromtimestamp(now + wait_s, timezone.utc), usegmt=True)
    assert retry_after_s(f" {wait_s} ", now) == wait_s == retry_after_s(date, now)
