"""Gap records, and who can make them."""

from __future__ import annotations

import hashlib

import msgspec
import pytest

from contract.codec import decode_summary, encode_summary
from contract.gaps import gap_key, gap_key_of_digest, is_gap_signed, sign_gap
from contract.messages import Accounting, GapNote, Summary
from tests.fakes.cloud_tables import summary

KEY = gap_key("s3cret")


def _gap() -> Summary:
    plain = summary(seq=9, passed=4)
    return msgspec.structs.replace(plain, covers=((1, 3), (5, 8)), gap=GapNote(8, "lack of room"))


def test_a_signed_gap_is_known_on_the_other_side_of_the_wire_by_the_digest_of_the_token_alone() -> None:
    arrived = decode_summary(encode_summary(sign_gap(_gap(), KEY)))
    assert is_gap_signed(arrived, gap_key_of_digest(hashlib.sha256(b"s3cret").hexdigest()))


@pytest.mark.parametrize(
    "change",
    [
        {"covers": ((1, 3), (5, 7))},
        {"accounting": Accounting(captured=1, passed=1)},
        {"gap": GapNote(7, "lack of room", sign_gap(_gap(), KEY).gap.signature)},  # type: ignore[union-attr]
        {"header": msgspec.structs.replace(_gap().header, boot="b2")},
        {"gap": GapNote(8, "lack of room", "")},
        {"gap": GapNote(8, "lack of room", "ünknown")},
        {"gap": None},
    ],
)
def test_nothing_of_what_it_says_can_be_changed(change: dict[str, object]) -> None:
    assert not is_gap_signed(msgspec.structs.replace(sign_gap(_gap(), KEY), **change), KEY)


def test_another_token_signs_otherwise_and_a_summary_without_a_gap_is_left_alone() -> None:
    assert not is_gap_signed(sign_gap(_gap(), gap_key("another")), KEY)
    assert sign_gap(summary(), KEY) == summary()
