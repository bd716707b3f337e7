"""What a board's supplies carry, and which of them carries too much, from the power monitors soldered to it.

Sources: https://docs.kernel.org/hwmon/ina3221.html and ina238.html: mV and mA, an alarm "critical" for one sample over its limit
and "max" for their average, each kept until it is read. NVIDIA's Jetson Linux guide names the rails: VDD_IN is all of an Orin
Nano, Orin NX or Xavier NX; an AGX Orin is fed by VDD_GPU_SOC, VDD_CPU_CV and VIN_SYS_5V0, which holds the memory's; a Thor's
carrier has an INA238 at VIN, without a label. A Pi 5 tells its rails to vcgencmd alone, and an x86's energy counters are root's
(CVE-2020-8694).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from pathlib import Path

from agent.health.sysfs import entries, read_attribute, read_number
from agent.ports.machine import Rail

_MOST_CHANNELS = 4
_WHOLE = ("VDD_IN", "VIN")
_PART = "VIN_SYS_5V0"
_NO_RAILS = ("", "NC", "sum of shunt voltages")
_MOST_MILLIWATTS = 1e6
_ALARMS = ("crit", "max")
_FULL_SCALE_MA = 32_000
# One sample over the limit is what a motor's start does; the hardware has met it by the time it is read.
_LOOKS_OVER = 3
_WITHIN_S = 10.0


def read_rails(hwmon: Path) -> tuple[Rail, ...]:
    """Return every rail that is measured and says something that can be."""
    return tuple(rail for chip in _monitors(hwmon) for rail in _rails_of(chip))


def whole_power_w(hwmon: Path) -> float | None:
    """Return what the module takes, in W; None where no rail, and no sum of rails, is known to be all of it."""
    parts: list[float] = []
    for chip in _monitors(hwmon):
        rails = _rails_of(chip)
        for rail in rails:
            if rail.name in _WHOLE and rail.milliwatts > 0:
                return rail.milliwatts / 1e3
        if any(rail.name == _PART for rail in rails):
            parts += [rail.milliwatts for rail in rails]
    return sum(parts) / 1e3 if parts else None


@dataclass(frozen=True, slots=True)
class _Alarm:
    rail: str
    path: Path


class RailAlarms:
    """One thread's: it remembers in which looks a rail was over its limit."""

    def __init__(self, hwmon: Path) -> None:
        self._alarms = [
            _Alarm(name, chip / f"curr{n}_{kind}_alarm")
            for chip in _monitors(hwmon)
            for n, name in _names(chip).items()
            for kind in _ALARMS
            # A limit of 0 is none, and its alarm is always up; one at full scale is none either, and asking for its alarm is
            # not free: it takes a bus transfer that clears the alarms of the other rails.
            if 0 < (read_number(chip / f"curr{n}_{kind}") or 0) < _FULL_SCALE_MA
            and (chip / f"curr{n}_{kind}_alarm").exists()
        ]
        self._over: dict[str, deque[float]] = {}

    def look(self, now_s: float) -> str:
        """Return the rail that was over its limit in several of the last looks; "" for none. `now_s`: monotonic."""
        over = {alarm.rail for alarm in self._alarms if read_number(alarm.path) == 1}
        for name in over:
            self._over.setdefault(name, deque(maxlen=_LOOKS_OVER)).append(now_s)
        for name in sorted(over):
            looks = self._over[name]
            if len(looks) == _LOOKS_OVER and 0.0 <= now_s - looks[0] <= _WITHIN_S:
                return name
        return ""


def _monitors(hwmon: Path) -> list[Path]:
    return [chip for chip in entries(hwmon, "hwmon") if read_attribute(chip / "name").startswith("ina")]


def _names(chip: Path) -> dict[int, str]:
    found = {}
    for number in range(1, _MOST_CHANNELS + 1):
        label = read_attribute(chip / f"in{number}_label")
        if label not in _NO_RAILS:
            found[number] = label[:40]
    if not found and read_attribute(chip / "name") == "ina238":
        found[1] = read_attribute(chip / "label")[:40] or "VIN"
    return found


def _rails_of(chip: Path) -> list[Rail]:
    found = []
    for number, name in _names(chip).items():
        volts, amps = read_number(chip / f"in{number}_input"), read_number(chip / f"curr{number}_input")
        if volts is None or amps is None:
            continue
        power = read_number(chip / f"power{number}_input")
        milliwatts = power / 1e3 if power is not None else volts * amps / 1e3
        if abs(milliwatts) <= _MOST_MILLIWATTS:
            # A Thor's idle GPU reads -392 mW: the offset of the sensor.
            found.append(Rail(name, max(milliwatts, 0.0), volts, amps))
    return found
