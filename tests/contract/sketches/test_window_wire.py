"""Windows through bytes: identical when honest, BadMessage and nothing else when hostile."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.errors import BadMessage
from contract.sketches.window import MAX_FRAMES, Window, WindowWire, merge
from contract.sketches.wire import from_wire, to_wire, wire_bytes

Maker = Callable[..., Window]


@given(st.integers(0, 1 << 32), st.integers(0, 300), st.integers(1, 40), st.sampled_from([0.001, 1.0, 16.0]))
@settings(max_examples=40, deadline=None)
def test_a_window_comes_back_the_same_through_msgpack(make_window: Maker, seed, frames, labels, spread) -> None:
    window = make_window(seed, frames, labels, spread=spread)
    payload = msgspec.msgpack.encode(to_wire(window))
    assert from_wire(msgspec.msgpack.decode(payload, type=WindowWire)) == window


@pytest.mark.parametrize("labels", [6, 16])
@pytest.mark.parametrize("frames", [256, 5000])
def test_a_raw_window_fits_in_8_kib(make_window: Maker, labels, frames) -> None:
    assert wire_bytes(to_wire(make_window(3, frames, labels))) <= 8192


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_hostile_sections_are_bad_messages_or_harmless(make_window: Maker, data) -> None:
    wire = to_wire(make_window(4, 20))
    name = data.draw(st.sampled_from(sorted(wire.sections)))
    packed = bytearray(wire.sections[name])
    for _ in range(data.draw(st.integers(1, 4))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(packed)))
    sections = {**wire.sections, name: bytes(packed[: data.draw(st.sampled_from([cut, len(packed)]))])}
    with contextlib.suppress(BadMessage):
        window = from_wire(WindowWire(wire.identity, wire.frames, sections))
        merge(window, window)
        window.sds(), window.projection_variances(), window.distinct(), window.confidence_histograms()


@given(st.integers(-(1 << 63), (1 << 64) - 1))
@settings(max_examples=30, deadline=None)
def test_a_lie_about_the_number_of_frames_is_a_bad_message(make_window: Maker, frames) -> None:
    wire = to_wire(make_window(5, 20))
    if frames != 20:
        with pytest.raises(BadMessage):
            from_wire(WindowWire(wire.identity, frames, wire.sections))


@pytest.mark.parametrize(
    "change",
    [{"labels": 0}, {"labels": 1 << 40}, {"labels": 5}, {"features": 3}, {"seed": -1}, {"artefact": "a" * 999}],
)
def test_an_unusable_identity_is_a_bad_message(make_window: Maker, change) -> None:
    wire = to_wire(make_window(5, 20))
    with pytest.raises(BadMessage):
        from_wire(WindowWire(msgspec.structs.replace(wire.identity, **change), wire.frames, wire.sections))


@pytest.mark.parametrize("name", ["moments", "moments2", "projection", "projection2", "fourier", "range"])
def test_sums_that_so_few_frames_cannot_reach_are_bad_messages(make_window: Maker, name) -> None:
    wire = to_wire(make_window(5, 20))
    count = (len(wire.sections[name]) - 1) // wire.sections[name][0]
    packed = b"\x08" + (2**62).to_bytes(8, "little") * count
    with pytest.raises(BadMessage):
        from_wire(WindowWire(wire.identity, wire.frames, {**wire.sections, name: packed}))


@pytest.mark.parametrize("frames", [127, 128, 255, 256, 65_535, 65_536])
def test_counts_at_the_edge_of_a_width_survive(make_window: Maker, frames) -> None:
    window = make_window(7, frames, labels=1)
    assert window.label_counts().tolist() == [frames]
    assert from_wire(to_wire(window)) == window


def test_a_rank_no_hash_can_have_is_a_bad_message(make_window: Maker) -> None:
    wire = to_wire(make_window(5, 20))
    packed = bytearray(wire.sections["distinct"])
    packed[1 + packed[1:].index(max(packed[1:]))] = 58
    with pytest.raises(BadMessage, match="rank"):
        from_wire(WindowWire(wire.identity, 20, {**wire.sections, "distinct": bytes(packed)}))


def test_integers_past_63_bits_are_bad_messages(make_window: Maker) -> None:
    wire = to_wire(make_window(5, 20))
    with pytest.raises(BadMessage, match="63 bits"):
        from_wire(WindowWire(wire.identity, 20, {**wire.sections, "latency": b"\x08" + b"\xff" * 512}))


def test_a_section_unknown_to_this_reader_is_skipped(make_window: Maker) -> None:
    window = make_window(6, 20)
    wire = to_wire(window)
    assert from_wire(WindowWire(wire.identity, 20, {**wire.sections, "later": b"anything"})) == window


def test_an_empty_window_with_sums_is_a_bad_message(make_window: Maker) -> None:
    empty, full = to_wire(make_window(1, 0)), to_wire(make_window(1, 5))
    for name in ("fourier", "range", "distinct", "labels"):
        with pytest.raises(BadMessage):
            from_wire(WindowWire(empty.identity, 0, {**empty.sections, name: full.sections[name]}))
    assert MAX_FRAMES > 10**6
