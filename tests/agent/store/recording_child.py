"""A process that records frames until it is killed: `python recording_child.py FOLDER FRAMES_PER_S COMMIT_S [CAMERA...]`.

Each frame is written with write(2) to `seen` (`seen-CAMERA`) before it is recorded: what the test counts independently.
Every camera records on a thread of its own; without any there is the one without a name.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from agent.ports.recorder import Result
from agent.store.database import FILE_NAME, claim_boot, open_database
from agent.store.outbox import Outbox
from agent.store.recorder import GroupRecorder
from agent.store.recovery import last_closed_window, recover
from agent.store.running_mark import RunningMarks, read_marks
from agent.store.samples import Samples
from contract.messages import Accounting, Header, Summary
from tests.fakes.agent_line import ListLog

WINDOW = 40


def main(folder: Path, frames_per_s: float, commit_s: float, cameras: Sequence[str]) -> None:
    """Recover what the last one left, then record for ever; with no frames a second, only recover."""
    left = read_marks(folder)
    path = folder / FILE_NAME
    connection = open_database(path)
    outbox = Outbox(connection, boot=claim_boot(connection, path))
    samples = Samples(connection, folder / "samples")
    recover(connection, outbox, samples, station="s1", monotonic_s=1.0, simulated=True, left=left)
    first = {camera: last_closed_window(connection, camera) + 1 for camera in cameras}
    mark = RunningMarks(folder, outbox.boot, cameras)
    if not frames_per_s:
        mark.goodbye()
        return
    recorder = GroupRecorder(
        connection, outbox, samples, ListLog(), linger_s=commit_s, batch=256, mark=mark, producers=len(cameras)
    )
    recorder.start()
    lines = [
        threading.Thread(target=line, args=(recorder, folder, camera, first[camera], frames_per_s))
        for camera in cameras
    ]
    for each in lines:
        each.start()
    for each in lines:
        each.join()


def line(recorder: GroupRecorder, folder: Path, camera: str, window: int, frames_per_s: float) -> None:
    """Record one camera's frames for ever."""
    seen = os.open(folder / (f"seen-{camera}" if camera else "seen"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    while True:
        for _ in range(WINDOW):
            os.write(seen, b"x")
            result = Result(window, time.time(), "p", "PASS", "", "good", 0.9, 3.0, "b" * 64, camera=camera)
            recorder.record(result, None)
            time.sleep(1.0 / frames_per_s)
        header = Header("s1", "", 0, 1.0, 2.0, 3.0, True, "b" * 64, camera=camera)
        recorder.close_window(window, Summary(header, Accounting(captured=WINDOW, passed=WINDOW)))
        window += 1


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]), sys.argv[4:] or [""])
