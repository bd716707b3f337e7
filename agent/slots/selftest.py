"""Runs a bundle's golden vectors in a subprocess, limited in memory and time, so a bad model cannot hurt the station (OTA-4)."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path, PurePath

from contract.errors import BadBundle, TransientError
from contract.manifest import MANIFEST_NAME, Compatibility, Manifest, decode_manifest

_COMMAND = (sys.executable, "-m", "agent", "selftest")
# Address space: what Python, numpy and a runtime map by themselves (207 MiB on x86 with ONNX Runtime), with room to spare.
_FLOOR_MIB = 768
# What a bundle was measured to take where it was gated may differ here, but not by such a factor.
_MEMORY_FACTOR = 3.0
_MOST_OUTPUT = 1 << 20
_KEPT_OUTPUT = 4096
_NICENESS = 10


class SubprocessSelfTest:
    """`plumbline-agent selftest FOLDER` with limits.

    It runs in a session of its own with no file but its output open, at a lower priority than the line, as the first to go when
    memory runs out, and is gone with all its descendants in the session when this returns. Should this process be killed first,
    it ends itself after `timeout_s`.

    Args:
        timeout_s: wall-clock limit.
        memory_mib: the most address space it may have; less where the manifest says what the bundle takes (`memory_limit_mib`).
            Set by the child on itself before it loads anything of the bundle.
        cpu_s: processor time limit, set likewise.
        command: what to run, before the folder and the limits.
        unfit: why the bundle cannot run on this station at all, in words; nothing for one that can.
        should_stop: asked often, from the thread that runs it: True when the station stops, and a self-test would outlive it.
    """

    def __init__(
        self,
        *,
        timeout_s: float = 120.0,
        memory_mib: int = 4096,
        cpu_s: int = 120,
        command: Sequence[str] = _COMMAND,
        unfit: Callable[[Compatibility], Sequence[str]] = lambda _compatibility: (),
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._timeout_s, self._memory_mib, self._cpu_s, self._command = timeout_s, memory_mib, cpu_s, tuple(command)
        self._unfit, self._should_stop = unfit, should_stop

    def run(self, folder: PurePath) -> str:
        """Return "" when the bundle in `folder` passed; otherwise what was wrong, in words for a person.

        Raises:
            TransientError: no process could be started, or `should_stop` said so: nothing is known of the bundle.
        """
        try:
            manifest = decode_manifest(Path(folder, MANIFEST_NAME).read_bytes())
        except BadBundle as error:
            return error.one_line()
        except OSError as error:
            return f"'{folder}' holds no {MANIFEST_NAME} that can be read: {error.strerror or error}"
        unfit = tuple(self._unfit(manifest.compatibility))
        if unfit:
            return f"it is not made for this station: {'; '.join(unfit)}"
        return self._run(folder, memory_limit_mib(manifest, self._memory_mib))

    def _run(self, folder: PurePath, memory_mib: int) -> str:
        limits = {"memory-mib": memory_mib, "cpu-s": self._cpu_s, "wall-s": int(self._timeout_s) + 5, "nice": _NICENESS}
        try:
            process = subprocess.Popen(
                (*self._command, str(folder), *(word for name, n in limits.items() for word in (f"--{name}", str(n)))),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                close_fds=True,
                # Not the slot: Python would put the bundle's files on its import path.
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            # Says nothing about the bundle, which must not be banned for it.
            raise TransientError(
                f"the self-test could not be started: {error.strerror or error}", hint="free memory on this machine"
            ) from error
        try:
            said, why_killed = _listen(process, time.monotonic() + self._timeout_s, self._should_stop)
        finally:
            _end(process)
        if why_killed:
            return why_killed.format(limit_s=self._timeout_s)
        if process.returncode == 0:
            return ""
        if process.returncode < 0:
            name = signal.Signals(-process.returncode).name
            return f"the self-test died of {name}" + (f": {said}" if said else "")
        return said or f"the self-test ended with code {process.returncode}"


def memory_limit_mib(manifest: Manifest, most_mib: int) -> int:
    """Return the address space for a self-test: by what the bundle was measured to take, at most `most_mib`; that if never."""
    measured = manifest.resources.memory_mib
    if measured <= 0:
        return most_mib
    return min(most_mib, int(_FLOOR_MIB + _MEMORY_FACTOR * measured))


def _listen(process: subprocess.Popen[bytes], until_s: float, should_stop: Callable[[], bool]) -> tuple[str, str]:
    """Return the last line that was said until the process ended, and why it must be killed, "" where it ended itself.

    Whatever it prints, little of it is kept; a child of its own that holds the pipe open does not keep us waiting.

    Raises:
        TransientError: `should_stop` said so.
    """
    assert process.stderr is not None
    tail, heard, open_, pipe = b"", 0, True, process.stderr.fileno()
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while True:
            left_s = until_s - time.monotonic()
            if left_s <= 0:
                return "", "the self-test hung for {limit_s:.0f} s and was killed"
            ended = _has_ended(process)
            if should_stop():
                raise TransientError("the self-test was broken off: the station stops")
            # Two ends: the process is over, and what it said has been read.
            if not open_ and not ended:
                time.sleep(min(0.02, left_s))
                continue
            ready = bool(selector.select(0 if ended else min(0.1, left_s))) if open_ else False
            if ready:
                chunk = os.read(pipe, 1 << 16)
                if chunk:
                    heard += len(chunk)
                    tail = (tail + chunk)[-_KEPT_OUTPUT:]
                    if heard > _MOST_OUTPUT:
                        return "", f"the self-test printed more than {_MOST_OUTPUT >> 20} MiB and was killed"
                    continue
                open_ = False
                selector.unregister(pipe)
            if ended:
                lines = tail.decode(errors="replace").strip().splitlines()
                return (lines[-1].removeprefix("error: ")[:300] if lines else ""), ""


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Return whether it has ended, and leave it unreaped: so long its number, and its group's, is nobody else's."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of its session's group, itself included, and reap it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    if process.stderr is not None:
        process.stderr.close()
    process.wait()
