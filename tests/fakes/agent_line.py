"""Everything the frame loop touches, held in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.ports.frames import Captured
from agent.ports.recorder import Result, Sample
from agent.ports.slots import InstalledBundle
from agent.ports.source import Frame
from contract.decode import Prediction
from contract.manifest import Manifest
from contract.messages import Summary
from tests.fakes.agent_clock import HandClock
from tests.tiny_bundle import manifest_of


class ListLog:
    """Keeps what was said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)

    def fault(self, key: str, text: str) -> None:
        self.lines.append(f"{key}: {text}")


class QueueSource:
    """Gives what a test puts in: pixels, or an error to raise."""

    simulated = False
    waits = False

    def __init__(self, clock: HandClock) -> None:
        self._clock = clock
        self.queue: deque[NDArray[np.uint8] | Exception] = deque()
        self.closed = False

    def put(self, *items: NDArray[np.uint8] | Exception) -> None:
        self.queue.extend(items)

    def read(self) -> Frame | None:
        if not self.queue:
            return None
        item = self.queue.popleft()
        if isinstance(item, Exception):
            raise item
        return Frame(item, self._clock.now(), self._clock.monotonic(), "part")

    def exhausted(self) -> bool:
        return not self.queue

    def close(self) -> None:
        self.closed = True


class StraightQueue:
    """Frames of one source as the frame loop takes them, with no thread between; `drops` plays what the capture stage dropped."""

    def __init__(self, source: QueueSource) -> None:
        self._source = source
        self.drops: dict[str, int] = {}

    def take(self, within_s: float) -> Captured | None:
        try:
            frame = self._source.read()
        except Exception as fault:  # noqa: BLE001 - a test puts in what a driver may throw
            return Captured("", fault=fault)
        return Captured("", frame) if frame is not None else None

    def dropped(self, camera: str) -> Mapping[str, int]:
        return self.drops

    def exhausted(self) -> bool:
        return self._source.exhausted()


class ListRecorder:
    """Keeps what was recorded; `room` and `disk_ok` play a full queue and a broken disk."""

    def __init__(self) -> None:
        self.results: list[Result] = []
        self.samples: list[Sample] = []
        self.drops: list[tuple[str, int, str, int]] = []
        self.summaries: list[tuple[int, Summary]] = []
        self.room = True
        self.disk_ok = True

    def record(self, result: Result, sample: Sample | None) -> bool:
        if self.room:
            self.results.append(result)
            if sample is not None:
                self.samples.append(sample)
        return self.room

    def dropped(self, camera: str, window: int, cause: str, count: int, at: float) -> None:
        self.drops.append((camera, window, cause, count))

    def close_window(self, window: int, summary: Summary) -> bool:
        if self.room:
            self.summaries.append((window, summary))
        return self.room

    def has_room(self) -> bool:
        return self.room

    def healthy(self) -> bool:
        return self.disk_ok


class DictMemory:
    """Facts in a dict."""

    def __init__(self) -> None:
        self.facts: dict[str, str] = {}

    def get(self, name: str) -> str | None:
        return self.facts.get(name)

    def put(self, name: str, value: str) -> None:
        self.facts[name] = value


class BrightRuntime:
    """The tiny bundle's model in numpy; `act` may replace the scores or raise."""

    def __init__(self, act: Callable[[NDArray[Any]], NDArray[np.float32]] | None = None) -> None:
        self.act = act
        self.closed = False

    def run(self, tensor: NDArray[Any]) -> NDArray[np.float32]:
        assert not self.closed, "a closed model was run"
        if self.act is not None:
            return self.act(tensor)
        score = np.float32(20.0 * (float(tensor.mean()) - 0.5))
        return np.array([score, -score], np.float32)

    def activation_map(self, index: int) -> NDArray[np.float32] | None:
        return None

    def close(self) -> None:
        self.closed = True


class CannedFallback:
    """Answers every question the same way, `takes_s` after it was asked."""

    def __init__(self, clock: HandClock, answer: Prediction | None, takes_s: float = 0.0) -> None:
        self._clock = clock
        self.answer = answer
        self.takes_s = takes_s
        self.asked = 0
        self.given_up: list[int] = []
        self._due: dict[int, float] = {}

    def submit(self, frame: Frame, within_s: float) -> int | None:
        self.asked += 1
        self._due[self.asked] = self._clock.monotonic() + self.takes_s
        return self.asked

    def answers(self) -> list[tuple[int, Prediction | None]]:
        ready = [ticket for ticket, due in self._due.items() if due <= self._clock.monotonic()]
        for ticket in ready:
            del self._due[ticket]
        return [(ticket, self.answer) for ticket in ready]

    def give_up(self, ticket: int) -> None:
        self.given_up.append(ticket)
        self._due.pop(ticket, None)


def bundle(version: str, manifest: Manifest | None = None) -> InstalledBundle:
    """Return an installed bundle that exists in name only; `version` is its digest too."""
    return InstalledBundle(version * 8, Path("/nowhere") / version, manifest or manifest_of(b"model", version=version))


def image(level: int, seed: int = 0) -> NDArray[np.uint8]:
    """Return u8[16,16] around `level`, with a little noise so that no two seeds are equal."""
    noise = np.random.default_rng(seed).integers(-4, 5, (16, 16))
    return np.clip(level + noise, 0, 255).astype(np.uint8)
