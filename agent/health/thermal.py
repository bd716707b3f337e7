"""Temperatures, trip points and throttling as the kernel shows them under /sys/class/thermal.

Source: https://docs.kernel.org/driver-api/thermal/sysfs-api.html. On a Jetson Orin (L4T 36) the zones are cpu-, gpu-, cv0-2-,
soc0-2- and tj-thermal, and the cooling devices that tell of throttling end in "-throttle-alert" and "-surface-alert". A
Raspberry Pi has cpu-thermal with a critical trip alone; its firmware throttles (`pi_firmware`).
"""

from __future__ import annotations

from pathlib import Path

from agent.decide.heat import Heat, Zone
from agent.health.kernel_files import KernelFiles
from agent.health.pi_firmware import PLATFORM, PiFirmware, throttled_by_heat
from agent.health.sysfs import entries, read_attribute, read_number
from agent.health.throttling import FrequencyCeilings, HeldClock

THERMAL = Path("/sys/class/thermal")

_COLDEST_C, _HOTTEST_C = -40.0, 200.0
_MOST_TRIPS = 16
# It reads 100 C on every Jetson up to Xavier, at any weather: a constant, no sensor.
_CONSTANT = "PMIC-Die"
# What slows the machine down, as opposed to fans. Its state is 0 while it does not. "-balanced" is L4T's before Orin.
_SLOWED = ("-alert", "-balanced")
_SLOWS = ("cpufreq-", "thermal-cpufreq-", "devfreq-", "thermal-devfreq-", "Processor")


class ThermalSensors:
    """One thread's. Trip points and types do not move while a station runs, so they are read once."""

    def __init__(self, root: Path = THERMAL, platform: Path = PLATFORM, files: KernelFiles | None = None) -> None:
        """`files`: where to look for clocks that are held down too; None: nowhere."""
        self._root = root
        self._firmware = PiFirmware(platform)
        self._ceilings = FrequencyCeilings(files) if files is not None else None
        self._held = HeldClock(files) if files is not None else None
        self._trips: dict[tuple[str, str], tuple[float | None, float | None]] = {}

    def look(self) -> Heat:
        """Return what can be read now. A zone that fails, or says what no chip survives, is left out."""
        zones = []
        for folder in entries(self._root, "thermal_zone"):
            name = read_attribute(folder / "type")
            temp_c = _celsius(read_number(folder / "temp"), _COLDEST_C) if name != _CONSTANT else None
            if temp_c is not None:
                zones.append(Zone(name or folder.name, temp_c, *self._trips_of(folder, name)))
        capped = self._ceilings.look() if self._ceilings is not None else ""
        held = self._held is not None and self._held.look()
        return Heat(tuple(zones), self._throttled_by() or ("the processor itself" if held else ""), capped)

    def _trips_of(self, folder: Path, name: str) -> tuple[float | None, float | None]:
        key = folder.name, name
        if key not in self._trips:
            self._trips[key] = _read_trips(folder)
        return self._trips[key]

    def _throttled_by(self) -> str:
        for folder in entries(self._root, "cooling_device"):
            name = read_attribute(folder / "type")
            if (name.endswith(_SLOWED) or name.startswith(_SLOWS)) and (read_number(folder / "cur_state") or 0) > 0:
                return name
        return "the firmware" if throttled_by_heat(self._firmware.flags()) else ""


def _read_trips(folder: Path) -> tuple[float | None, float | None]:
    """Return where the zone throttles and where it switches off. Active trips only turn fans on."""
    found: dict[str, list[float]] = {}
    for number in range(_MOST_TRIPS):
        kind = read_attribute(folder / f"trip_point_{number}_type")
        if not kind:
            break
        # A trip that is switched off reads 0 or -274 C.
        temp_c = _celsius(read_number(folder / f"trip_point_{number}_temp"), 20.0)
        if temp_c is not None:
            found.setdefault(kind, []).append(temp_c)
    # Of several passive trips the first only announces (RK3588: 75 C, with 85 C aimed at); the last is what is held.
    throttles = found.get("passive") or found.get("hot")
    critical = found.get("critical")
    return max(throttles) if throttles else None, min(critical) if critical else None


def _celsius(milli: int | None, least_c: float) -> float | None:
    return milli / 1e3 if milli is not None and least_c <= milli / 1e3 <= _HOTTEST_C else None
