"""Valid bytes, damaged: what hypothesis draws when structure alone would find only the front door."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

NUMBERS = (b"0", b"-1", b"1e400", b"NaN", b"2147483648", b"9223372036854775808", b"77777777777", b"1.5", b'""', b"null")
TOKENS = (
    *NUMBERS,
    b"../../etc/passwd",
    b"/etc/passwd",
    b"[" * 5000,
    b'{"a":' * 5000,
    b"\0" * 512,
    b"\xff" * 8,
    b"\\ud800",
    b"\xed\xa0\x80",
    b'"\\u0000"',
    b"true",
    b"[]",
    b"{}",
)


@st.composite
def mutated(draw: st.DrawFn, seeds: Sequence[bytes]) -> bytes:
    """Draw one of `seeds` with 1 to 5 wounds."""
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 5))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        end = min(len(data), at + draw(st.integers(1, 64)))
        kind = draw(st.sampled_from(["flip", "cut", "drop", "repeat", "insert", "number", "splice"]))
        if kind == "flip" and data:
            data[at] ^= draw(st.integers(1, 255))
        elif kind == "cut":
            del data[at:]
        elif kind == "drop":
            del data[at:end]
        elif kind == "repeat":
            data[at:at] = data[at:end] * draw(st.integers(1, 50))
        elif kind == "insert":
            data[at:at] = draw(st.sampled_from(TOKENS) | st.binary(max_size=16))
        elif kind == "number":
            _replace_number(data, at, draw(st.sampled_from(NUMBERS)))
        else:
            other = draw(st.sampled_from(seeds))
            data[at:] = other[min(at, len(other)) :]
    return bytes(data)


def _replace_number(data: bytearray, at: int, by: bytes) -> None:
    """Put `by` in the place of the first run of digits after `at`."""
    start = next((i for i in range(at, len(data)) if data[i : i + 1].isdigit()), None)
    if start is not None:
        end = next((i for i in range(start, len(data)) if not data[i : i + 1].isdigit()), len(data))
        data[start:end] = by
