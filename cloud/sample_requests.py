"""Asking stations for the pixels of frames they kept: nothing leaves a station otherwise (P8)."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from cloud.drift_notices import COMMAND_VALID_S, camera_argument
from cloud.ports.link import Link
from cloud.ports.records import CommandLog
from cloud.ports.samples import SampleBook
from contract.codec import encode_control
from contract.messages import Command
from contract.topics import Channel, topic


class SampleRequests:
    """Sends the command and puts it on record. One thread's."""

    def __init__(self, samples: SampleBook, commands: CommandLog, link: Link) -> None:
        self._samples, self._commands, self._link = samples, commands, link

    def ask(self, station: str, camera: str, names: Sequence[str], alarm: int | None, now: float) -> bool:
        """Ask for the pixels of samples, because of an `alarm` or of none; return whether there was anything and anyone to ask."""
        if not names or not self._link.connected():
            return False
        command = Command(
            id=secrets.token_hex(16),
            station=station,
            name="upload_samples",
            expires_at=now + COMMAND_VALID_S,
            arguments={"samples": list(names), **camera_argument(camera)},
        )
        self._commands.sent(command, now)
        self._samples.mark_requested(names, alarm, now)
        self._link.publish(topic(station, Channel.COMMAND), encode_control(command), qos=1, retain=False)
        return True
