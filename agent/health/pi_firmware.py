"""What a Raspberry Pi's firmware says of heat and power: it throttles by itself, at no trip point that the kernel knows.

Source: https://www.raspberrypi.com/documentation/computers/os.html#get_throttled
"""

from __future__ import annotations

from enum import IntFlag
from pathlib import Path

from agent.health.sysfs import entries, read_number

PLATFORM = Path("/sys/devices/platform")


class PiFlags(IntFlag):
    """The firmware's present state; the bits from 16 up only say that it has been so since the start."""

    UNDER_VOLTAGE = 1 << 0
    FREQUENCY_CAPPED = 1 << 1
    THROTTLED = 1 << 2
    SOFT_TEMPERATURE_LIMIT = 1 << 3


class PiFirmware:
    """One thread's. Where the firmware shows its flags is found once, for a machine has many platform devices."""

    def __init__(self, platform: Path = PLATFORM) -> None:
        self._platform = platform
        self._path: Path | None = None
        self._looked = False

    def flags(self) -> PiFlags:
        """Return the flags that are up now; none on any other machine."""
        if not self._looked:
            self._path, self._looked = _flags_path(self._platform), True
        raw = read_number(self._path, 16) if self._path is not None else None
        return PiFlags(raw & 0xF) if raw is not None else PiFlags(0)


def _flags_path(platform: Path) -> Path | None:
    for soc in entries(platform, "soc"):
        for firmware in entries(soc, "soc"):
            path = firmware / "get_throttled"
            if firmware.name.endswith(":firmware") and path.exists():
                return path
    return None


def throttled_by_heat(flags: PiFlags) -> bool:
    """Return whether heat is what slows it down: a weak supply caps and throttles too, and says so beside it."""
    if PiFlags.SOFT_TEMPERATURE_LIMIT in flags:
        return True
    return bool(flags & (PiFlags.FREQUENCY_CAPPED | PiFlags.THROTTLED)) and PiFlags.UNDER_VOLTAGE not in flags
