"""The parts of a window: bins, projections, distinct counts, references."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.errors import BadMessage
from contract.sketches import histogram, label_counts, moments, projection
from contract.sketches.distinct import distinct_estimate, register_and_rank
from contract.sketches.reference import FACTORY_REFERENCE, decode_reference, encode_reference

any_float = st.floats(allow_nan=True, allow_infinity=True)


@given(any_float)
def test_any_number_has_a_confidence_bin_and_a_latency_bin(value: float) -> None:
    assert 0 <= label_counts.confidence_bin(value) < 64
    assert 0 <= label_counts.latency_bin(value) < 64


def test_confidence_bins_rise_with_confidence_and_lie_where_the_centres_say() -> None:
    for confidence in (0.01, 0.3, 0.5, 0.9, 0.999):
        centre = label_counts.confidence_centres()[label_counts.confidence_bin(confidence)]
        assert abs(centre - math.log(confidence / (1 - confidence))) <= 0.125 + 1e-9


def test_a_latency_quantile_is_within_a_bin_of_the_truth() -> None:
    counts = np.bincount([label_counts.latency_bin(us) for us in range(1000, 9000, 10)], minlength=64)
    assert label_counts.latency_quantile_us(counts, 0.5) == pytest.approx(5000, rel=0.3)
    assert label_counts.latency_quantile_us(np.zeros(64, np.int64), 0.5) == 0.0


def test_end_bins_are_open_and_bins_cover_four_sd_each_way() -> None:
    centre, sd = np.array([0.5]), np.array([0.1])
    found = histogram.bin_indices(np.array([[-99.0], [0.11], [0.5], [0.89], [99.0]]), centre, sd)
    assert found.reshape(-1).tolist() == [0, 0, 32, 63, 63]
    assert histogram.edges(centre, sd)[0, [0, 64]].tolist() == pytest.approx([0.1, 0.9])


def test_fixed_point_clips_and_takes_nan_as_zero() -> None:
    assert moments.to_fixed(np.array([1.0, 99.0, -np.inf, np.nan])).tolist() == [65536, 16 * 65536, -16 * 65536, 0]


def test_the_projection_of_a_seed_never_changes() -> None:
    # Every sketch in the field depends on these bits: a change needs a new FEATURES_VERSION.
    matrix = projection.projection_matrix(20261120)
    digest = hashlib.sha256((matrix > 0).tobytes()).hexdigest()
    assert digest == "328c194d6b911217b0c60a449e91ccc00d26f6222ce5b7d13bfee059beb240cf"
    assert abs(matrix.sum(axis=0)).max() < 1e-4


def test_projecting_in_pieces_is_projecting() -> None:
    rng = np.random.Generator(np.random.PCG64(0))
    thumbnails = rng.random((9, 1024), dtype=np.float32)
    whole = thumbnails.astype(np.float64) @ projection.projection_matrix(3)
    for count in range(1, 10):
        assert np.allclose(projection.project(thumbnails[:count], 3), whole[:count], atol=1e-4)


@pytest.mark.parametrize("true", [1, 2, 30, 240, 5000])
def test_distinct_frames_are_estimated_within_15_percent(true: int) -> None:
    registers = np.zeros(256, np.uint8)
    for number in range(true):
        digest = int.from_bytes(hashlib.blake2b(str(number).encode(), digest_size=8).digest(), "little")
        for _ in range(2):
            register, rank = register_and_rank(digest)
            registers[register] = max(registers[register], rank)
    assert distinct_estimate(registers) == pytest.approx(true, rel=0.15)


def test_a_reference_survives_bytes_and_refuses_what_it_cannot_use() -> None:
    payload = encode_reference(FACTORY_REFERENCE)
    assert decode_reference(payload) == FACTORY_REFERENCE
    assert decode_reference(payload).digest() == FACTORY_REFERENCE.digest()
    for broken in (b"", b"{}", payload.replace(b"0.5", b"-1", 24), payload.replace(b"0.5,", b"", 1)):
        with pytest.raises(BadMessage):
            decode_reference(broken)


def test_a_reference_of_statistics_taken_otherwise_is_refused() -> None:
    """One that an earlier build kept names no version: it is the first."""
    payload = encode_reference(FACTORY_REFERENCE)
    newer = payload.replace(b'"measures":3', b'"measures":4')
    older = payload.replace(b',"measures":3', b"")
    assert len({payload, newer, older}) == 3
    for other in (newer, older):
        with pytest.raises(BadMessage, match="a sketch reference of measures"):
            decode_reference(other)
