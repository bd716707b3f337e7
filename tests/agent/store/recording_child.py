"""A process that records frames until it is killed: `python recording_child.py FOLDER FRAMES_PER_S COMMIT_S`.

Each frame's number is written with write(2) to `seen` before it is recorded: what the test counts independently.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from agent.ports.recorder import Result
from agent.store.database import FILE_NAME, claim_boot, open_database
from agent.store.outbox import Outbox
from agent.store.recorder import GroupRecorder
from agent.store.recovery import last_closed_window, recover
from agent.store.running_mark import FILE_NAME as MARK_NAME
from agent.store.running_mark import RunningMark, read_mark
from agent.store.samples import Samples
from contract.messages import Accounting, Header, Summary
from tests.fakes.agent_line import ListLog

WINDOW = 40


def main(folder: Path, frames_per_s: float, commit_s: float) -> None:
    """Recover what the last one left, then record for ever; with no frames a second, only recover."""
    left = read_mark(folder / MARK_NAME)
    path = folder / FILE_NAME
    connection = open_database(path)
    outbox = Outbox(connection, boot=claim_boot(connection, path))
    samples = Samples(connection, folder / "samples")
    recover(connection, outbox, samples, station="s1", monotonic_s=1.0, simulated=True, left=left)
    window = last_closed_window(connection) + 1
    mark = RunningMark(folder / MARK_NAME, outbox.boot)
    if not frames_per_s:
        mark.goodbye()
        return
    recorder = GroupRecorder(connection, outbox, samples, ListLog(), linger_s=commit_s, batch=256, mark=mark)
    recorder.start()
    seen = os.open(folder / "seen", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    while True:
        for _ in range(WINDOW):
            os.write(seen, b"x")
            recorder.record(Result(window, time.time(), "p", "PASS", "", "good", 0.9, 3.0, "b" * 64), None)
            time.sleep(1.0 / frames_per_s)
        recorder.close_window(
            window,
            Summary(Header("s1", "", 0, 1.0, 2.0, 3.0, True, "b" * 64), Accounting(captured=WINDOW, passed=WINDOW)),
        )
        window += 1


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]))
