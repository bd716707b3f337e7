"""What `plumbline-agent doctor` looks at around the machine: heat and power, and when a station would degrade for them."""

from __future__ import annotations

from agent.clock import SystemClock
from agent.commands.doctor_checks import Finding, Level
from agent.decide.heat import HeatRules, Zone, hottest, limit_c
from agent.health.power import PowerSensors, Supplies
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


def power(sensors: PowerSensors | None = None) -> Finding:
    """Look at mains, batteries and the alarms of the supply."""
    sensors = sensors or PowerSensors()
    trouble = sensors.trouble(SystemClock().monotonic())
    alarms = ", ".join(f"{n} {what} alarms" for what, n in sensors.alarms_since_start().items() if n)
    told = _describe(sensors.supplies())
    if alarms:
        told += f"; {alarms} since the machine started"
    if trouble:
        return Finding("power", Level.WARNING, f"{trouble}; {told}", _FEED)
    return Finding("power", Level.WARNING if alarms else Level.OK, told, _FEED if alarms else "")


def _name(zone: Zone) -> str:
    trips = [f"{name} at {celsius:g} C" for name, celsius in zone.trips if celsius is not None]
    return f"{zone.name} at {zone.temp_c:.1f} C ({', '.join(trips) or 'no trip points'})"


def _describe(supplies: Supplies) -> str:
    mains = {None: "", True: "mains on", False: "mains off"}[supplies.mains_online]
    battery = "" if supplies.charge is None else f"battery at {supplies.charge:.0%}"
    if battery and supplies.discharging:
        battery += ", discharging"
    return ", ".join(filter(None, (mains, battery))) or "no supply is described here, and no alarm is up"
