"""Work spread over processes, with progress and an estimate of the rest on stderr."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")


def say(text: str) -> None:
    """Tell whoever waits."""
    print(text, file=sys.stderr, flush=True)


def spread(what: str, do: Callable[[Task], Result], tasks: Sequence[Task], workers: int | None = None) -> list[Result]:
    """Return `do` of every task, in order; one process a core. What a task raises ends the rest.

    Args:
        what: names the work in progress lines.
        do: a function of a module, as its name travels to other processes.
        workers: processes; None: one a core this process may use; 1: no process but this.
    """
    count = workers or len(os.sched_getaffinity(0))
    begun, results = time.perf_counter(), {}
    if count == 1:
        for number, task in enumerate(tasks):
            results[number] = do(task)
            _told(what, number + 1, len(tasks), begun)
        return [results[number] for number in range(len(tasks))]
    # Forked processes and torch's threads do not go together.
    with ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), _gently) as pool:
        waiting = {pool.submit(do, task): number for number, task in enumerate(tasks)}
        try:
            for done, future in enumerate(as_completed(waiting), 1):
                results[waiting[future]] = future.result()
                _told(what, done, len(tasks), begun)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [results[number] for number in range(len(tasks))]


def _gently() -> None:
    # Set before torch starts its threads: each worker has one core.
    os.environ["OMP_NUM_THREADS"] = "1"
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this worker when the bench is gone: one that was killed cannot tell it, and it would train on for minutes."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _told(what: str, done: int, of: int, begun: float) -> None:
    left = (time.perf_counter() - begun) / done * (of - done)
    say(f"{what}: {done} of {of}, about {left / 60:.1f} min left" if done < of else f"{what}: {of} done")
