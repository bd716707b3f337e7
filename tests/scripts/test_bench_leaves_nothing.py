"""A bench that is killed leaves no server behind: what it started dies with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# The bench's own way to start a contender, in a process that can be killed. It prints the server's number once that answers.
BENCH = """
import sys, time
from pathlib import Path
from scripts.benches import fallback
from scripts.fleet.child import Child

class Telling(Child):
    def start(self):
        super().start()
        print(self.pid, flush=True)

fallback.Child = Telling
plant = fallback.make_plant(Path(sys.argv[2]), 0.1)
with fallback.served(sys.argv[1], plant):
    print("serves", flush=True)
    time.sleep(600)
"""


def is_alive(pid: int) -> bool:
    """Return whether a process runs; one that nobody buried yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux ends a child with its parent")
@pytest.mark.parametrize("contender", ["plain", "own"])
def test_a_killed_bench_leaves_no_server_behind(contender: str, tmp_path: Path) -> None:
    command = (sys.executable, "-c", BENCH, contender, str(tmp_path))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment) as bench:
        assert bench.stdout is not None
        server = int(bench.stdout.readline())
        try:
            assert bench.stdout.readline() == "serves\n"
            assert is_alive(server)
            bench.kill()
            until = time.monotonic() + 60.0
            while is_alive(server) and time.monotonic() < until:
                time.sleep(0.02)
            assert not is_alive(server)
        finally:
            bench.kill()
            if is_alive(server):
                os.kill(server, signal.SIGKILL)
