"""How a job in a process of its own tells its parent how far it is, how it ended, and what went wrong: one JSON line each."""

from __future__ import annotations

import sys
from collections.abc import Callable

import msgspec

from contract import errors
from contract.errors import PlumblineError, RefusedError


class Progress(msgspec.Struct, frozen=True):
    """`done` of `total` in what is called `stage`, with a line for a person; while training also as figures, `left_s` being the
    seconds that the rest should take."""

    stage: str
    done: int
    total: int
    text: str
    loss: float | None = None
    images_per_s: float | None = None
    left_s: float | None = None


class JobFailure(msgspec.Struct, frozen=True):
    """An error that crossed the process border: `kind` is the class's name in contract.errors."""

    kind: str
    message: str
    hint: str


class JobLine(msgspec.Struct, frozen=True):
    """One line of a job's standard output; exactly one field is set."""

    progress: Progress | None = None
    failure: JobFailure | None = None


OnProgress = Callable[[Progress], None]


def ignore_progress(progress: Progress) -> None:
    """Say nothing."""


def print_progress(progress: Progress) -> None:
    """Print a progress line for the parent process."""
    print(msgspec.json.encode(JobLine(progress=progress)).decode(), flush=True)


def show_progress(progress: Progress) -> None:
    """Show a progress line to a person, on stderr."""
    print(f"{progress.stage}: {progress.done}/{progress.total} {progress.text}".rstrip(), file=sys.stderr, flush=True)


def run_job(work: Callable[[], object]) -> int:
    """Run a job's work; print its error, if any, for the parent. Return the exit code."""
    try:
        work()
    except PlumblineError as error:
        failure = JobFailure(type(error).__name__, error.message, error.hint)
        print(msgspec.json.encode(JobLine(failure=failure)).decode(), flush=True)
        return 1
    return 0


def parse_line(text: str) -> JobLine | None:
    """Return the job line in `text`, or None when a library printed something else there."""
    try:
        return msgspec.json.decode(text, type=JobLine)
    except (msgspec.DecodeError, ValueError):
        return None


def as_error(failure: JobFailure) -> PlumblineError:
    """Return the error that the job raised, of its own class."""
    kind = getattr(errors, failure.kind, RefusedError)
    if not (isinstance(kind, type) and issubclass(kind, PlumblineError)):
        kind = RefusedError
    return kind(failure.message, hint=failure.hint)
