"""Judges images for /v1/infer in a process of its own, at low priority.

The line's deadline comes first. A second runtime in this process would still share its interpreter lock: decoding a
40-megapixel file holds it for tens of milliseconds. So the images go through a pipe to `plumbline-agent infer --stdin`, which is
the code a person runs by hand; it starts with the first image, ends when none came for a while, and takes a crash or a
decompression bomb with it.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import threading
from collections.abc import Sequence

import msgspec

from agent.decide.causes import Cause
from agent.ports.clock import Clock
from agent.ports.local_view import AlsoSeen, Judged
from agent.ports.slots import InstalledBundle
from contract.errors import BadImage, BadModel, DeadlinePassed, TransientError

_COMMAND = (sys.executable, "-m", "agent", "infer")
_MAX_LINE = 64 << 10
_NICE = 10


class _Line(msgspec.Struct, frozen=True):
    """What `infer --stdin --json` prints of one image."""

    verdict: str
    label: str
    confidence: float
    ms: float
    cause: str = ""
    error: str = ""
    also: tuple[AlsoSeen, ...] = ()


class JudgeProcess:
    """`agent.ports.local_view.ImageJudge`; the process runs the bundle it was last asked about.

    `idle_s` after its last image it is ended, so that its memory is the station's again. Call `tidy` now and then.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        within_s: float = 8.0,
        idle_s: float = 60.0,
        blank_sd: float = 0.0,
        command: Sequence[str] = _COMMAND,
    ) -> None:
        self._clock, self._within_s, self._idle_s = clock, within_s, idle_s
        self._command = (*command, "--stdin", "--json", "--nice", str(_NICE), "--blank-sd", repr(blank_sd))
        self._process: subprocess.Popen[bytes] | None = None
        self._digest = ""
        self._last_used_s = 0.0
        self._lock = threading.Lock()

    @property
    def running(self) -> bool:
        """Whether there is a process now."""
        return self._process is not None

    def judge(self, bundle: InstalledBundle, image: bytes) -> Judged:
        """Return the verdict on the encoded image.

        Raises:
            BadImage: it is no usable image.
            BadModel: the bundle does not load there.
            DeadlinePassed: no answer came in time; the process was ended.
            TransientError: it died; ask again.
        """
        with self._lock:
            try:
                line = self._ask(bundle, image)
            except (OSError, msgspec.DecodeError, TransientError) as error:
                if isinstance(error, TransientError):
                    self._end()
                    raise
                code = self._end(grace_s=1.0)
                if code == 1:
                    raise BadModel(f"bundle {bundle.digest[:12]} does not load for the API") from error
                raise TransientError("the process that judges images died", hint="ask again") from error
            self._last_used_s = self._clock.monotonic()
        if line.error:
            raise BadModel(line.error) if line.cause == Cause.BROKEN_MODEL.value else BadImage(line.error)
        return Judged(line.verdict, line.label, line.confidence, line.ms, line.cause, also=line.also)

    def tidy(self) -> None:
        """End the process when nobody has needed it for a while."""
        with self._lock:
            if self._process is not None and self._clock.monotonic() - self._last_used_s > self._idle_s:
                self._end()

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._end()

    def _ask(self, bundle: InstalledBundle, image: bytes) -> _Line:
        until_s = self._clock.monotonic() + self._within_s
        if self._process is None or self._process.poll() is not None or self._digest != bundle.digest:
            self._end()
            self._start(bundle)
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise TransientError("the process that judges images did not start", hint="ask again")
        self._write(process.stdin.fileno(), len(image).to_bytes(4, "big") + image, until_s)
        return msgspec.json.decode(self._read_line(process.stdout.fileno(), until_s), type=_Line)

    def _start(self, bundle: InstalledBundle) -> None:
        self._process = subprocess.Popen(
            (*self._command, "--bundle", str(bundle.folder)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,
        )
        self._digest = bundle.digest
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                os.set_blocking(pipe.fileno(), False)

    def _write(self, file: int, data: bytes, until_s: float) -> None:
        view = memoryview(data)
        while view:
            self._wait(until_s, file, select.POLLOUT)
            view = view[os.write(file, view[: 1 << 16]) :]

    def _read_line(self, file: int, until_s: float) -> bytes:
        line = b""
        while not line.endswith(b"\n"):
            self._wait(until_s, file, select.POLLIN)
            piece = os.read(file, 8192)
            if not piece or len(line) > _MAX_LINE:
                raise OSError("the pipe ended")
            line += piece
        return line

    def _wait(self, until_s: float, file: int, events: int) -> None:
        # Not select(): it breaks on descriptors above 1,023.
        poll = select.poll()
        poll.register(file, events)
        left_s = until_s - self._clock.monotonic()
        if left_s <= 0 or not poll.poll(left_s * 1e3):
            raise DeadlinePassed(f"the image was not judged within {self._within_s:g} s", hint="send a smaller one")

    def _end(self, grace_s: float = 0.0) -> int | None:
        """End the process; return the code with which it ended by itself within `grace_s`, else None."""
        process, self._process = self._process, None
        if process is None:
            return None
        code: int | None = None
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = process.wait(grace_s)
        if code is None:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        return code
