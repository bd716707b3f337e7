"""Runs a bundle's golden vectors in a subprocess, limited in memory and time, so a bad model cannot hurt the station (OTA-4)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import PurePath

from contract.errors import TransientError

_COMMAND = (sys.executable, "-m", "agent", "selftest")


class SubprocessSelfTest:
    """`plumbline-agent selftest FOLDER` with limits.

    Args:
        timeout_s: wall-clock limit; then the whole process group is killed.
        memory_mib: address space limit, set by the child on itself before it loads anything of the bundle.
        cpu_s: processor time limit, set likewise.
        command: what to run, before the folder and the limits.
    """

    def __init__(
        self,
        *,
        timeout_s: float = 120.0,
        memory_mib: int = 4096,
        cpu_s: int = 120,
        command: Sequence[str] = _COMMAND,
    ) -> None:
        self._timeout_s, self._memory_mib, self._cpu_s, self._command = timeout_s, memory_mib, cpu_s, tuple(command)

    def run(self, folder: PurePath) -> str:
        """Return "" when the bundle in `folder` passed; otherwise what was wrong, in words for a person.

        Raises:
            TransientError: no process could be started, which is no fault of the bundle's.
        """
        limits = ("--memory-mib", str(self._memory_mib), "--cpu-s", str(self._cpu_s))
        try:
            process = subprocess.Popen(
                (*self._command, str(folder), *limits),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                # Not the slot: Python would put the bundle's files on its import path.
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            raise TransientError(
                f"the self-test could not be started: {error.strerror or error}", hint="free memory on this machine"
            ) from error
        with process:
            try:
                _, stderr = process.communicate(timeout=self._timeout_s)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
                return f"the self-test hung for {self._timeout_s:.0f} s and was killed"
        if process.returncode == 0:
            return ""
        lines = stderr.decode(errors="replace").strip().splitlines()
        said = lines[-1].removeprefix("error: ")[:300] if lines else ""
        if process.returncode < 0:
            name = signal.Signals(-process.returncode).name
            return f"the self-test died of {name}" + (f": {said}" if said else "")
        return said or f"the self-test ended with code {process.returncode}"
