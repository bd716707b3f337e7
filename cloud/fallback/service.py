"""Second opinions: taken on or refused at the door, batched, judged on threads of their own.

Everything but the judging happens in the server's event loop, so nothing here is locked.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import math
import os
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cloud.fallback.admission import DEFERRED_PATIENCE_S, Desk
from cloud.fallback.judging import Batch, Judged, Judging, predict
from cloud.fallback.loop_lag import LoopLag
from cloud.fallback.pace import Pace
from cloud.fallback.questions import Counts, Fate, Question, Refused, Running
from cloud.fallback.shelf import Shelf
from cloud.ports.registry import FullPrecision, SecondModel
from contract.decode import Prediction
from contract.errors import BadImage, DeadlinePassed, TransientError

_log = logging.getLogger(__name__)

# A deferred question's image may come over a slow line: at the least rate that the server's door lets pass, 16 MiB take hours.
_UPLOAD_S = 900.0
# Of the time that is left: for the way here and back, which this side does not see.
_WAY_SHARE, _WAY_LEAST_S = 0.1, 0.004
_LONGEST_S = 60.0
_MEASURED = 3
_NICE = 5
_MEASURE_AGAIN_S = 1.0


class Busy(TransientError):
    """A question that is not taken on, or was dropped; ask again after `retry_after_s`."""

    def __init__(self, message: str, retry_after_s: int, cause: str) -> None:
        super().__init__(message, hint=f"ask again in {retry_after_s} s")
        self.retry_after_s = retry_after_s
        self.cause = cause


@dataclass(frozen=True, slots=True)
class Asked:
    """What a station asks: within how many seconds, None where it does not say; `size_bytes` of its image, as announced."""

    station: str
    bundle: str
    within_s: float | None
    deferred: bool
    size_bytes: int


@dataclass(slots=True)
class _Open:
    """A question on the desk, and who waits for its answer."""

    model: SecondModel
    answer: asyncio.Future[Prediction]
    image: bytes = b""


class FallbackService:
    """Gives second opinions by `models`. `decode` makes pixels of an image's bytes, and `count` says how many; both run on
    the workers' threads."""

    def __init__(
        self,
        models: FullPrecision,
        decode: Callable[[bytes], NDArray[np.uint8]],
        count: Callable[[bytes], int],
        now: Callable[[], float],
        *,
        workers: int,
        max_batch: int,
        max_wait_s: float,
        deadline_s: float,
        max_bytes: int,
        on_asked: Callable[[str, str, int], None] = lambda _station, _what, _size_bytes: None,
    ) -> None:
        """`now` is monotonic, in seconds. `deadline_s` is for stations that do not say theirs. `on_asked(station, what, bytes)`
        is told what each question came to: "answered", "refused" or "dropped"."""
        self._judging = Judging(decode, count, now)
        self._now, self._deadline_s, self._max_batch = now, deadline_s, max_batch
        self._pace = Pace()
        self._desk = Desk(self._pace, workers=workers, max_bytes=max_bytes, max_wait_s=max_wait_s)
        self._max_wait_s = max_wait_s
        self._shelf = Shelf(models, now, on_loaded=self._measure, on_gone=self._pace.forget)
        self._workers = ThreadPoolExecutor(workers, "second opinion", initializer=_yield_to_the_door)
        self._open: dict[int, _Open] = {}
        self._numbers = itertools.count(1)
        self._on_asked = on_asked
        self._measured_at: dict[str, float] = {}
        self._lag = LoopLag(now)
        self.unready = 0

    @property
    def counts(self) -> Counts:
        """What was asked and what became of it. `unready` beside it counts questions whose model was not there."""
        return self._desk.counts

    @property
    def waiting(self) -> int:
        """How many questions wait just now."""
        return self._desk.waiting

    async def ask(
        self, asked: Asked, read: Callable[[], Awaitable[bytes]], gone: Callable[[], Awaitable[None]]
    ) -> tuple[Prediction, str]:
        """Return (prediction, version of the model).

        Args:
            read: gives the image; not called when the question is refused.
            gone: returns when the asker hung up.
        Raises:
            Busy: it is refused, or dropped.
            NotFound: the bundle has no full-precision model.
            BadImage: the image is none.
        """
        began_s = self._now()
        allowed_s, useless_s = self._allowed_s(asked)
        due_at = began_s + allowed_s
        try:
            until = began_s + DEFERRED_PATIENCE_S if asked.deferred else due_at
            model = await self._shelf.get(asked.bundle, until, deferred=asked.deferred)
        except TransientError:
            self.unready += 1
            self._on_asked(asked.station, "refused", 0)
            raise
        room = self._max_batch if model.batches else 1
        question = Question(
            next(self._numbers),
            asked.station,
            asked.bundle,
            room,
            due_at,
            asked.size_bytes,
            asked.deferred,
            began_s + useless_s,
        )
        refusal = self._desk.offer(question, self._now())
        if refusal is not None:
            if refusal.cause is Refused.LATE:
                self._measure_if_idle(asked.bundle, model)
            self._on_asked(asked.station, "refused", 0)
            raise Busy(refusal.cause.value, refusal.retry_after_s, refusal.cause.name.lower())
        waits = self._open[question.number] = _Open(model, asyncio.get_running_loop().create_future())
        try:
            prediction = await self._answer(question, waits, read, gone)
        except BaseException:
            self._on_asked(asked.station, "dropped", len(waits.image))
            raise
        finally:
            # Still on the desk: its asker hung up while the image came, or the server is going down.
            if self._desk.leave(question.number, Fate.GONE):
                self._dispatch()  # somebody may have been held for it
            del self._open[question.number]
            if not waits.answer.cancel() and not waits.answer.cancelled():
                waits.answer.exception()  # told by other means
        self._on_asked(asked.station, "answered", len(waits.image))
        return prediction, model.version

    def close(self) -> None:
        """Judge nothing any more."""
        self._shelf.close()
        self._workers.shutdown(wait=False, cancel_futures=True)

    def _allowed_s(self, asked: Asked) -> tuple[float, float]:
        """Return within how many seconds an answer should be there, and after how many it serves nobody."""
        if asked.deferred:
            return _UPLOAD_S, math.inf
        within_s = min(self._deadline_s if asked.within_s is None else asked.within_s, _LONGEST_S)
        # The loop came late to this question, or will come late to its answer.
        left_s, way_s = within_s - self._lag.seconds(), max(_WAY_SHARE * within_s, _WAY_LEAST_S)
        return left_s - way_s, left_s - way_s / 2

    async def _answer(
        self,
        question: Question,
        waits: _Open,
        read: Callable[[], Awaitable[bytes]],
        gone: Callable[[], Awaitable[None]],
    ) -> Prediction:
        try:
            waits.image = await asyncio.wait_for(read(), max(question.due_at - self._now(), 0.0))
        except asyncio.TimeoutError as error:
            self._desk.leave(question.number, Fate.LATE)
            raise Busy("the image did not come in time", 1, "late") from error
        if not self._desk.arrived(question, len(waits.image), self._now()):
            raise Busy("the image came too late", 1, "late")
        loop = asyncio.get_running_loop()
        hung_up = asyncio.ensure_future(gone())
        hung_up.add_done_callback(lambda done: None if done.cancelled() else self._drop(question.number, Fate.GONE))
        left_s = DEFERRED_PATIENCE_S if question.deferred else max(question.due_at - self._now(), 0.0)
        overdue = loop.call_later(left_s, self._dispatch)
        try:
            self._dispatch()
            return await waits.answer
        finally:
            hung_up.cancel()
            overdue.cancel()

    def _drop(self, number: int, fate: Fate) -> None:
        if self._desk.leave(number, fate) and not (answer := self._open[number].answer).done():
            answer.set_exception(Busy("its time has passed", 1, fate.value))

    def _dispatch(self) -> None:
        """Drop what is late, and give every free worker something to do."""
        for number in self._desk.overdue(self._now()):
            self._drop(number, Fate.LATE)
        loop = asyncio.get_running_loop()
        while (taken := self._desk.take(self._now())) is not None:
            batch, running = taken
            opened = [self._open[each.number] for each in running.questions]
            # Alone and for later: nobody is late by it, however long it takes.
            due_at = math.inf if running.questions[0].deferred else min(each.due_at for each in running.questions)
            asked = Batch(tuple(each.image for each in opened), due_at, running.ends_at - running.began_at)
            work = loop.run_in_executor(self._workers, self._judging.judge, opened[0].model, asked)
            work.add_done_callback(lambda done, b=batch, r=running: self._tell(b, r, done))  # type: ignore[misc]
        if self._desk.holds:
            loop.call_later(max(self._max_wait_s, 0.001), self._dispatch)

    def _tell(self, batch: int, running: Running, done: asyncio.Future[Judged]) -> None:
        error = None if done.cancelled() else done.exception()
        outcomes: Sequence[Prediction | BaseException]
        huge_s = 0.0
        if done.cancelled() or error is not None:
            outcomes = [error or DeadlinePassed("the server is going down")] * len(running.questions)
        else:
            outcomes, huge_s = done.result().outcomes, done.result().huge_s
        now = self._now()
        # An answer that comes too late tells the station nothing, and would tell us that all is well.
        outcomes = [
            Busy("its time passed while it was judged", 1, "late")
            if isinstance(each, Prediction) and now > question.useless_at
            else each
            for question, each in zip(running.questions, outcomes, strict=True)
        ]
        # What a huge image took to be read is nothing to expect of the next batch.
        self._desk.finished(batch, [_fate(each) for each in outcomes], now - huge_s)
        for question, outcome in zip(running.questions, outcomes, strict=True):
            waits = self._open.get(question.number)
            if waits is None or waits.answer.done():
                continue
            if isinstance(outcome, Prediction):
                waits.answer.set_result(outcome)
            else:
                waits.answer.set_exception(outcome if isinstance(outcome, BadImage | Busy) else _failed(outcome))
        self._dispatch()

    def _measure(self, bundle: str, model: SecondModel) -> None:
        """Learn what a model's batches take, before anybody's answer depends on it."""
        self._measure_sizes(bundle, model, {1: _MEASURED, self._max_batch if model.batches else 1: _MEASURED})

    def _measure_sizes(self, bundle: str, model: SecondModel, times: dict[int, int]) -> None:
        asyncio.get_running_loop().run_in_executor(self._workers, self._time, model, times).add_done_callback(
            lambda done: None if done.cancelled() or done.exception() else self._learn(bundle, done.result())
        )

    def _time(self, model: SecondModel, times: dict[int, int]) -> list[tuple[int, float]]:
        took: list[tuple[int, float]] = []
        for size, count in times.items():
            blank = {place: model.blank() for place in range(size)}
            for _ in range(count):
                began_s = self._now()
                predict(model, blank)
                took.append((size, self._now() - began_s))
        return took

    def _learn(self, bundle: str, took: list[tuple[int, float]]) -> None:
        self._pace.forget(bundle)
        for size, took_s in took:
            self._pace.note(bundle, size, took_s)

    def _measure_if_idle(self, bundle: str, model: SecondModel) -> None:
        """Measure anew what is refused though nothing is to do: a slow minute must not be believed for ever."""
        now = self._now()
        idle = not self._desk.waiting and not self._desk.running
        if idle and now - self._measured_at.get(bundle, -_MEASURE_AGAIN_S) >= _MEASURE_AGAIN_S:
            self._measured_at = {bundle: now}
            self._measure_sizes(bundle, model, {1: 1})  # one: the next who asks waits for it


def _yield_to_the_door() -> None:
    """Let this thread give way to the server's loop: who is refused must hear of it at once, whatever is judged meanwhile."""
    with contextlib.suppress(OSError, AttributeError):
        # Linux has a priority for each thread (setpriority(2)); other systems judge no less well without.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)


def _fate(outcome: Prediction | BaseException) -> Fate:
    if isinstance(outcome, Prediction):
        return Fate.ANSWERED
    if isinstance(outcome, Busy):
        return Fate.LATE
    return Fate.UNREADABLE if isinstance(outcome, BadImage) else Fate.FAILED


def _failed(error: BaseException) -> TransientError:
    _log.error("a second opinion was not had: %s", error)
    return TransientError(f"the full-precision model failed: {error}"[:300])
