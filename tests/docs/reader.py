"""Somebody who follows a page: one bash, one folder, every command in order, and the exit code and output of each.

The ports that pages name are the only thing that is changed: other tests run on this machine, and 8080 is not theirs alone.
"""

from __future__ import annotations

import contextlib
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.docs.forked_commands import write_clients
from tests.docs.page_blocks import ROOT, Command
from tests.fixtures_broker import free_port

PORTS = ("1883", "8080", "8081", "8082", "8443", "8444", "8883", "8884", "4840", "1502")
_INIT = re.compile(r"plumbline-cloud init (?!.*--broker-port)(?!.*--secure)")
_SECURE_INIT = re.compile(r"plumbline-cloud init (?!.*--broker-port)(?=.*--secure)")
_MARK = "\x01"
PATIENCE_S = 600.0


class Desk:
    """What all pages share: the process that commands are forked from, and the ports of this run."""

    def __init__(self, folder: Path) -> None:
        self.bin, address = folder / "bin", folder / "fork.sock"
        self.ports = {port: str(free_port()) for port in PORTS}
        write_clients(self.bin, address)
        broker = ROOT / ".venv/bin/mosquitto"
        shell = f'#!/bin/sh\nexec {broker if broker.exists() else shutil.which("mosquitto")} "$@"\n'
        (self.bin / "mosquitto").write_text(shell)
        (self.bin / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        for name in ("mosquitto", "python"):
            (self.bin / name).chmod(0o755)
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("PLUMBLINE_", "PYTEST_"))},
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "LC_ALL": "C.UTF-8",
            "COLUMNS": "100",
        }
        self._log = folder / "fork.log"
        with self._log.open("ab") as log:
            command = (sys.executable, "-m", "tests.docs.forked_commands", str(address))
            self._process = subprocess.Popen(command, cwd=ROOT, env=self.environment, stdout=log, stderr=log)
        until = time.monotonic() + PATIENCE_S
        while not address.exists():
            assert time.monotonic() < until and self._process.poll() is None, self._log.read_text()
            time.sleep(0.05)

    def on_these_ports(self, text: str) -> str:
        """Return a command with this run's ports in place of the page's."""
        text = _INIT.sub("plumbline-cloud init --api-port 8080 --broker-port 1883 ", text)
        doors = "--broker-port 8884 --station-port 8883 --device-port 8444"
        doors += "" if "--api-port" in text else " --api-port 8080"
        text = _SECURE_INIT.sub(f"plumbline-cloud init {doors} ", text)
        return re.sub(rf"(?<![\d.])({'|'.join(PORTS)})(?![\d.])", lambda found: self.ports[found[0]], text)

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait()


@dataclass
class _Background:
    name: str
    process: subprocess.Popen[bytes]
    log: Path


@dataclass(frozen=True, slots=True)
class Seen:
    """What a command came to."""

    code: int
    output: str
    took_s: float


@dataclass
class Reader:
    """One page's shell in `folder`."""

    desk: Desk
    folder: Path
    _backgrounds: list[_Background] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._shell = subprocess.Popen(
            ("bash", "--noprofile", "--norc"), cwd=self.folder, env=self.desk.environment, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def type(self, command: Command) -> Seen:
        """Type a command, and return what it came to."""
        began = time.monotonic()
        typed = self.desk.on_these_ports(command.text)
        assert self._shell.stdin is not None
        self._shell.stdin.write(f"{{ {typed}\n}} </dev/null\nprintf '\\n{_MARK}%s\\n' $?\n".encode())
        self._shell.stdin.flush()
        output: list[str] = []
        while True:
            try:
                line = self._lines.get(timeout=max(0.01, began + PATIENCE_S - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"{command.text}: no end after {PATIENCE_S:.0f} s:\n" + "".join(output)) from None
            assert line is not None, f"the shell ended at: {command.text}\n" + "".join(output)
            if line.startswith(_MARK):
                return Seen(int(line[1:]), "".join(output).strip("\n"), time.monotonic() - began)
            output.append(line)

    def leave_running(self, name: str, command: Command) -> None:
        """Start what runs on until the page ends, as in a terminal of its own, and wait until it says that it is ready."""
        log = self.folder / f".{name}.log"
        said_before = len(log.read_text(errors="replace")) if log.exists() else 0
        with log.open("ab") as file:
            process = subprocess.Popen(
                ("bash", "-c", f"exec {self.desk.on_these_ports(command.text)}"), cwd=self.folder, stdout=file, stderr=file,
                stdin=subprocess.DEVNULL, env=self.desk.environment, start_new_session=True,
            )  # fmt: skip
        self._backgrounds.append(_Background(name, process, log))
        until = time.monotonic() + PATIENCE_S
        while command.ready not in (said := log.read_text(errors="replace")[said_before:]):
            assert process.poll() is None, f"{command.text}: ended with {process.returncode}:\n{said}"
            assert time.monotonic() < until, f"{command.text}: never said '{command.ready}':\n{said}"
            time.sleep(0.05)

    def said(self) -> str:
        """Return what ran in the background said, for a message."""
        return "".join(f"--- {b.name}\n{b.log.read_text(errors='replace')[-2000:]}" for b in self._backgrounds)

    def close(self) -> dict[str, int]:
        """Press Ctrl-C in every terminal, the latest first, and return how each program ended."""
        ended = {}
        for background in reversed(self._backgrounds):
            if background.process.poll() is None:
                background.process.send_signal(signal.SIGINT)
            ended[background.name] = background.process.wait(PATIENCE_S)
        self._backgrounds.clear()
        os.killpg(self._shell.pid, signal.SIGKILL)
        self._shell.wait(PATIENCE_S)
        self._listener.join(PATIENCE_S)
        for pipe in (self._shell.stdin, self._shell.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        return ended

    def _listen(self) -> None:
        assert self._shell.stdout is not None
        for line in self._shell.stdout:
            self._lines.put(line.decode("utf-8", "replace"))
        self._lines.put(None)


_NUMBER = re.compile(r"[0-9a-f]{8,}|\d+(?:[.,:TZ-]+\d+)*Z?")
_SHOWN = re.compile(rf"(\.\.\.|{_NUMBER.pattern}|\s+)")


def pattern(shown: str, *, exact: bool = False) -> re.Pattern[str]:
    """Return what a shown line stands for: its words, with any number, hash, time and column width; "..." is anything.

    `exact`: its own numbers, and nothing before or behind them.
    """
    pieces = []
    for word in _SHOWN.split(shown.strip()):
        if word == "...":
            pieces.append(".*")
        elif _NUMBER.fullmatch(word) and not exact:
            pieces.append(f"(?:{_NUMBER.pattern})")
        elif word.isspace():
            pieces.append(r"\s+")
        else:
            pieces.append(re.escape(word))
    return re.compile("".join(("^", *pieces, "$") if exact else pieces))


def missing(shown: tuple[str, ...], output: str, *, exact: bool = False) -> str | None:
    """Return the first shown line that the output has not, in the order shown; None when it has them all."""
    lines = iter(output.splitlines())
    for line in shown:
        wanted = pattern(line, exact=exact)
        if not any(wanted.search(each.strip()) for each in lines):
            return line
    return None
