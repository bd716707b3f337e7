"""The detector of the traffic test finds what it is for, however it is wrapped, and nothing where there is nothing."""

from __future__ import annotations

import base64
import gzip
import io
import zlib

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.image_leaks import KnownImages, likenesses

RNG = np.random.default_rng(5)
FRAME = RNG.integers(0, 256, (48, 40), np.uint8)
PIXELS = FRAME.tobytes()


def _file(kind: str) -> bytes:
    body = io.BytesIO()
    Image.fromarray(FRAME).save(body, kind)
    return body.getvalue()


PNG, JPEG = _file("PNG"), _file("JPEG")
KNOWN = KnownImages([FRAME], [PNG, JPEG])
WRAPS = {
    "plain": lambda data: data,
    "zstd": zstandard.ZstdCompressor().compress,
    "gzip": gzip.compress,
    "zlib": zlib.compress,
    "base64": base64.b64encode,
    "urlsafe": base64.urlsafe_b64encode,
    "hex": lambda data: data.hex().encode(),
    "chunked": lambda data: (
        b"HTTP/1.1 200\r\ntransfer-encoding: chunked\r\n\r\n"
        + b"".join(f"{len(p):x}\r\n".encode() + p + b"\r\n" for p in (data[:9], data[9:20], data[20:]))
        + b"0\r\n\r\n"
    ),
}


@pytest.mark.parametrize("outer", WRAPS)
@pytest.mark.parametrize("inner", WRAPS)
def test_a_run_of_pixels_is_found_in_two_wraps(outer: str, inner: str) -> None:
    hidden = WRAPS[outer](b"head" + WRAPS[inner](b"xyz" + PIXELS[100:400] + b"tail") + b"tail")
    assert KNOWN.leaks([b"noise" * 20 + hidden + b"end"])


@given(start=st.integers(0, len(PIXELS) - 32), before=st.binary(max_size=40))
@settings(max_examples=60)
def test_thirty_two_bytes_of_a_frame_are_found_anywhere(start: int, before: bytes) -> None:
    assert KNOWN.leaks([before + PIXELS[start : start + 32] + b"after"])


def test_an_image_encoded_anew_is_found_and_a_whole_frame_is_named() -> None:
    other = io.BytesIO()
    Image.fromarray(FRAME).save(other, "PNG", compress_level=9)
    assert any("a whole frame of 40 x 48" in each for each in KNOWN.leaks([b"POST\r\n\r\n" + other.getvalue()]))
    small = io.BytesIO()
    Image.fromarray(FRAME).resize((10, 12)).save(small, "BMP")
    assert any("an image of 10 x 12" in each for each in KNOWN.leaks([base64.b64encode(small.getvalue())]))


@pytest.mark.parametrize("number", range(33))
def test_what_is_made_small_of_a_frame_is_found(number: int) -> None:
    small = list(likenesses(FRAME))
    assert len(small) == 33
    assert KNOWN.leaks([b"head" + zstandard.ZstdCompressor().compress(b"xyz" + small[number] + b"tail")])


def test_what_holds_none_is_clean() -> None:
    rng = np.random.default_rng(6)
    noise = rng.integers(0, 256, 100_000, np.uint8).tobytes()
    text = b'{"station":"s1","note":"' + b"a1B2" * 40 + b'","digest":"' + rng.bytes(32).hex().encode() + b'"}'
    assert KNOWN.leaks([noise, text, zstandard.ZstdCompressor().compress(text), PIXELS[:15]]) == []
