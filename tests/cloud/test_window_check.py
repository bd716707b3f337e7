"""The checks of a batch of windows say what `from_wire` says of each."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.window_check import window_faults
from contract.errors import BadMessage
from contract.sketches.window import SketchIdentity, WindowWire, empty_window
from contract.sketches.wire import from_wire, to_wire
from tests.cloud.drift.conftest import StationLine

SECTIONS = sorted(to_wire(empty_window(SketchIdentity(2, 1, "", "a" * 64, 4))).sections)


def windows(count: int, frames: int = 32, features: int = 2) -> list[WindowWire]:
    line = StationLine("s1", seed=frames, frames=frames)
    line.features = features
    return [to_wire(line.window()) for _ in range(count)]


PLENTY = [*windows(6), *windows(6, frames=700)]
OF_ONE_FRAME = windows(5, frames=1)


def verdicts(batch: list[WindowWire]) -> dict[int, str]:
    found = {}
    for index, window in enumerate(batch):
        try:
            from_wire(window)
        except BadMessage as error:
            found[index] = error.one_line()
    return found


def changed(window: WindowWire, **fields: object) -> WindowWire:
    return msgspec.structs.replace(window, **fields)


def test_sound_windows_of_any_width_and_version_are_sound() -> None:
    old = windows(5, features=1)
    empty = to_wire(empty_window(PLENTY[0].identity))
    batch = [*PLENTY, *OF_ONE_FRAME, *old, empty]
    assert len({tuple(w.sections[name][0] for name in sorted(w.sections)) for w in batch}) > 2, "widths differ"
    assert window_faults([None, *batch, None]) == verdicts(batch) == {}


def test_none_and_few_are_fine_too() -> None:
    assert window_faults([]) == {} and window_faults([None, PLENTY[0], None]) == {}


def test_each_is_told_by_its_place_and_its_neighbours_are_not() -> None:
    batch: list[WindowWire | None] = [*PLENTY]
    batch[3] = changed(PLENTY[3], frames=31)
    batch[5] = None
    batch[8] = changed(PLENTY[8], sections={**PLENTY[8].sections, "labels": b"\x03abc"})
    assert sorted(window_faults(batch)) == [3, 8]
    assert "histogram" in window_faults(batch)[3] and "labels" in window_faults(batch)[8]


@settings(max_examples=150)
@given(data=st.data())
def test_whatever_is_changed_the_two_agree(data: st.DataObject) -> None:
    batch = [changed(each, sections=dict(each.sections)) for each in data.draw(st.sampled_from([PLENTY, OF_ONE_FRAME]))]
    for _ in range(data.draw(st.integers(1, 3))):
        index = data.draw(st.integers(0, len(batch) - 1))
        batch[index] = data.draw(mutated(batch[index]))
    assert window_faults(batch) == verdicts(batch)


@st.composite
def mutated(draw: st.DrawFn, window: WindowWire) -> WindowWire:
    """A window with one thing changed: its frames, its identity, a section's bytes, one integer of it or its width."""
    kind = draw(st.sampled_from(("frames", "identity", "bytes", "gone", "integer")))
    if kind == "frames":
        return changed(window, frames=draw(st.sampled_from((-1, 0, 1, 31, 33, 1 << 22, 1 << 40))))
    if kind == "identity":
        field, values = draw(st.sampled_from(tuple(_IDENTITIES.items())))
        return changed(window, identity=msgspec.structs.replace(window.identity, **{field: draw(values)}))
    name = draw(st.sampled_from(sorted(window.sections) or SECTIONS))
    sections = dict(window.sections)
    if kind == "gone":
        sections.pop(name, None)
    elif kind == "bytes" or not sections.get(name):
        sections[name] = draw(st.sampled_from((b"", b"\x01", b"\x00" * 9, b"\x08" + b"\xff" * 8 * 24)))
    else:
        sections[name] = draw(_one_integer_changed(sections[name], signed=name in _SIGNED))
    return changed(window, sections=sections)


_SIGNED = ("moments", "products", "projection", "fourier", "range")
_IDENTITIES: dict[str, st.SearchStrategy[object]] = {
    "features": st.sampled_from((0, 1, 2, 3)),
    "labels": st.sampled_from((0, 1, 3, 4, 4096, 4097)),
    "seed": st.sampled_from((-1, 0, 1 << 63)),
    "reference": st.sampled_from(("", "r" * 129)),
}


@st.composite
def _one_integer_changed(draw: st.DrawFn, packed: bytes, *, signed: bool) -> bytes:
    kind = "i" if signed else "u"
    width = packed[0] if packed[0] in (1, 2, 4, 8) else 1
    values = np.frombuffer(packed[1 : 1 + (len(packed) - 1) // width * width], f"<{kind}{width}").astype(f"<{kind}8")
    if not len(values):
        return packed
    info = np.iinfo(values.dtype)
    place = draw(st.integers(0, len(values) - 1))
    near = st.integers(-2, 2).map(lambda by: int(values[place]) + by)
    values[place] = min(max(draw(near | st.integers(int(info.min), int(info.max))), int(info.min)), int(info.max))
    return b"\x08" + values.tobytes()


def test_sums_that_only_a_wrapped_product_would_let_through_are_refused() -> None:
    """A least value near -2**63 times the frames wraps to something small: its limit is what refuses it."""
    batch = []
    for window in PLENTY:
        made = from_wire(window)
        low = made.mins.copy()
        low[0] = -(1 << 62)
        batch.append(to_wire(replace(made, mins=low)))
    assert sorted(window_faults([*batch])) == list(range(len(batch)))
