"""Frames at the edges: a stop with frames waiting, a disk that is away while models come and go, a recorder that throws."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.ports.recorder import Result, Sample
from contract.messages import Probation, Summary
from tests.agent.test_frame_loop import PASS, Bench, bright
from tests.fakes.agent_line import bundle, image


def accounted(summaries: list[Summary]) -> tuple[int, int, int]:
    """Return (captured, decided, undecided) of all, each of which closes."""
    accounts = [summary.accounting for summary in summaries]
    assert all(account.closes() for account in accounts)
    return sum(a.captured for a in accounts), sum(a.decided for a in accounts), sum(a.undecided for a in accounts)


def test_frames_that_still_wait_when_a_slow_line_stops_are_late_and_not_forgotten() -> None:
    bench = Bench(installed=bundle("a"))

    def slow(_tensor: NDArray[Any]) -> NDArray[np.float32]:
        bench.clock.forward(1.5)
        return np.array([9, -9], np.float32)

    bench.runtimes["a"].act = slow
    bench.source.put(*bright(6))
    stop = threading.Event()
    stop.set()
    bench.loop.run(stop)
    assert [(result.verdict, result.cause) for result in bench.recorder.results] == [("REVIEW", "late")] * 6
    assert accounted([summary for _, summary in bench.recorder.summaries]) == (6, 6, 0)


def test_models_that_come_and_go_while_the_disk_is_away_are_never_run_once_closed() -> None:
    bench = Bench(installed=bundle("v"))
    bench.feed(image(230, 1))
    bench.recorder.room = False
    for n in range(12):
        bench.offer(bundle(f"v{n}"), Probation(frames=1, min_agreement=0.0))
        bench.feed(image(230, 100 + n))
        bench.loop.step()
        outcome = bench.outcome()
        assert outcome is not None and outcome.kept, bench.log.lines
        bench.feed(image(230, 200 + n))
    assert not [said for said in bench.log.lines if "closed model" in said or "failed" in said]
    bench.recorder.room = True
    assert bench.feed(image(230, 300)) == [PASS]
    assert bench.recorder.results[-1].bundle == "v11" * 8
    told = bench.finish()
    assert accounted(told) == (26, 2, 24)
    # Frames of several models were never sketched together.
    assert all(summary.window is None for summary in told if "several models" in summary.note)


def test_a_recorder_that_throws_costs_the_row_and_never_the_count() -> None:
    bench = Bench(installed=bundle("a"))
    whole = bench.recorder.record

    def broken(_result: Result, _sample: Sample | None) -> bool:
        raise RuntimeError("a bug")

    bench.recorder.record = broken  # type: ignore[method-assign]
    bench.source.put(*bright(3))
    while bench.source.queue:
        bench.loop.step()
    bench.recorder.record = whole  # type: ignore[method-assign]
    bench.feed(*bright(2, 3))
    assert accounted(bench.finish()) == (5, 2, 3)
    assert bench.loop.faults == 3
