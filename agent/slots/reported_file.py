"""The last report, where a command finds it. Nothing depends on it, so it is whole but not durable."""

from __future__ import annotations

import contextlib
from pathlib import Path

from contract.codec import decode_control, encode_control
from contract.errors import BadMessage
from contract.messages import ReportedState


class ReportedFile:
    """HOME/reported.json."""

    def __init__(self, home: Path) -> None:
        self._path = home / "reported.json"

    def write(self, state: ReportedState) -> None:
        """Keep `state`; a disk that does not take it is no reason not to go on."""
        temporary = self._path.with_suffix(".tmp")
        with contextlib.suppress(OSError):
            temporary.write_bytes(encode_control(state))
            temporary.replace(self._path)

    def read(self) -> ReportedState | None:
        """Return the last report; None when there is none."""
        try:
            return decode_control(self._path.read_bytes(), ReportedState)
        except (OSError, BadMessage):
            return None
