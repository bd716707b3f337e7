"""The held-out record: counted, written, read back, and refused when it is damaged."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.drift.held_out import HeldOut, decode_held_out, encode_held_out, held_out
from contract.errors import BadDataset
from tests.fakes.held_out import record_of

DIGEST = "a" * 64


@st.composite
def answered(draw: st.DrawFn) -> tuple[list[str], np.ndarray, np.ndarray]:
    labels = draw(st.lists(st.text(max_size=8), min_size=1, max_size=20, unique=True))
    count = draw(st.integers(1, 30))
    rng = np.random.Generator(np.random.PCG64(draw(st.integers(0, 1_000))))
    truth = rng.integers(-1, len(labels), count)
    truth[0] = 0
    return labels, truth, rng.dirichlet(np.ones(len(labels)), count).astype(np.float32)


@given(answered())
def test_a_record_counts_every_known_image_once_and_is_read_back_as_written(
    case: tuple[list[str], np.ndarray, np.ndarray],
) -> None:
    labels, truth, probabilities = case
    record = held_out(DIGEST, labels, truth, probabilities)
    assert record is not None and decode_held_out(encode_held_out(record)) == record
    known, answers = truth[truth >= 0], probabilities.argmax(1)[truth >= 0]
    assert record.images == len(known) == record.confusion().sum() == record.confidence_counts().sum()
    assert record.accuracy == pytest.approx(np.mean(known == answers))
    for place in range(len(labels)):
        assert record.confusion()[place].sum() == (known == place).sum()
        assert record.confusion()[:, place].sum() == (answers == place).sum()


def test_images_of_labels_the_model_does_not_know_make_no_record() -> None:
    assert held_out(DIGEST, ["good"], np.array([-1, -1]), np.ones((2, 1), np.float32)) is None
    assert held_out(DIGEST, ["good"], np.zeros(0, np.int64), np.ones((0, 1), np.float32)) is None


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"artefact": "x"}, "names no model file"),
        ({"labels": []}, "has no labels"),
        ({"labels": ["good", "good", "dent", "stain"]}, "one twice"),
        ({"cells": [[0, 4, 1]]}, "counts labels it does not name"),
        ({"cells": [[0, 0, 1], [0, 0, 1]]}, "counts a cell twice"),
        ({"cells": [[0, 0, -1]]}, "or not at all"),
        ({"cells": []}, "is of 0 images"),
        ({"cells": [[0, 0, 1 << 60]]}, "is of 1152921504606846976 images"),
        ({"cells": [[0, 0, 7]]}, "another number of confidences"),
        ({"confidences": [[1]]}, "other confidence bins"),
        ({"held_out_version": 2}, "version 2 is not 1"),
        ({"cells": "none"}, "no held-out record"),
    ],
)
def test_a_record_that_contradicts_itself_is_refused(change: dict[str, Any], why: str) -> None:
    good = json.loads(encode_held_out(record_of()))
    with pytest.raises(BadDataset, match=why) as caught:
        decode_held_out(json.dumps({**good, **change}).encode())
    assert caught.value.hint


def test_negative_confidences_are_refused() -> None:
    record = record_of()
    rows = [list(row) for row in record.confidences]
    rows[0][0], rows[0][1] = rows[0][0] - 5, rows[0][1] + 5
    odd = msgspec.structs.replace(record, confidences=tuple(tuple(row) for row in rows))
    with pytest.raises(BadDataset, match="negative"):
        decode_held_out(encode_held_out(odd))


@given(st.binary(max_size=200))
def test_bytes_that_are_no_record_are_refused_and_nothing_else_happens(payload: bytes) -> None:
    with pytest.raises(BadDataset):
        decode_held_out(payload)


@given(st.integers(0, 3_000), st.integers(1, 255))
def test_a_flipped_byte_never_gives_a_record_that_does_not_add_up(at: int, change: int) -> None:
    payload = bytearray(encode_held_out(record_of()))
    payload[at % len(payload)] ^= change
    try:
        record: HeldOut = decode_held_out(bytes(payload))
    except BadDataset:
        return
    assert record.images == record.confidence_counts().sum() and len(record.labels) == 4
