"""The simulated camera's controls file: JSON, edited while the station runs."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from agent.ports.clock import Clock
from agent.sources.camera_model import CLEAN, CameraSettings, decode_settings, encode_settings
from contract.errors import InvalidConfig

_log = logging.getLogger(__name__)

CHECK_EVERY_S = 0.05
_MAX_BYTES = 64 * 1024

# (modified ns, size, inode): a rename changes the inode even where two edits fall into one tick of the file system's clock.
_Signature = tuple[int, int, int]


class Controls:
    """The settings in a file, followed as it changes. A file that is no use is logged once, and the last good settings stay."""

    def __init__(self, path: Path, clock: Clock) -> None:
        """Read the file; a missing one means a clean camera until it appears.

        Raises:
            InvalidConfig: it is there and holds no camera settings.
        """
        self._path, self._clock = path, clock
        self._signature = _signature(path)
        self._settings = read_controls(path) if self._signature else CLEAN
        self._checked_at = clock.monotonic()

    def settings(self) -> CameraSettings:
        """Return the settings in force; looks at the file at most every 50 ms."""
        now = self._clock.monotonic()
        if now - self._checked_at < CHECK_EVERY_S:
            return self._settings
        self._checked_at = now
        signature = _signature(self._path)
        if signature == self._signature:
            return self._settings
        self._signature = signature  # also of a bad file: it is reported once, and read again only when it changes
        if signature is None:
            _log.warning("%s went away; the simulated camera keeps its settings", self._path)
            return self._settings
        try:
            self._settings = read_controls(self._path)
        except InvalidConfig as error:
            _log.warning("the simulated camera keeps its settings: %s", error.one_line())
        else:
            _log.info("simulated camera: %s", self._settings)
        return self._settings


def read_controls(path: Path) -> CameraSettings:
    """Return the settings in the file at `path`.

    Raises:
        InvalidConfig: it cannot be read, or holds no camera settings.
    """
    try:
        with path.open("rb") as file:
            payload = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise InvalidConfig(
            f"the controls file {path} cannot be read: {error.strerror}", hint="plumbline-agent simulate set makes one"
        ) from error
    if len(payload) > _MAX_BYTES:
        raise InvalidConfig(f"{path} is over {_MAX_BYTES} bytes", hint="a controls file holds a few camera settings")
    return decode_settings(payload, str(path))


def write_controls(path: Path, settings: CameraSettings) -> None:
    """Replace the file at `path` in one step, so that a running station never sees half of it.

    Raises:
        InvalidConfig: its folder is missing or cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(encode_settings(settings))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise InvalidConfig(
            f"the controls file {path} cannot be written: {error.strerror}", hint="check its folder and permissions"
        ) from error


def _signature(path: Path) -> _Signature | None:
    try:
        state = path.stat()
    except OSError:
        return None
    return (state.st_mtime_ns, state.st_size, state.st_ino)
