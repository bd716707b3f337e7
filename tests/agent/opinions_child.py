"""A process that records unsure frames and asks about them until it is killed: `python opinions_child.py FOLDER URL`."""

from __future__ import annotations

import itertools
import random
import sys
import threading
import time
from pathlib import Path

import httpx
import numpy as np

from agent.clock import SystemClock
from agent.ports.policy import ImagesLeave
from agent.ports.recorder import Result, Sample
from agent.second_opinions import OpinionRules, SecondOpinions
from agent.store.database import FILE_NAME, claim_boot, open_database
from agent.store.memory import SqliteMemory
from agent.store.opinions import Opinions
from agent.store.outbox import Outbox
from agent.store.recorder import GroupRecorder
from agent.store.recovery import last_closed_window, recover
from agent.store.samples import Samples
from agent.uplink.deferred import HttpOpinions
from contract.messages import Accounting, Header, SampleNote, Summary
from tests.fakes.agent_line import ListLog
from tests.tiny_bundle import manifest_of

BUNDLE = "a" * 64


def main(folder: Path, url: str) -> None:
    """Recover what the last one left, then record and ask for ever."""
    path = folder / FILE_NAME
    connection, asking = open_database(path), open_database(path)
    outbox = Outbox(connection, boot=claim_boot(connection, path))
    samples = Samples(connection, folder / "samples", max_count=30)
    recover(connection, outbox, samples, station="s1", monotonic_s=1.0, simulated=True)
    opinions = Opinions(connection, ImagesLeave.REQUESTED, max_waiting=20)
    recorder = GroupRecorder(connection, outbox, samples, ListLog(), linger_s=0.02, opinions=opinions)
    recorder.start()
    clock = SystemClock()
    loop = SecondOpinions(
        Opinions(asking, ImagesLeave.REQUESTED),
        Samples(asking, folder / "samples"),
        HttpOpinions(httpx.Client(), url, "s1", clock),
        {BUNDLE: manifest_of(b"model")}.get,
        SqliteMemory(asking),
        clock,
        ListLog(),
        OpinionRules(ImagesLeave.REQUESTED, per_hour=1e6, bytes_per_day=1e12, idle_s=0.01),
        roll=random.random,
    )
    threading.Thread(target=loop.run, args=(threading.Event(),), daemon=True).start()
    first = last_closed_window(connection) + 1
    for window in itertools.count(first):
        for n in range(20):
            note = SampleNote(f"{outbox.boot}-{window}-{n}", time.time(), "p", "scratch", 0.6, "REVIEW", "hard", 0.0)
            result = Result(window, note.captured_at, "p", "REVIEW", "unsure", "scratch", 0.6, 3.0, BUNDLE)
            recorder.record(result, Sample(note, np.full((8, 8), n, np.uint8)))
            time.sleep(0.02)
        recorder.close_window(
            window,
            Summary(Header("s1", "", 0, 1.0, 2.0, 3.0, True, BUNDLE), Accounting(captured=20, review={"unsure": 20})),
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
