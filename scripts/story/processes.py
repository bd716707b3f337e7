"""The processes of the demo: started, watched, killed, and never left behind."""

from __future__ import annotations

import atexit
import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

from contract.errors import PlumblineError, RefusedError

_OWN_PORTS = range(20_000, 32_768)


class StepFailed(RefusedError):
    """A step of the story did not come out as promised."""


def free_port() -> int:
    """Return a TCP port on loopback that nobody holds, and that this returns to no other process while this one lives.

    It lies below those that the system gives to whoever connects or listens on port 0, so it is still free when it is taken
    seconds later.

    Raises:
        StepFailed: there is none.
    """
    for port in random.sample(_OWN_PORTS, len(_OWN_PORTS)):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            _claim(port)
            return port
    raise StepFailed(f"no port of {_OWN_PORTS[0]} to {_OWN_PORTS[-1]} is free", hint="end what holds them")


def _claim(port: int) -> None:
    """Keep a port from other processes that ask for one, too: Linux has names of sockets that end with their process.

    Raises:
        OSError: another has it.
    """
    if sys.platform == "linux":
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            claim.bind(f"\0plumbline port {port}")
        except OSError:
            claim.close()
            raise
        atexit.register(claim.close)


class Process:
    """A long-running process in a group of its own, its output in a file."""

    def __init__(
        self, name: str, command: list[str], log: Path, extra_environment: dict[str, str] | None = None
    ) -> None:
        self.name, self._command, self._log = name, command, log
        self._environment = {**os.environ, **(extra_environment or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self._output: IO[bytes] | None = None

    def start(self) -> None:
        """Start it, or start it again; output is appended."""
        self._output = self._log.open("ab")
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            env=self._environment,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def alive(self) -> bool:
        """Return whether it runs."""
        return self._process is not None and self._process.poll() is None

    def check_alive(self) -> None:
        """Raise StepFailed with the end of its output when it died by itself."""
        if self._process is not None and (code := self._process.poll()) is not None:
            raise StepFailed(f"{self.name} ended with code {code}: {self.tail()}", hint=f"its output is in {self._log}")

    def wait(self) -> int:
        """Wait for its end and return its exit code."""
        process = self._process
        return 0 if process is None else process.wait()

    def kill(self) -> None:
        """Kill -9: no goodbye, no flush."""
        self._signal(signal.SIGKILL, within_s=10.0)

    def stop(self, within_s: float = 15.0) -> None:
        """Ask it to end; kill it when it does not in time."""
        self._signal(signal.SIGTERM, within_s)
        if self._output is not None:
            self._output.close()
            self._output = None

    def tail(self, lines: int = 3) -> str:
        """Return the last lines of its output."""
        text = self._log.read_text(errors="replace").splitlines() if self._log.exists() else []
        return " | ".join(text[-lines:])

    def _signal(self, number: signal.Signals, within_s: float) -> None:
        process = self._process
        if process is None:
            return
        self._process = None
        if process.poll() is not None:
            return
        os.killpg(process.pid, number)
        try:
            process.wait(within_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def tool(name: str) -> str:
    """Return the path of a command installed beside this interpreter."""
    return str(Path(sys.executable).with_name(name))


def run_tool(command: list[str], *, accept: tuple[int, ...] = (0,)) -> str:
    """Run one of the product's commands and return what it printed.

    Raises:
        StepFailed: its exit code is not in `accept`; the message is the command's own.
    """
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in accept:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        shown = " ".join([Path(command[0]).name, *command[1:3]])
        raise StepFailed(f"'{shown}' ended with code {done.returncode}: {' | '.join(said[-3:])}")
    return done.stdout


def wait_until(what: str, is_so: object, within_s: float, watch: list[Process], every_s: float = 0.25) -> float:
    """Wait until `is_so()` is true and return how many seconds that took.

    Raises:
        StepFailed: not within `within_s`, or a watched process died.
    """
    assert callable(is_so)
    begun = time.monotonic()
    last = ""
    while (passed := time.monotonic() - begun) < within_s:
        for process in watch:
            process.check_alive()
        try:
            if is_so():
                return passed
        except PlumblineError as error:
            if not error.retry:
                raise
            last = f"; last: {error.one_line()}"
        time.sleep(every_s)
    raise StepFailed(f"{what}: not within {within_s:.0f} s{last}")


def start_broker(folder: Path, port: int) -> Process:
    """Return a started mosquitto on loopback that keeps sessions and retained messages over a restart."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "mosquitto.conf"
    lines = [
        f"listener {port} 127.0.0.1",
        "allow_anonymous true",
        "persistence true",
        f"persistence_location {folder}/",
        "autosave_interval 1",
        "max_queued_messages 100000",
        # Started by root, mosquitto would change to a user that may not write here.
        *(["user root"] if os.geteuid() == 0 else []),
    ]
    config.write_text("\n".join(lines) + "\n")
    return run_broker(config, port, folder / "mosquitto.log")


def run_broker(config: Path, port: int, log: Path) -> Process:
    """Return a started mosquitto with this configuration, once it listens at `port` of loopback."""
    broker = Process("broker", [tool("mosquitto"), "-c", str(config)], log)
    broker.start()

    def answers() -> bool:
        with socket.socket() as probe:
            probe.settimeout(0.5)
            return probe.connect_ex(("127.0.0.1", port)) == 0

    wait_until("the broker answers", answers, 60.0, [broker])
    return broker
