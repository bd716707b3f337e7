"""TensorRT engines built in the background, by a process that may be killed, while the station goes on serving."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from agent.ports.clock import Clock
from agent.runtime.tensorrt_cache import EngineCache
from contract.errors import PlumblineError

Say = Callable[[str], None]
BuilderCommand = Callable[[Path, str, Path], Sequence[str]]

_KEYS_IN_USE = 4  # a model in charge and one on trial, for each of two cameras


class BuildPhase(str, Enum):
    """QUEUED -> BUILDING -> READY | FAILED; a key whose tries are used up is GIVEN_UP."""

    QUEUED = "queued"
    BUILDING = "building"
    READY = "ready"
    FAILED = "failed"
    GIVEN_UP = "given up"


@dataclass(frozen=True, slots=True)
class BuildState:
    """How a key's engines stand. `since` is Unix seconds of when this phase began; `why` says why it failed."""

    phase: BuildPhase
    since: float
    tries: int = 0
    why: str = ""


def builder_command(model: Path, precision: str, folder: Path) -> Sequence[str]:
    """Return the command that builds the engines of `model` into `folder`."""
    return (sys.executable, "-m", "agent.runtime.build_engine", str(model), precision, str(folder))


class EngineBuilds:
    """Builds engines one at a time, each key once; thread-safe."""

    def __init__(
        self,
        cache: EngineCache,
        clock: Clock,
        say: Say,
        *,
        within_s: float,
        command: BuilderCommand = builder_command,
        why_not: Callable[[Path], str] = lambda _model: "",
    ) -> None:
        """`within_s` is how long one build may take before it is killed; `why_not` says why `model`'s must not begin now, or ""."""
        self._cache = cache
        self._clock = clock
        self._say = say
        self._within_s = within_s
        self._command = command
        self._why_not = why_not
        self._one_at_a_time = threading.Lock()
        self._lock = threading.Lock()
        self._states: dict[str, BuildState] = {}
        self._recent: deque[str] = deque(maxlen=_KEYS_IN_USE)
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    def request(self, key: str, model: Path, precision: str, on_ready: Callable[[Path], None]) -> None:
        """Find the engines for `key`, or build them; then call `on_ready` with their folder, on a thread of this object's.

        Returns at once. `on_ready` raises PlumblineError when the engines do not load: they are deleted, and count as a failed try.
        """
        with self._lock:
            if self._stopping.is_set():
                return
            if key in self._recent:
                self._recent.remove(key)
            self._recent.append(key)
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            thread = threading.Thread(
                target=self._work, args=(key, model, precision, on_ready), name="engine-builder", daemon=True
            )
            self._threads.append(thread)
            self._states[key] = BuildState(BuildPhase.QUEUED, self._clock.now())
        thread.start()

    def states(self) -> dict[str, BuildState]:
        """Return how each key asked for of late stands."""
        with self._lock:
            return {key: state for key, state in self._states.items() if key in self._recent}

    def close(self) -> None:
        """Kill a build under way (it is no failed try) and wait for the threads."""
        self._stopping.set()
        with self._lock:
            process, threads = self._process, list(self._threads)
        if process is not None:
            _kill(process)
        for thread in threads:
            thread.join(10.0)

    def _work(self, key: str, model: Path, precision: str, on_ready: Callable[[Path], None]) -> None:
        # One at a time: two builds would each want the GPU's memory, and another camera of the same model finds this one's engines.
        with self._one_at_a_time:
            if self._stopping.is_set():
                return
            try:
                folder = self._cache.find(key) or self._build(key, model, precision)
                if folder is None:
                    return
                try:
                    on_ready(folder)
                except PlumblineError as error:
                    self._cache.discard(key)
                    self._fail(key, f"the engine does not load: {error.one_line()}")
                    return
                self._cache.confirm(key)
                self._put(key, BuildPhase.READY)
                gone = self._cache.collect_garbage(tuple(self._recent))
                if gone:
                    self._say(f"deleted {len(gone)} TensorRT engine(s) that no bundle in use needs")
            except PlumblineError as error:
                self._put(key, BuildPhase.FAILED, error.one_line())
                self._say(f"TensorRT engine {key[:12]}: {error.one_line()}")
            except Exception as error:  # noqa: BLE001 - a thread's outermost guard: a state that says "building" for ever would lie
                self._put(key, BuildPhase.FAILED, f"{type(error).__name__}: {error}")
                self._say(f"TensorRT engine {key[:12]}: {type(error).__name__}: {error}")

    def _build(self, key: str, model: Path, precision: str) -> Path | None:
        hindered = self._why_not(model)
        if hindered:
            # Not a try: the next time that the model is loaded there may be room.
            self._put(key, BuildPhase.FAILED, hindered)
            self._say(f"TensorRT engine {key[:12]} is not built: {hindered}; the present session goes on serving")
            return None
        scratch = self._cache.begin(key)
        tries, last = self._cache.tries(key)
        if scratch is None:
            self._say(f"TensorRT engine {key[:12]} is given up after {tries} tries: {last}")
            self._put(key, BuildPhase.GIVEN_UP, last)
            return None
        started_s = self._clock.monotonic()
        self._put(key, BuildPhase.BUILDING)
        self._say(
            f"building TensorRT engine {key[:12]} in the background (try {tries}); the present session serves meanwhile"
        )
        why = self._run(self._command(model, precision, scratch))
        if self._stopping.is_set():
            self._cache.abandon(key, "stopped", counts=False)
            return None
        if not why:
            try:
                folder = self._cache.publish(key)
            except PlumblineError as error:
                why = error.one_line()
            else:
                self._say(f"TensorRT engine {key[:12]} is built, in {self._clock.monotonic() - started_s:.0f} s")
                return folder
        self._fail(key, why)
        return None

    def _run(self, command: Sequence[str]) -> str:
        """Return "" when the builder ended well, else what was wrong."""
        try:
            # A process group of its own, so that what it starts dies with it; its stdin closes when this process dies.
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            return f"the builder does not start: {error.strerror or error}"
        with self._lock:
            self._process = process
        if self._stopping.is_set():
            _kill(process)
        tail: deque[bytes] = deque(maxlen=5)
        reader = threading.Thread(target=_follow, args=(process, tail), name="engine-builder-words", daemon=True)
        reader.start()
        try:
            code = process.wait(self._within_s)
            why = "" if code == 0 else f"the builder ended with {code}"
        except subprocess.TimeoutExpired:
            why = f"the build took longer than {self._within_s:g} s and was killed"
        finally:
            with self._lock:
                self._process = None
            _kill(process)
            process.wait()
            reader.join(5.0)
            for stream in (process.stdin, process.stderr):
                if stream is not None:
                    stream.close()
        words = " ".join(b" ".join(tail).decode(errors="replace").split())[-300:]
        return f"{why}: {words}" if why and words else why

    def _fail(self, key: str, why: str) -> None:
        self._cache.abandon(key, why)
        self._say(f"TensorRT engine {key[:12]} failed: {why}; the present session goes on serving")
        self._put(key, BuildPhase.FAILED, why)

    def _put(self, key: str, phase: BuildPhase, why: str = "") -> None:
        tries, _ = self._cache.tries(key)
        with self._lock:
            self._states[key] = BuildState(phase, self._clock.now(), tries, why)
            for old in [known for known in self._states if known not in self._recent]:
                del self._states[old]


def _follow(process: subprocess.Popen[bytes], tail: deque[bytes]) -> None:
    if process.stderr is not None:
        for line in process.stderr:
            tail.append(line[-500:])


def _kill(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return
