"""A job in a process of its own: its progress passed on, its error raised here, and no orphan left."""

from __future__ import annotations

import subprocess
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from cloud.retrain.progress import JobFailure, OnProgress, as_error, parse_line
from contract.errors import PlumblineError, TransientError

Explain = Callable[[int, Sequence[str]], PlumblineError]
"""Makes the error for a child that ended without saying why, from its exit code and the last lines it printed."""

_LAST_LINES = 5
# torchrun ends with a report of some forty lines on the process that failed.
_KEPT_LINES = 80
_END_S = 40.0


class JobOutput:
    """What a job prints, line by line: progress goes on, the first failure and the last other lines are kept."""

    def __init__(self, on_progress: OnProgress) -> None:
        self._on_progress = on_progress
        self.failure: JobFailure | None = None
        self.said: deque[str] = deque(maxlen=_KEPT_LINES)

    def take(self, text: str) -> None:
        """Take one line."""
        line = parse_line(text)
        if line is None:
            if text.strip():
                self.said.append(text.strip())
        elif line.progress is not None:
            self._on_progress(line.progress)
        elif line.failure is not None:
            self.failure = self.failure or line.failure


def run_child(
    command: Sequence[str],
    on_progress: OnProgress,
    *,
    environment: Mapping[str, str] | None = None,
    explain: Explain | None = None,
) -> None:
    """Run `command` until it ends.

    Args:
        environment: variables to set for it, beside those of this process.
    Raises:
        PlumblineError: what the job raised, of its own class; else what `explain` says (TransientError without one).
    """
    # Threads of torch that spin at every barrier starve each other, and the stations, on a busy machine: a training step took
    # 1,003 ms of wall time spinning and 146 ms waiting on two shared cores. OpenMP reads this when the process starts.
    settings = {"OMP_WAIT_POLICY": "PASSIVE", **(environment or {})}
    full = ["env", *(f"{name}={value}" for name, value in settings.items()), *command]
    output = JobOutput(on_progress)
    # stderr joins stdout: two pipes read in turn can block the child on the one that is not read.
    with subprocess.Popen(
        full, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        try:
            if process.stdout is not None:
                for text in process.stdout:
                    output.take(text)
            process.wait()
        except BaseException:
            # Whoever stops the parent does not want an orphan at work. torchrun passes the signal on and waits for its workers.
            _end(process)
            raise
    if output.failure is not None:
        raise as_error(output.failure)
    if process.returncode != 0:
        raise (explain or _ended(command))(process.returncode, list(output.said))


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        process.kill()


def last_words(said: Sequence[str]) -> str:
    """Return the last lines a job printed, on one line."""
    return " | ".join(list(said)[-_LAST_LINES:]) or "it said nothing"


def _ended(command: Sequence[str]) -> Explain:
    def explain(code: int, said: Sequence[str]) -> PlumblineError:
        return TransientError(
            f"'{' '.join(command[:3])} ...' ended with {code}: {last_words(said)}",
            hint="it was killed or ran out of memory; run it again, training with --resume",
        )

    return explain
