"""A camera that counts by itself: plays the Python that has `gi` for a GStreamer source (agent/sources/gst_worker.py).

As `source.gst_python` it is an executable file, made by `write_counting_camera`. Every image it hands over is first counted
with one byte written into `seen`, so that a test knows how many there were, whatever becomes of the agent.
"""

from __future__ import annotations

import sys
from pathlib import Path

_PROGRAM = """\
#!{python} -IS
import os, struct, sys, time
if sys.argv[3] == "--check":
    sys.exit(0)
head, side, pause_s = struct.Struct("<cIIIQQI"), 32, {pause_s!r}
seen = os.open({seen!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
count, due = 0, time.monotonic()
while os.read(0, 1):
    due = max(due + pause_s, time.monotonic())
    time.sleep(max(0.0, due - time.monotonic()))
    count += 1
    pixels = bytes((180 + (at * 7 + count * 13) % 70 for at in range(side * side)))
    os.write(seen, b"x")
    whole = head.pack(b"F", side, side, 1, int(time.monotonic() * 1e6), count, len(pixels)) + pixels
    while whole:
        whole = whole[os.write(1, whole):]
"""


def write_counting_camera(path: Path, seen: Path, *, fps: float) -> Path:
    """Write the program to `path`; return `path`. It gives at most `fps` images a second, each when it is asked for one."""
    path.write_text(_PROGRAM.format(python=sys.executable, seen=str(seen), pause_s=1.0 / fps))
    path.chmod(0o755)
    return path
