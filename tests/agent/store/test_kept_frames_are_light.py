"""Kept frames are megabytes until they are written: they wait for the disk neither long nor many (P5)."""

from __future__ import annotations

import io
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from agent.ports.recorder import Result, Sample
from agent.store.database import claim_boot, open_database
from agent.store.line_queue import LineQueue
from agent.store.outbox import Outbox
from agent.store.png import encode_png
from agent.store.recorder import GroupRecorder
from agent.store.samples import Samples
from contract.messages import Accounting, Header, SampleNote, Summary
from tests.chaos.waiting import wait_for
from tests.fakes.agent_line import ListLog

_NEVER_S = 3_600.0


class _Store:
    """A recorder that gathers for an hour, and a second look at its database."""

    def __init__(self, folder: Path) -> None:
        self.connection, self.reader = (open_database(folder / "agent.sqlite") for _ in range(2))
        outbox = Outbox(self.connection, boot=claim_boot(self.connection, folder / "agent.sqlite"))
        samples = Samples(self.connection, folder / "samples")
        self.recorder = GroupRecorder(self.connection, outbox, samples, ListLog(), batch=10_000, linger_s=_NEVER_S)
        self.recorder.start()

    def rows(self) -> int:
        (count,) = self.reader.execute("SELECT COUNT(*) FROM results").fetchone()
        return int(count)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[_Store]:
    made = _Store(tmp_path)
    yield made
    assert made.recorder.stop(60.0)
    made.connection.close()
    made.reader.close()


def _result() -> Result:
    return Result(1, 1_000.0, "p", "REVIEW", "unsure", "good", 0.9, 3.0, "b" * 64)


def _sample(name: str, pixels: NDArray[np.uint8]) -> Sample:
    return Sample(SampleNote(name, 1.0, "p", "good", 0.6, "REVIEW", "hard", 0.0), pixels)


def test_a_few_megabytes_of_kept_frames_are_committed_at_once(store: _Store) -> None:
    for n in range(5):
        assert store.recorder.record(_result(), _sample(f"b-1-{n}", np.zeros((1024, 1024), np.uint8)))
    # What of them came after the four megabytes waits for the next.
    wait_for(lambda: store.rows() >= 4)


def test_what_is_committed_is_not_held_while_the_next_gathers(store: _Store) -> None:
    pixels = np.zeros((2048, 2048), np.uint8)
    gone = weakref.ref(pixels)
    assert store.recorder.record(_result(), _sample("b-1-0", pixels))
    del pixels
    wait_for(lambda: store.rows() == 1)
    assert store.recorder.record(_result(), None)  # which the recorder takes, and gathers more for an hour
    wait_for(lambda: gone() is None)


def test_the_queue_counts_the_pixels_that_wait_and_no_others() -> None:
    queue = LineQueue(4, producers=1)
    assert queue.put_result(_result(), _sample("b-1-0", np.zeros((10, 20), np.uint8))) == 1
    assert queue.put_result(_result(), None) == 2
    assert queue.put_end(1, Summary(Header("s1", "", 0, 1.0, 2.0, 3.0, True, ""), Accounting(captured=2)))
    # Half the places are for results without images.
    assert queue.put_result(_result(), _sample("b-1-1", np.zeros((30, 30), np.uint8))) == 3
    assert queue.pixel_bytes == 200
    for _ in range(4):
        queue.get(0.0)
    assert queue.empty() and queue.pixel_bytes == 0


@given(st.integers(1, 900), st.integers(1, 900), st.sampled_from([(), (3,)]), st.integers(0, 9))
def test_an_image_of_several_bands_is_read_back_as_it_was(
    height: int, width: int, depth: tuple[int], seed: int
) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, *depth), np.uint8)
    with Image.open(io.BytesIO(encode_png(pixels))) as image:
        assert np.array_equal(np.asarray(image), pixels)
