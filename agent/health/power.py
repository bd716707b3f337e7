"""Whether the machine gets the power it needs: mains and batteries, a Jetson's over-current alarms, a Pi's under-voltage.

Sources: https://docs.kernel.org/power/power_supply_class.html; NVIDIA's Jetson Linux guide, "Platform Power and Performance": on
Orin OC1 is under-voltage, OC2 average and OC3 instantaneous over-current, counted since the start in `oc*_event_cnt` (their
driver, tegra234-oc-event, knows no other chip: a Xavier tells of too much current by its power monitors alone, see `rails`);
https://docs.kernel.org/hwmon/raspberrypi-hwmon.html.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from agent.health.pi_firmware import PLATFORM, PiFirmware, PiFlags
from agent.health.rails import RailAlarms
from agent.health.sysfs import entries, read_attribute, read_number

POWER_SUPPLY = Path("/sys/class/power_supply")
HWMON = Path("/sys/class/hwmon")

# OC3 is met by slowing down for an instant, and an Orin Nano at full power may count several a second: nothing to degrade for.
_ALARMS = {"oc1_event_cnt": "under-voltage", "oc2_event_cnt": "over-current"}
INSTANT = "instant-over-current"
_EVENTS = {**_ALARMS, "oc3_event_cnt": INSTANT}
# Chips come and go with modules that are loaded and unloaded; to look for them costs more than to ask them.
_FIND_EVERY_S = 60.0


@dataclass(frozen=True, slots=True)
class Supplies:
    """What /sys/class/power_supply describes. None: it describes no such thing. `charge`: of the emptiest battery, 0 to 1."""

    mains_online: bool | None = None
    discharging: bool = False
    charge: float | None = None
    nearly_empty: bool = False


class PowerSensors:
    """One thread's, but for `supplies` and `events`: it remembers the alarm counts it saw, and where the sensors are."""

    def __init__(
        self,
        *,
        low_battery: float = 0.3,
        hold_s: float = 30.0,
        power_supply: Path = POWER_SUPPLY,
        hwmon: Path = HWMON,
        platform: Path = PLATFORM,
    ) -> None:
        """`low_battery`: a discharging battery under this share is low power. `hold_s`: how long an alarm counts."""
        self._low_battery = low_battery
        self._hold_s = hold_s
        self._power_supply = power_supply
        self._hwmon = hwmon
        self._firmware = PiFirmware(platform)
        self._counts: dict[Path, int] = {}
        self._counters: list[Path] = []
        self._low_voltage: list[Path] = []
        self._rails = RailAlarms(hwmon)
        self._found_s: float | None = None
        self._alarm = ""
        self._alarm_at_s = 0.0

    def trouble(self, now_s: float) -> str:
        """Return what is wrong with the power, for a person; "" for nothing. `now_s`: monotonic."""
        if self._found_s is None or not 0.0 <= now_s - self._found_s < _FIND_EVERY_S:
            self._find()
            self._found_s = now_s
        # Looked at each time, whatever else is wrong: else an old alarm would pass for a new one later.
        alarm = self._recent_alarm(now_s)
        return self._low_supply() or alarm or self._under_voltage()

    def supplies(self) -> Supplies:
        """Return what the kernel describes."""
        return read_supplies(self._power_supply)

    def alarms_since_start(self) -> dict[str, int]:
        """Return how often each alarm went off since the machine started; empty where there are none to count."""
        return {what: count for what, count in self.events().items() if what in _ALARMS.values()}

    def events(self) -> dict[str, int]:
        """Return those, and how often the hardware met a peak of current by itself."""
        found: dict[str, int] = {}
        for path, count in _read_counts(_paths_of(self._hwmon, _EVENTS)).items():
            what = _EVENTS[path.name]
            found[what] = found.get(what, 0) + count
        return found

    def _find(self) -> None:
        self._counters = _paths_of(self._hwmon, _ALARMS)
        chips = [chip for chip in entries(self._hwmon, "hwmon") if read_attribute(chip / "name") == "rpi_volt"]
        self._low_voltage = [chip / "in0_lcrit_alarm" for chip in chips]

    def _low_supply(self) -> str:
        now = self.supplies()
        if now.discharging and now.charge is not None and now.charge < self._low_battery:
            return f"the battery is at {now.charge:.0%}"
        if now.discharging and now.nearly_empty:
            return "the battery is nearly empty"
        # A power-loss contact alone, as on many small UPS boards, says nothing of how long there is.
        return "the mains are off" if now.mains_online is False and now.charge is None else ""

    def _recent_alarm(self, now_s: float) -> str:
        counts = _read_counts(self._counters)
        rose = [path for path, count in counts.items() if count > self._counts.get(path, count)]
        self._counts = counts
        over = self._rails.look(now_s)
        told = [f"{' and '.join(sorted({_ALARMS[path.name] for path in rose}))} alarm"] if rose else []
        told += [f"over-current at {over}"] if over else []
        if told:
            self._alarm, self._alarm_at_s = "; ".join(told), now_s
        # A clock that stepped back must not hold it for ever.
        self._alarm_at_s = min(self._alarm_at_s, now_s)
        if now_s - self._alarm_at_s > self._hold_s:
            self._alarm = ""
        return self._alarm

    def _under_voltage(self) -> str:
        if PiFlags.UNDER_VOLTAGE in self._firmware.flags():
            return "under-voltage"
        return "under-voltage" if any(read_number(path) for path in self._low_voltage) else ""


def _paths_of(hwmon: Path, names: Iterable[str]) -> list[Path]:
    return [path for chip in entries(hwmon, "hwmon") for path in (chip / name for name in names) if path.exists()]


def _read_counts(paths: Iterable[Path]) -> dict[Path, int]:
    counts = ((path, read_number(path)) for path in paths)
    return {path: count for path, count in counts if count is not None}


def read_supplies(root: Path) -> Supplies:
    """Return what is described below `root`; the batteries of mice and pens are no supply of this machine."""
    online: list[bool] = []
    wired = discharging = nearly_empty = False
    charges: list[float] = []
    for folder in entries(root, ""):
        kind = read_attribute(folder / "type")
        if read_attribute(folder / "scope") == "Device":
            continue
        if kind in ("Mains", "USB"):
            online.append((read_number(folder / "online") or 0) > 0)
            # An empty USB-C socket is offline for good; only a mains input tells that there should be power.
            wired = wired or kind == "Mains"
        elif kind in ("Battery", "UPS") and read_number(folder / "present") != 0:
            discharging = discharging or read_attribute(folder / "status") == "Discharging"
            nearly_empty = nearly_empty or read_attribute(folder / "capacity_level") in ("Low", "Critical")
            percent = read_number(folder / "capacity")
            if percent is not None and 0 <= percent <= 100:
                charges.append(percent / 100)
    mains = any(online) if wired or any(online) else None
    return Supplies(mains, discharging, min(charges, default=None), nearly_empty)
