"""What `plumbline-agent doctor` looks at around the machine: heat and power, and when a station would degrade for them."""

from __future__ import annotations

from pathlib import Path

from agent.clock import SystemClock
from agent.commands.doctor_checks import Finding, Level
from agent.decide.heat import HeatRules, Zone, hottest, limit_c
from agent.health.power import HWMON, INSTANT, PowerSensors, Supplies
from agent.health.rails import read_rails, whole_power_w
from agent.health.thermal import ThermalSensors

_COOL = "clean its fan and heat sink, give the enclosure air, or choose a lower power mode (on a Jetson: nvpmodel -q)"
_FEED = "use the supply and the cable that the board asks for (on a Jetson: nvpmodel -q shows the power mode)"


def heat(sensors: ThermalSensors | None = None, rules: HeatRules | None = None) -> Finding:
    """Look at the thermal zone nearest to its limit, and at whether the machine slows itself down."""
    rules = rules or HeatRules()
    found = (sensors or ThermalSensors()).look()
    zone = hottest(found.zones, rules)
    if zone is None:
        told = f"slowed down by {found.throttled_by}; " if found.throttled_by else ""
        level = Level.WARNING if found.throttled_by else Level.OK
        return Finding("heat", level, f"{told}no thermal zone can be read, so none is watched", _COOL if told else "")
    told = f"{_name(zone)} is the nearest to its limit of {len(found.zones)} zones; degrades from {limit_c(zone, rules):g} C"
    if found.throttled_by:
        return Finding("heat", Level.WARNING, f"slowed down by {found.throttled_by}; {told}", _COOL)
    if zone.temp_c >= limit_c(zone, rules):
        return Finding("heat", Level.WARNING, told, _COOL)
    return Finding("heat", Level.OK, told)


def power(sensors: PowerSensors | None = None, hwmon: Path = HWMON) -> Finding:
    """Look at mains, batteries, the alarms of the supply and what the board takes."""
    sensors = sensors or PowerSensors(hwmon=hwmon)
    trouble = sensors.trouble(SystemClock().monotonic())
    alarms = ", ".join(f"{n} {what} alarms" for what, n in sensors.alarms_since_start().items() if n)
    told = _describe(sensors.supplies(), hwmon)
    peaks = sensors.events().get(INSTANT, 0)
    if peaks:
        told += f"; {peaks} short peaks of current were met by the hardware, which is its business"
    if alarms:
        told += f"; {alarms} since the machine started"
    if trouble:
        return Finding("power", Level.WARNING, f"{trouble}; {told}", _FEED)
    return Finding("power", Level.WARNING if alarms else Level.OK, told, _FEED if alarms else "")


def _name(zone: Zone) -> str:
    trips = [f"{name} at {celsius:g} C" for name, celsius in zone.trips if celsius is not None]
    return f"{zone.name} at {zone.temp_c:.1f} C ({', '.join(trips) or 'no trip points'})"


def _describe(supplies: Supplies, hwmon: Path) -> str:
    mains = {None: "", True: "mains on", False: "mains off"}[supplies.mains_online]
    battery = "" if supplies.charge is None else f"battery at {supplies.charge:.0%}"
    if battery and supplies.discharging:
        battery += ", discharging"
    rails = ", ".join(f"{rail.name} {rail.milliwatts / 1e3:.1f} W" for rail in read_rails(hwmon))
    whole_w = whole_power_w(hwmon)
    takes = f"the board takes {whole_w:.1f} W ({rails})" if whole_w is not None else rails
    return ", ".join(filter(None, (mains, battery, takes))) or "no supply is described here, and no alarm is up"
