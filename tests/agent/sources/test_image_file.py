"""Every kind of image file, good and bad."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from agent.sources.image_file import part_of, read_image, read_image_file
from contract.errors import BadImage

FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP")
RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (20, 30), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)


def file_of(pixels: Any, kind: str, **options: Any) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    body = io.BytesIO()
    image.save(body, kind, **options)
    return body.getvalue()


@pytest.mark.parametrize("kind", ("PNG", "BMP", "TIFF"))
def test_lossless_files_give_their_pixels_back(kind: str) -> None:
    for pixels in (GREY, COLOUR):
        read = read_image(file_of(pixels, kind), "x")
        assert read.dtype == np.uint8 and read.flags.c_contiguous
        np.testing.assert_array_equal(read, pixels)


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_read(kind: str) -> None:
    assert read_image(file_of(COLOUR, kind), "x").shape == (20, 30, 3)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("share", (0.3, 0.9))
def test_truncated_file_is_a_bad_image_that_is_named(kind: str, share: float) -> None:
    body = file_of(COLOUR, kind)
    with pytest.raises(BadImage) as caught:
        read_image(body[: int(len(body) * share)], "line1/part7")
    assert "line1/part7" in caught.value.message
    assert caught.value.hint


def test_empty_file_says_that_it_is_empty() -> None:
    with pytest.raises(BadImage, match="part7 is empty"):
        read_image(b"", "part7")


@pytest.mark.parametrize("body", (b"hello world " * 20, b"\x00" * 500, file_of(COLOUR, "GIF"), b"%PDF-1.7 ..."))
def test_what_is_no_known_image_is_refused(body: bytes) -> None:
    with pytest.raises(BadImage, match="no image this program can read"):
        read_image(body, "x")


@pytest.mark.parametrize("kind", ("PNG", "WEBP", "TIFF"))
def test_animations_and_pages_are_refused(kind: str) -> None:
    body = file_of(COLOUR, kind, save_all=True, append_images=[Image.fromarray(COLOUR[::-1].copy())])
    with pytest.raises(BadImage, match="several images"):
        read_image(body, "x")


def test_a_phones_jpeg_with_a_preview_is_its_first_image() -> None:
    body = file_of(COLOUR, "MPO", save_all=True, append_images=[Image.fromarray(GREY)])
    assert read_image(body, "x").shape == (20, 30, 3)


def test_sixteen_bits_are_scaled_and_not_clipped() -> None:
    wide = np.array([[0, 128, 129, 257], [32768, 65535, 65278, 65279]], np.uint16)
    expected = np.rint(wide / 257).astype(np.uint8)
    for kind in ("PNG", "TIFF"):
        np.testing.assert_array_equal(read_image(file_of(wide, kind), "x"), expected)


@pytest.mark.parametrize("dtype", (np.int32, np.float32))
def test_pixels_without_a_known_white_level_are_refused(dtype: Any) -> None:
    with pytest.raises(BadImage, match="white level"):
        read_image(file_of(np.ones((4, 4), dtype), "TIFF"), "x")


def test_alpha_is_dropped() -> None:
    alpha = RNG.integers(0, 256, (20, 30, 1), dtype=np.uint8)
    np.testing.assert_array_equal(read_image(file_of(np.dstack([COLOUR, alpha]), "PNG"), "x"), COLOUR)
    grey_alpha = Image.merge("LA", (Image.fromarray(GREY), Image.fromarray(alpha[:, :, 0])))
    np.testing.assert_array_equal(read_image(file_of(grey_alpha, "PNG"), "x"), GREY)


def test_palettes_become_rgb_with_and_without_a_transparent_entry() -> None:
    image = Image.fromarray(COLOUR).quantize(32)
    expected = np.asarray(image.convert("RGB"))
    for options in ({}, {"transparency": 3}, {"transparency": bytes(32)}):
        np.testing.assert_array_equal(read_image(file_of(image, "PNG", **options), "x"), expected)


def test_cmyk_becomes_rgb() -> None:
    white = Image.new("CMYK", (8, 8), (0, 0, 0, 0))
    for kind in ("JPEG", "TIFF"):
        assert (read_image(file_of(white, kind), "x") == 255).all()


def test_black_and_white_becomes_grey() -> None:
    image = Image.fromarray(GREY).convert("1")
    assert set(np.unique(read_image(file_of(image, "PNG"), "x"))) == {0, 255}


@pytest.mark.parametrize("size", ((8000, 6000), (20_000, 20_000)))
def test_over_40_megapixels_is_refused_before_it_is_decoded(size: tuple[int, int]) -> None:
    with pytest.raises(BadImage, match="40 megapixels"):
        read_image(file_of(Image.new("1", size), "PNG"), "x")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ("PNG", "TIFF"))
def test_exif_orientation_does_not_turn_the_part(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(read_image(file_of(COLOUR, kind, exif=exif), "x"), COLOUR)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(("JPEG", "PNG", "BMP", "WEBP")), st.data())
def test_damaged_bytes_are_an_image_or_a_bad_image_and_nothing_else(kind: str, data: st.DataObject) -> None:
    body = bytearray(file_of(GREY if data.draw(st.booleans()) else COLOUR, kind))
    for _ in range(data.draw(st.integers(1, 5))):
        body[data.draw(st.integers(0, min(len(body), 300) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert read_image(bytes(body), "x").dtype == np.uint8
    except BadImage as error:
        assert error.message.startswith("x ")


def test_a_file_that_went_away_is_a_bad_image(tmp_path: Path) -> None:
    with pytest.raises(BadImage, match="went away"):
        read_image_file(tmp_path / "gone.png", "gone.png")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_named_pipe_is_refused_and_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(BadImage, match="no regular file"):
        read_image_file(tmp_path / "pipe.png", "pipe.png")


def test_part_ids_of_undecodable_names_can_be_stored(tmp_path: Path) -> None:
    path = tmp_path / "a" / os.fsdecode(b"caf\xe9.png")
    assert part_of(path, tmp_path).encode("utf-8").startswith(b"a/caf")
