"""A station that stops, or starts anew for its settings, leaves no update behind that goes on: neither a fetch nor a self-test."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from update_plant import Plant, plant

from agent.slots.selftest import SubprocessSelfTest
from agent.update_loop import UpdateLoop


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Plant]:
    with plant(tmp_path) as made:
        yield made


class Endless:
    """A downloader whose server never comes to an end."""

    def make_ready(self, digest: str) -> int:
        return 0

    def fetch(self, digest: str, size: int, should_stop: Callable[[], bool], manifest_sha256: str = "") -> Path | None:
        while not should_stop():
            time.sleep(0.01)
        return None

    def discard(self, digest: str) -> None:
        pass


def stop_when(here: Plant, loop: UpdateLoop, state: str) -> None:
    """Run the loop in a thread, stop it in `state`, and see that the thread is gone, long before what it waits for would end."""
    stop = threading.Event()
    thread = threading.Thread(target=loop.run, args=(stop,), daemon=True)
    thread.start()
    until = time.monotonic() + 60.0
    while not here.report.said or here.report.said[-1].update_state != state:
        assert time.monotonic() < until
        time.sleep(0.01)
    time.sleep(0.2)
    stop.set()
    thread.join(30.0)
    assert not thread.is_alive() and loop.faults == 0


def test_a_fetch_ends_with_the_station_and_the_order_is_followed_at_the_next_start(here: Plant) -> None:
    bundle = here.release("1.0.0")
    envelope = here.send(here.order(bundle))
    stop_when(here, here.loop(downloader=Endless()), "DOWNLOAD")
    assert here.slots().banned() == set() and here.slots().trial() is None
    here.send(envelope)
    assert here.settle(here.loop()).update_state == "COMMITTED"


def test_a_self_test_ends_with_the_station_and_bans_nothing(here: Plant) -> None:
    bundle = here.release("1.0.0")
    envelope = here.send(here.order(bundle))
    loops: list[UpdateLoop] = []
    hang = SubprocessSelfTest(
        command=(sys.executable, "-c", "import time; time.sleep(60)"), should_stop=lambda: loops[0].stopping
    )
    loops.append(here.loop(selftest=hang))
    stop_when(here, loops[0], "SELFTEST")
    assert here.slots().banned() == set() and here.slots().trial() is None
    here.send(envelope)
    assert here.settle(here.loop()).update_state == "COMMITTED"
