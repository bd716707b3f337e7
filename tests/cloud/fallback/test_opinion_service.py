"""The service around the desk, in a real event loop with real threads, and models that do as they are told."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cloud.fallback.questions import Fate, Refused
from cloud.fallback.service import Asked, Busy, FallbackService
from contract.decode import Prediction
from contract.errors import BadImage, BadModel, DeadlinePassed, NotFound, PlumblineError, TransientError
from contract.manifest import Label, LabelKind

GOOD = Label("good", LabelKind.GOOD)


class Model:
    """Says of an image what its first byte is; 13 breaks the runtime, 17 comes to NaN. `gate` holds it up."""

    def __init__(self, version: str = "v1", *, batches: bool = True) -> None:
        self.version, self.batches = version, batches
        self.sizes: list[int] = []
        self.gate = threading.Event()
        self.gate.set()

    def tensor(self, pixels: NDArray[np.uint8]) -> NDArray[Any]:
        return pixels.reshape(1, -1)[:, :1].astype(np.float32)

    def blank(self) -> NDArray[Any]:
        return np.zeros((1, 1), np.float32)

    def predict(self, tensors: NDArray[Any]) -> list[Prediction | PlumblineError]:
        assert self.gate.wait(30)
        if tensors.any():
            self.sizes.append(len(tensors))
        if (tensors == 13).any():
            raise RuntimeError("the runtime broke")
        return [
            BadModel("NaN") if value == 17 else Prediction(0, GOOD, float(value) / 255, 1.0) for value in tensors[:, 0]
        ]


class Models:
    """Loads `Model`s by name; one that has a gate loads when that opens."""

    def __init__(self, **models: Model | PlumblineError) -> None:
        self.models, self.loads = models, list[str]()
        self.gates: dict[str, threading.Event] = {}

    def load(self, bundle: str) -> Model:
        self.loads.append(bundle)
        if bundle in self.gates:
            assert self.gates[bundle].wait(30)
        found = self.models.get(bundle, NotFound(f"no '{bundle}'"))
        if isinstance(found, PlumblineError):
            raise found
        return found


def pixels_of(image: bytes) -> NDArray[np.uint8]:
    if image == b"torn":
        raise BadImage("no image")
    return np.frombuffer(image, np.uint8)


class Bench:
    """A service and what is asked of it."""

    def __init__(self, models: Models, **more: Any) -> None:
        options = {"workers": 1, "max_batch": 4, "max_wait_s": 0.01, "deadline_s": 20.0, "max_bytes": 1 << 20}
        self.told: list[tuple[str, str]] = []
        self.service = FallbackService(
            models,
            pixels_of,
            len,
            time.monotonic,
            on_asked=lambda station, what, _: self.told.append((station, what)),
            **{**options, **more},
        )

    async def ask(
        self,
        level: int | bytes = 100,
        bundle: str = "m",
        *,
        within_s: float | None = None,
        station: str = "s1",
        deferred: bool = False,
        read: Callable[[], Awaitable[bytes]] | None = None,
        gone: Callable[[], Awaitable[None]] | None = None,
    ) -> Prediction:
        image = level if isinstance(level, bytes) else bytes([level])

        async def image_now() -> bytes:
            return image

        asked = Asked(station, bundle, within_s, deferred, len(image))
        answer, version = await self.service.ask(asked, read or image_now, gone or asyncio.Event().wait)  # type: ignore[arg-type]
        assert version.startswith("v")
        return answer


def run(story: Coroutine[Any, Any, None], *benches: Bench) -> None:
    try:
        asyncio.run(asyncio.wait_for(story, 60))
    finally:
        for bench in benches:
            bench.service.close()


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.002)


def test_images_of_one_model_are_judged_together_and_each_gets_its_own_answer() -> None:
    model = Model()
    bench = Bench(Models(m=model))

    async def story() -> None:
        await bench.ask()
        model.gate.clear()
        asked = [asyncio.create_task(bench.ask(10))]
        await until(lambda: bench.service._desk.running == 1)
        asked += [asyncio.create_task(bench.ask(level)) for level in (20, 30, 40, 50, 60)]
        await until(lambda: bench.service.waiting == 5)
        await asyncio.sleep(0.05)
        model.gate.set()
        answers = await asyncio.gather(*asked)
        assert [round(each.confidence * 255) for each in answers] == [10, 20, 30, 40, 50, 60]

    run(story(), bench)
    assert model.sizes == [1, 1, 4, 1]
    assert bench.service.counts.fates[Fate.ANSWERED] == 7
    assert bench.told == [("s1", "answered")] * 7


def test_a_graph_with_a_fixed_batch_axis_is_asked_one_by_one() -> None:
    model = Model(batches=False)
    bench = Bench(Models(m=model))

    async def story() -> None:
        await asyncio.gather(*(bench.ask(level) for level in range(1, 9)))

    run(story(), bench)
    assert model.sizes == [1] * 8


def test_what_would_come_too_late_is_refused_before_its_image_is_read() -> None:
    model = Model()
    bench = Bench(Models(m=model))

    async def read() -> bytes:
        raise AssertionError("nobody should read it")

    async def story() -> None:
        await bench.ask()
        for _ in range(24):
            bench.service._pace.note("m", 1, 0.5)  # as it was just now
            bench.service._pace.note("m", 4, 1.0)
        with pytest.raises(Busy, match="too late") as refused:
            await bench.ask(within_s=0.3, read=read)
        assert refused.value.retry and refused.value.retry_after_s >= 1
        # Refused though idle: it is measured anew, and believed no longer.
        await until(lambda: bench.service._pace.batch_s("m", 1) < 0.1)
        await bench.ask(within_s=20.0)

    run(story(), bench)
    assert bench.service.counts.refused[Refused.LATE] == 1
    assert bench.told == [("s1", "answered"), ("s1", "refused"), ("s1", "answered")]


def test_who_hung_up_is_not_judged() -> None:
    model = Model()
    bench = Bench(Models(m=model))

    async def story() -> None:
        await bench.ask()
        model.gate.clear()
        first = asyncio.create_task(bench.ask(1))
        await until(lambda: bench.service._desk.running == 1)
        gone = asyncio.Event()
        second = asyncio.create_task(bench.ask(2, gone=gone.wait))  # type: ignore[arg-type]
        await until(lambda: bench.service.waiting == 1)
        gone.set()
        with pytest.raises(Busy):
            await second
        model.gate.set()
        await first

    run(story(), bench)
    assert model.sizes == [1, 1]
    assert bench.service.counts.fates[Fate.GONE] == 1
    assert bench.service._desk.waiting_bytes == 0 and not bench.service._open


def test_an_image_that_does_not_come_and_one_that_breaks_off_are_dropped() -> None:
    bench = Bench(Models(m=Model()))

    async def never() -> bytes:
        await asyncio.sleep(60)
        return b""

    async def broken() -> bytes:
        raise ConnectionResetError("the cable")

    async def story() -> None:
        await bench.ask()
        with pytest.raises(Busy, match=r"did not come in time|its time has passed|too late"):
            await bench.ask(within_s=1.0, read=never)
        with pytest.raises(ConnectionResetError):
            await bench.ask(read=broken)
        await bench.ask()

    run(story(), bench)
    fates = bench.service.counts.fates
    assert (fates[Fate.ANSWERED], fates[Fate.LATE], fates[Fate.GONE]) == (2, 1, 1)


def test_what_waits_past_its_deadline_is_dropped_before_it_is_judged() -> None:
    model = Model()
    bench = Bench(Models(m=model))

    async def story() -> None:
        await bench.ask()
        model.gate.clear()
        first = asyncio.create_task(bench.ask(1))
        await until(lambda: bench.service._desk.running == 1)
        with pytest.raises(Busy, match="passed"):
            await bench.ask(2, within_s=1.0)
        model.gate.set()
        await first

    run(story(), bench)
    assert model.sizes == [1, 1] and bench.service.counts.fates[Fate.LATE] == 1


def test_one_bad_image_spoils_nobody_elses_answer() -> None:
    model = Model()
    bench = Bench(Models(m=model))

    async def story() -> None:
        await bench.ask()
        model.gate.clear()
        asked = [asyncio.create_task(bench.ask(each)) for each in (1, b"torn", 13, 17, 5)]
        await until(lambda: bench.service.counts.admitted == 6)
        await asyncio.sleep(0.05)
        model.gate.set()
        first, torn, broke, nan, last = await asyncio.gather(*asked, return_exceptions=True)
        assert isinstance(first, Prediction) and isinstance(last, Prediction)
        assert isinstance(torn, BadImage)
        assert isinstance(broke, TransientError) and "the runtime broke" in str(broke)
        assert isinstance(nan, TransientError) and "NaN" in str(nan)
        await bench.ask()

    run(story(), bench)
    fates = bench.service.counts.fates
    assert (fates[Fate.ANSWERED], fates[Fate.UNREADABLE], fates[Fate.FAILED]) == (4, 1, 2)


def test_a_model_that_loads_slowly_holds_nobody_else_up() -> None:
    models = Models(m=Model(), slow=Model("v2"))
    models.gates["slow"] = threading.Event()
    bench = Bench(models)

    async def story() -> None:
        await bench.ask()
        with pytest.raises(DeadlinePassed, match="being loaded"):
            await bench.ask(bundle="slow", within_s=0.2)
        patient = asyncio.create_task(bench.ask(7, bundle="slow"))
        for _ in range(5):
            await bench.ask(within_s=20.0)
        assert not patient.done()
        models.gates["slow"].set()
        assert round((await patient).confidence * 255) == 7

    run(story(), bench)
    assert models.loads == ["m", "slow"], "loaded once, however many ask"
    assert bench.service.unready == 1


def test_a_model_that_does_not_load_is_left_alone_for_a_while_and_an_unknown_one_too() -> None:
    models = Models(m=Model(), bad=BadModel("it is torn"))
    bench = Bench(models)

    async def story() -> None:
        for _ in range(3):
            with pytest.raises(TransientError, match="does not load"):
                await bench.ask(bundle="bad")
            with pytest.raises(NotFound):
                await bench.ask(bundle="none")
        await bench.ask()

    run(story(), bench)
    assert models.loads == ["bad", "none", "m"]


def test_three_models_are_kept_and_what_lines_ask_stays_before_what_is_asked_later() -> None:
    models = Models(**{name: Model() for name in "abcd"})
    bench = Bench(models)

    async def story() -> None:
        await bench.ask(bundle="a")
        await bench.ask(bundle="b", deferred=True)
        await bench.ask(bundle="c")
        await bench.ask(bundle="b", deferred=True)
        await bench.ask(bundle="d")
        await bench.ask(bundle="a")
        await bench.ask(bundle="c")
        await bench.ask(bundle="b", deferred=True)

    run(story(), bench)
    assert models.loads == ["a", "b", "c", "d", "b"]


def test_a_deferred_question_waits_for_lines_and_is_answered_when_they_rest() -> None:
    model = Model()
    bench = Bench(Models(m=model))
    order: list[str] = []

    async def one(name: str, *, deferred: bool) -> None:
        await bench.ask(deferred=deferred)
        order.append(name)

    async def story() -> None:
        await bench.ask()
        model.gate.clear()
        line = asyncio.create_task(one("line", deferred=False))
        await until(lambda: bench.service._desk.running == 1)
        later = asyncio.create_task(one("later", deferred=True))
        await until(lambda: bench.service.waiting == 1)
        lines = [asyncio.create_task(one("line", deferred=False)) for _ in range(5)]
        await until(lambda: bench.service.counts.admitted == 8)
        await asyncio.sleep(0.05)
        model.gate.set()
        await asyncio.gather(line, later, *lines)

    run(story(), bench)
    assert order == ["line"] * 6 + ["later"]


def test_an_answer_that_comes_after_its_time_is_told_as_late_and_counted_as_late() -> None:
    model = Model()
    bench = Bench(Models(m=model))

    async def story() -> None:
        await bench.ask()
        model.gate.clear()
        asked = asyncio.create_task(bench.ask(within_s=1.5))
        await until(lambda: bench.service._desk.running == 1)
        await asyncio.sleep(1.5)
        model.gate.set()
        with pytest.raises(Busy, match="passed while it was judged"):
            await asked
        await bench.ask(within_s=20.0)

    run(story(), bench)
    assert bench.service.counts.fates[Fate.LATE] == 1 and bench.service.counts.fates[Fate.ANSWERED] == 2
    assert [what for _, what in bench.told] == ["answered", "dropped", "answered"]
