"""Runs a command that does not outlive the process that asked for it: a bench that is killed must leave no server behind.

usage: python -m scripts.benches.with_parent PARENT COMMAND...
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Sequence

# Source: prctl(2). It holds over execve(2).
_PR_SET_PDEATHSIG = 1


def with_parent(command: Sequence[str]) -> list[str]:
    """Return the command that runs `command` until this process ends, by whatever."""
    return [sys.executable, "-m", "scripts.benches.with_parent", str(os.getpid()), *command]


def main() -> None:
    """Become the command, unless the parent is gone already."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    with contextlib.suppress(AttributeError):  # other systems than Linux: it may be left behind there
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == parent:
        os.execvp(command[0], command)


if __name__ == "__main__":
    main()
