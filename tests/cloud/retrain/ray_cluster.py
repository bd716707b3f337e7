"""A Ray cluster of one node for tests, with ports and a folder of its own, that leaves no process behind."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil

# Inherited by every process of the cluster, whatever it calls itself: how they are found again.
_MARK = "PLUMBLINE_TEST_RAY"
_PORTS = (
    "port",
    "dashboard-port",
    "dashboard-agent-listen-port",
    "dashboard-agent-grpc-port",
    "ray-client-server-port",
)


@contextlib.contextmanager
def ray_cluster(cpus: int = 2) -> Iterator[str]:
    """Start a cluster, give the address of its dashboard, and stop it whatever happens."""
    # Sockets' paths hold 107 bytes at most, and Ray adds eighty: pytest's own folders are too deep.
    folder = Path(tempfile.mkdtemp(prefix="ry", dir="/tmp"))
    ports = dict(zip(_PORTS, _free_ports(len(_PORTS)), strict=True))
    binaries = Path(sys.executable).parent
    environment = {
        **os.environ,
        _MARK: str(folder),
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(Path.cwd()),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_DISABLE_IMPORT_WARNING": "1",
    }
    environment.pop("RAY_ADDRESS", None)
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--include-dashboard", "true"]
    command += ["--dashboard-host", "127.0.0.1", "--node-ip-address", "127.0.0.1", "--disable-usage-stats"]
    command += ["--num-cpus", str(cpus), "--num-gpus", "0", "--object-store-memory", "80000000"]
    command += ["--include-log-monitor", "false", "--temp-dir", str(folder)]
    command += [word for name, port in ports.items() for word in (f"--{name}", str(port))]
    try:
        started = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=False)
        assert started.returncode == 0, started.stdout[-2000:] + started.stderr[-2000:]
        yield f"http://127.0.0.1:{ports['dashboard-port']}"
    finally:
        _end(str(folder))
        shutil.rmtree(folder, ignore_errors=True)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


def _end(mark: str) -> None:
    # The raylet starts processes anew while it lives, so they are looked for until none is left.
    for _ in range(50):
        ours = [process for process in psutil.process_iter() if _is_marked(process, mark)]
        if not ours:
            return
        for process in ours:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(ours, timeout=5)


def _is_marked(process: psutil.Process, mark: str) -> bool:
    try:
        return process.environ().get(_MARK) == mark and process.pid != os.getpid()
    except psutil.Error:
        return False
