"""One image of 40 megapixels among others: it alone is refused, with why, and nobody beside it or after it is late by it."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Coroutine
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cloud.api.images import count_pixels, read_pixels
from cloud.fallback.judging import Batch, Judging
from cloud.fallback.questions import Fate
from cloud.fallback.reading import Reading
from cloud.fallback.service import Asked, Busy, FallbackService
from contract.decode import Prediction
from contract.errors import BadImage, PlumblineError
from contract.manifest import Label, LabelKind
from contract.preprocess import PreprocessSpec, preprocess

SPEC = PreprocessSpec(height=8, width=8, channels=1, mean=(0.0,), std=(1.0,))
GOOD = Label("good", LabelKind.GOOD)


def png(width: int, height: int, level: int = 90) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), (level, level, level)).save(file, "PNG", compress_level=1)
    return file.getvalue()


@pytest.fixture(scope="module")
def huge() -> bytes:
    """Forty megapixels in a hundredth of the bytes that are allowed."""
    image = png(8_000, 5_000)
    assert len(image) < 16 << 20
    return image


SMALL = png(64, 48)


class Model:
    """Says how bright an image is."""

    version, batches = "v1", True

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def tensor(self, pixels: NDArray[np.uint8]) -> NDArray[Any]:
        return preprocess(pixels, SPEC)

    def blank(self) -> NDArray[Any]:
        return np.zeros((1, 1, 8, 8), np.float32)

    def predict(self, tensors: NDArray[Any]) -> list[Prediction | PlumblineError]:
        if tensors.any():
            self.sizes.append(len(tensors))
        return [Prediction(0, GOOD, float(each.mean()), 1.0) for each in tensors]


class Models:
    def __init__(self, model: Model) -> None:
        self.model = model

    def load(self, bundle: str) -> Model:
        return self.model


def service_of(model: Model) -> FallbackService:
    return FallbackService(
        Models(model), read_pixels, count_pixels, time.monotonic,
        workers=1, max_batch=4, max_wait_s=0.05, deadline_s=20.0, max_bytes=64 << 20,
    )  # fmt: skip


def run(story: Coroutine[Any, Any, None], service: FallbackService) -> None:
    try:
        asyncio.run(asyncio.wait_for(story, 60))
    finally:
        service.close()


async def ask(service: FallbackService, image: bytes, within_s: float | None, *, deferred: bool = False) -> Prediction:
    async def read() -> bytes:
        return image

    answer, _ = await service.ask(Asked("s1", "m", within_s, deferred, len(image)), read, asyncio.Event().wait)  # type: ignore[arg-type]
    return answer


def test_a_huge_image_is_refused_alone_and_those_beside_it_are_answered_in_time(huge: bytes) -> None:
    model = Model()
    service = service_of(model)

    async def timed(image: bytes, within_s: float) -> tuple[Any, float]:
        began_s = time.monotonic()
        try:
            return await ask(service, image, within_s), time.monotonic() - began_s
        except (BadImage, Busy) as error:
            return error, time.monotonic() - began_s

    async def story() -> None:
        await ask(service, SMALL, None)
        beside = [timed(SMALL, 1.0), timed(huge, 1.0), timed(SMALL, 1.0)]
        (one, one_s), (refused, _), (two, two_s) = await asyncio.gather(*beside)
        assert isinstance(refused, BadImage) and "40 megapixels take about" in refused.one_line()
        assert "scale it down" in refused.hint
        assert isinstance(one, Prediction) and isinstance(two, Prediction)
        assert max(one_s, two_s) < 1.0
        after, _ = await timed(SMALL, 1.0)
        assert isinstance(after, Prediction), "nor is the next refused for what the huge one took"

    run(story(), service)
    assert model.sizes == [1, 2, 1], "those beside it were judged together"
    fates = service.counts.fates
    assert (fates[Fate.ANSWERED], fates[Fate.UNREADABLE], fates[Fate.LATE]) == (4, 1, 0)


def test_who_has_time_is_answered_whatever_its_size_and_the_next_is_not_held_to_be_as_slow(huge: bytes) -> None:
    service = service_of(Model())

    async def story() -> None:
        await ask(service, SMALL, None)
        before_s = service._pace.batch_s("m", 1)
        assert isinstance(await ask(service, huge, None), Prediction)
        assert isinstance(await ask(service, huge, None, deferred=True), Prediction)
        assert service._pace.batch_s("m", 1) < before_s + 0.2
        assert isinstance(await ask(service, SMALL, 1.0), Prediction)

    run(story(), service)


def test_whatever_a_decoder_raises_of_one_image_is_that_images_trouble() -> None:
    def decode(image: bytes) -> NDArray[np.uint8]:
        if image == b"memory":
            raise MemoryError
        if image == b"odd":
            raise RuntimeError("no plumbline error")
        return np.full((9, 9), 90, np.uint8)

    judging = Judging(decode, len, time.monotonic)
    outcomes = judging.judge(Model(), Batch((b"a", b"memory", b"odd", b"b"), time.monotonic() + 9.0, 0.01)).outcomes
    assert [type(each) for each in outcomes] == [Prediction, MemoryError, RuntimeError, Prediction]


def test_images_of_the_usual_size_are_reckoned_with_and_not_refused() -> None:
    reading = Reading()
    assert reading.is_huge(4_000_001) and not reading.is_huge(4_000_000)
    for _ in range(64):
        reading.note(12_000_000, 0.3)
    assert not reading.is_huge(12_000_000) and not reading.is_huge(40_000_000) and reading.is_huge(48_000_001)
    assert reading.expect_s(24_000_000) == pytest.approx(0.6)
    for _ in range(8):
        reading.note(100, 5.0)  # small ones say nothing of a pixel
    assert reading.expect_s(24_000_000) == pytest.approx(0.6)


@pytest.mark.parametrize(("size", "said"), [((9_000, 5_000), "over 40 megapixels"), ((10_000, 10_000), "over 40 megap"),
                                            ((20_000, 15_000), "far more than 40 megapixels")])  # fmt: skip
def test_more_than_that_is_refused_by_its_size_before_anything_is_decoded(size: tuple[int, int], said: str) -> None:
    file = io.BytesIO()
    Image.new("1", size).save(file, "PNG")
    for look in (count_pixels, read_pixels):
        with pytest.raises(BadImage, match=said):
            look(file.getvalue())
    assert count_pixels(SMALL) == 64 * 48
