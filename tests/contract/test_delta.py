"""A delta that lies, lacks something or was made to do harm gives BadBundle, soon and in little memory."""

from __future__ import annotations

import contextlib
import hashlib
import io
import tracemalloc
from collections.abc import Sequence

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from contract.delta import (
    MAX_OPS,
    MAX_WINDOW_LOG,
    DeltaHeader,
    Op,
    OpKind,
    Section,
    delta_ends,
    delta_target,
    encode_header,
    encode_ops,
    read_header,
    read_ops,
)
from contract.errors import BadBundle
from contract.rebuild import joined, rebuild, split

_RNG = np.random.default_rng(7)
_OLD = _RNG.bytes(70_000)
_FROM = hashlib.sha256(_OLD).hexdigest()
_NEW = _OLD[:40_000] + b"new " * 100 + _OLD[50_000:]
_OPS = (Op(OpKind.COPY, 40_000), Op(OpKind.TEXT, 400), Op(OpKind.COPY, 20_000, 50_000))


class Held:
    """Bytes in memory."""

    def __init__(self, data: bytes) -> None:
        self._data, self.size = data, len(data)

    def read_at(self, offset: int, size: int) -> bytes:
        return self._data[offset : offset + size]


def delta_of(
    ops: Sequence[Op] | bytes = _OPS,
    *,
    text: bytes = b"new " * 100,
    residuals: bytes = b"",
    packed: dict[Section, bytes] | None = None,
    unpacked: dict[Section, int] | None = None,
    **more: object,
) -> bytes:
    """Return a delta from _OLD to _NEW, with whatever is given said instead."""
    n_ops = len(ops) if not isinstance(ops, bytes) else 1
    plain = {
        Section.OPS: ops if isinstance(ops, bytes) else encode_ops(ops),
        Section.TEXT: text,
        Section.BYTES: residuals,
        Section.PLANES: b"",
    }
    frames = {section: zstandard.compress(data) for section, data in plain.items()} | (packed or {})
    sizes = {section: len(data) for section, data in plain.items()} | (unpacked or {})
    facts: dict[str, object] = {
        "from_digest": _FROM,
        "to_digest": hashlib.sha256(_NEW).hexdigest(),
        "from_size": len(_OLD),
        "to_size": len(_NEW),
        "n_ops": n_ops,
        "window_log": MAX_WINDOW_LOG,
        "sections": tuple((len(frames[section]), sizes[section]) for section in Section),
    }
    return encode_header(DeltaHeader(**facts | more)) + b"".join(frames[section] for section in Section)  # type: ignore[arg-type]


def bomb_of(begin: bytes, zeros: int) -> bytes:
    """Return a frame, within the window allowed, of `begin` and `zeros` zeros."""
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=MAX_WINDOW_LOG)
    return zstandard.ZstdCompressor(compression_params=parameters).compress(begin + bytes(zeros))


def rebuilt(delta: bytes, new: bytes = _NEW) -> bytes:
    goal = hashlib.sha256(new).hexdigest()
    return b"".join(rebuild(Held(delta), Held(_OLD), origin=_FROM, goal=goal, size=len(new)))


def test_an_honest_delta_gives_the_new_bytes() -> None:
    assert rebuilt(delta_of()) == _NEW


_OTHER = "0" * 64
_LIES = {
    "nothing": b"",
    "no delta": b"PLDELTA\x02" + delta_of()[8:],
    "longer than it says": delta_of() + b"\0",
    "another base": delta_of(from_digest=_OTHER),
    "another base's size": delta_of(from_size=len(_OLD) + 1),
    "another goal": delta_of(to_digest=_OTHER),
    "another goal's size": delta_of(to_size=len(_NEW) - 1),
    "more ops than there are": delta_of(n_ops=4),
    "fewer ops than there are": delta_of(n_ops=2),
    "more ops than are allowed": delta_of(n_ops=MAX_OPS + 1),
    "a window that takes memory": delta_of(window_log=MAX_WINDOW_LOG + 1),
    "a section less": delta_of(sections=((9, 9),) * 3),
    "a prefix outside the base": delta_of(prefix=((len(_OLD) - 1, 2),)),
    "a prefix without end": delta_of(prefix=((0, 65_000),) * 9),
    "a copy from outside": delta_of((Op(OpKind.COPY, len(_NEW), 20_000),)),
    "a copy from before the base": delta_of((Op(OpKind.COPY, len(_NEW), -1),)),
    "an op of nothing": delta_of((Op(OpKind.COPY, 0), *_OPS)),
    "more than was announced": delta_of((*_OPS, Op(OpKind.COPY, 1))),
    "less than was announced": delta_of(_OPS[:2]),
    "an op that is none": delta_of(b"\x0f\x01"),
    "a width that is none": delta_of(b"\x42\x01"),
    "half an element": delta_of((Op(OpKind.RAW, 7, width=2),)),
    "a number without end": delta_of(b"\x00" + b"\xff" * 20),
    "a section that ends early": delta_of(text=b"new "),
    "a section that ends earlier than it says": delta_of(text=b"new ", unpacked={Section.TEXT: 400}),
    "a section that nobody reads": delta_of(residuals=b"left over"),
    "what is no zstd": delta_of(packed={Section.TEXT: b"new " * 100}),
    "half a frame": delta_of(packed={Section.TEXT: zstandard.compress(_RNG.bytes(400))[:200]}),
    "other bytes": delta_of(text=b"old " * 100),
    "a bomb behind what is read": delta_of(packed={Section.TEXT: bomb_of(b"new " * 100, 20 << 20)}),
}


@pytest.mark.parametrize("lie", _LIES)
def test_a_delta_that_lies_is_refused(lie: str) -> None:
    with pytest.raises(BadBundle):
        rebuilt(_LIES[lie])


def test_a_bomb_takes_no_more_than_what_was_announced() -> None:
    bomb = bomb_of(b"", 200 << 20)
    assert len(bomb) < 20_000
    delta = delta_of(
        (Op(OpKind.RAW, 1 << 20),),
        text=b"",
        packed={Section.BYTES: bomb},
        unpacked={Section.BYTES: 1 << 20},
        to_size=1 << 20,
    )
    taken = 0
    tracemalloc.start()
    try:
        with pytest.raises(BadBundle):
            for chunk in rebuild(
                Held(delta), Held(_OLD), origin=_FROM, goal=hashlib.sha256(_NEW).hexdigest(), size=1 << 20
            ):
                taken += len(chunk)
        assert taken == 1 << 20 and tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_a_frame_with_a_larger_window_than_allowed_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=24, write_content_size=False)
    machine = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    noise = _RNG.bytes(3 << 20)
    frame = machine.compress(noise) + machine.flush()
    new = noise
    delta = delta_of(
        (Op(OpKind.RAW, len(new)),),
        text=b"",
        packed={Section.BYTES: frame},
        unpacked={Section.BYTES: len(new)},
        to_size=len(new),
        to_digest=hashlib.sha256(new).hexdigest(),
    )
    with pytest.raises(BadBundle, match="decompressed"):
        rebuilt(delta, new)


_KINDS = st.sampled_from(OpKind)


@given(
    st.lists(st.tuples(_KINDS, st.integers(1, 5000), st.integers(0, 1000), st.sampled_from((1, 2, 4, 8))), max_size=40)
)
def test_ops_come_back_as_they_were_written(rows: list[tuple[OpKind, int, int, int]]) -> None:
    ops = []
    for kind, size, base, width in rows:
        reads = kind in (OpKind.COPY, OpKind.SUBTRACT)
        wide = width if kind in (OpKind.SUBTRACT, OpKind.RAW) else 1
        ops.append(Op(kind, size * wide, base if reads else 0, wide))
    header = DeltaHeader(_OTHER, _OTHER, 1 << 20, sum(op.size for op in ops), len(ops), 20, ((0, 0),) * 4)
    assert list(read_ops(io.BytesIO(encode_ops(ops)), header)) == ops


@given(st.integers(0, 2**32 - 1), st.sampled_from((1, 2, 4, 8)), st.integers(0, 20_000), st.sampled_from((0, 3, 2**31)))
def test_split_tensors_are_joined_again(seed: int, width: int, elements: int, moved: int) -> None:
    rng = np.random.default_rng(seed)
    kind = np.dtype(f"<u{width}")
    old = np.frombuffer(rng.bytes(elements * width), kind)
    new = (old + rng.integers(0, moved + 1, elements).astype(kind)).tobytes()
    for before in (None, old.tobytes()):
        held, out = split(new, before, width), b""
        for at in range(0, len(held), 1 << 16):
            block = np.frombuffer(held[at : at + (1 << 16)], np.uint8)
            out += joined(block, before[at : at + (1 << 16)] if before is not None else None, width)
        assert out == new


@given(st.binary(max_size=400))
def test_no_bytes_make_the_header_fail_otherwise(data: bytes) -> None:
    for head in (data, delta_of()[:8] + data):
        with contextlib.suppress(BadBundle):
            read_header(Held(head))


def test_a_delta_is_named_by_both_its_ends() -> None:
    target = delta_target(_FROM, _OTHER)
    assert target == f"deltas/{_FROM}-{_OTHER}.pld" and delta_ends(target) == (_FROM, _OTHER)
    for other in ("", f"bundles/{_FROM}.plb", target[:-1], target.upper(), target.replace("-", "+"), f"x{target}"):
        assert delta_ends(other) is None
