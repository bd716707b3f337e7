"""What needs a person at stations: one need for each kind of trouble and site, however many stations have it. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from cloud.drift.causes import Cause
from cloud.facts import Facts, StationTrouble
from cloud.needs_words import count_of, list_of, span, url_word
from cloud.ports.needs import Need, Severity
from cloud.ports.stations import StationStatus
from contract.update_states import UpdateState

_PAGE, _TICKET, _INFO = Severity.PAGE, Severity.TICKET, Severity.INFO

SILENT = "silent station"
# What a site has in common broke, as a rule: its network, its power.
SITE_SHARE, SITE_LEAST = 0.5, 3
# The outbox needs some, an update two bundles; below the lower one summaries are merged away.
DISK_LOW_MIB, DISK_FULL_MIB = 1024, 200
# A disk says it in steps of 10 %; there is time to order another, and less of it than one thinks.
DISK_WORN = 0.8
# Strange parts are a few; where a fifth of a day's frames is refused, it is the picture or the product that has changed.
UNFAMILIAR = 0.2
# Beyond this, windows are filed wrongly, and orders look expired or not yet valid.
CLOCK_S = 300.0
# From here on frames are left out.
_RUNG_FRAMES_LEFT_OUT = 4


def needs_of_stations(facts: Facts) -> Iterator[Need]:
    """Return the needs of stations; none of a station whose access was taken away."""
    stations = [status for status in facts.stations if status.station not in facts.retired]
    at_site: dict[str, int] = defaultdict(int)
    for status in stations:
        at_site[status.site] += 1
    by_name = {status.station: status for status in stations}
    groups: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    for status in stations:
        for trouble, how_much in _troubles(status, facts).items():
            groups[trouble, status.site][status.station] = how_much
    clocks = {alarm.station for alarm in facts.alarms if alarm.cause == Cause.CLOCK.value}
    for each in facts.troubles:
        found = by_name.get(each.station)
        if found is not None:
            for trouble, how_much in _told_troubles(each, tells_clock=each.station not in clocks).items():
                groups[trouble, found.site][each.station] = how_much
    over_http = {name for name, at in facts.heard_by_http.items() if facts.now - at < facts.silent_after_s}
    for (trouble, site), members in sorted(groups.items()):
        yield _need(trouble, site, members, at_site[site], by_name, over_http)


def silent_for(status: StationStatus, facts: Facts) -> float | None:
    """Return how long a station has not been heard, None where it is not silent: heard lately, never, or not to be heard now.

    HTTP is enough for one that never was on a broker. The summaries of one that was come in no other way, and it asks over HTTP
    only since it reaches its broker no more: somebody must know.
    """
    by_broker = max(status.state_at, status.summary_at)
    by_http = facts.heard_by_http.get(status.station, 0.0) if by_broker <= 0.0 else 0.0
    heard = max(by_broker, status.reported_at, by_http)
    silent = facts.now - heard
    if heard <= 0.0 or silent < facts.silent_after_s:
        return None
    if status.station in facts.known_silent:
        return silent
    # Who could not be heard is not blamed for it: silence counts from when somebody listened.
    since = facts.listening_since
    return silent if since is not None and facts.now - since >= facts.silent_after_s else None


def _troubles(status: StationStatus, facts: Facts) -> Mapping[str, float]:
    found: dict[str, float] = {}
    silent = silent_for(status, facts)
    if silent is not None:
        # What it said of itself is old by now.
        return {"silent": silent}
    if status.update_state == UpdateState.ROLLED_BACK.value:
        found["rolled back"] = 1.0
    health = status.health
    if health is not None:
        if health.disk_free_mib < DISK_LOW_MIB:
            found["disk"] = float(health.disk_free_mib)
        if health.disk_worn is not None and health.disk_worn >= DISK_WORN:
            found["worn"] = health.disk_worn
        if health.unfamiliar is not None and health.unfamiliar >= UNFAMILIAR:
            found["unfamiliar"] = health.unfamiliar
        if health.throttled or health.rung >= _RUNG_FRAMES_LEFT_OUT:
            found["throttled"] = float(health.rung)
    return found


def _told_troubles(trouble: StationTrouble, *, tells_clock: bool) -> Mapping[str, float]:
    found: dict[str, float] = {}
    if tells_clock and abs(trouble.ahead_s) > CLOCK_S:
        found["clock"] = trouble.ahead_s
    if trouble.gaps:
        found["gaps"] = float(trouble.gaps)
    return found


def _need(
    trouble: str,
    site: str,
    members: Mapping[str, float],
    at_site: int,
    by_name: Mapping[str, StationStatus],
    over_http: set[str],
) -> Need:
    names = tuple(sorted(members))
    one, who = len(names) == 1, _who(names, site)
    worst = max(members.values(), key=abs)
    kind, severity, what, runbook = "", _TICKET, "", ""
    if trouble == "silent":
        kind, runbook = SILENT, "silent-station"
        if len(names) >= SITE_LEAST and len(names) >= SITE_SHARE * at_site:
            severity = _PAGE
        but = ", but over HTTP" if over_http.issuperset(names) else ""
        what = f"{who} {_has(one)} not been heard for {span(min(members.values()))} or more{but}."
    elif trouble == "disk":
        least = min(members.values())
        kind, runbook = "station disk full", "disk-full"
        severity = _PAGE if least < DISK_FULL_MIB else _TICKET
        what = f"{who} {_has(one)} {least:.0f} MiB left on the disk{'' if one else ', or little more'}."
    elif trouble == "worn":
        kind = "station disk worn"
        what = f"The disk of {who} is worn to {worst:.0%}{'' if one else ' at worst'}: replace it before it fails."
    elif trouble == "unfamiliar":
        kind, runbook = "frames unfamiliar", "unfamiliar-frames"
        what = f"{who} refused {worst:.0%} of a day's frames{'' if one else ', or fewer,'} as unlike what was enrolled."
    elif trouble == "throttled":
        kind, runbook = "station throttled", "station-throttled"
        severity = _TICKET if worst >= _RUNG_FRAMES_LEFT_OUT else _INFO
        left_out = " and leave frames out" if worst >= _RUNG_FRAMES_LEFT_OUT else ""
        what = f"{who} {'is' if one else 'are'} too hot or too busy{left_out.replace('leave', 'leaves') if one else left_out}."
    elif trouble == "rolled back":
        kind, runbook = "station rolled back", "bad-release"
        reason = by_name[names[0]].reason or "no reason was given"
        what = f"{who} went back to the bundle before: {reason}{'' if one else ' (the first of them)'}"
    elif trouble == "clock":
        kind, runbook = "clock wrong", "clock-wrong"
        what = f"The clock of {who} is {span(abs(worst))} {'ahead' if worst > 0 else 'behind'}{'' if one else ' at worst'}."
    else:
        kind, runbook = "data lost", "data-lost"
        what = f"{who} lost windows for good within the last day."
    return Need(f"{trouble}:{site}", kind, severity, what, _link(names, site), runbook, names)


def _who(names: tuple[str, ...], site: str) -> str:
    if len(names) <= 3 or not site:
        return list_of(names)
    return f"{count_of(len(names), 'station')} of {site}"


def _has(one: bool) -> str:
    return "has" if one else "have"


def _link(names: tuple[str, ...], site: str) -> str:
    if len(names) == 1:
        return f"/station/{names[0]}"
    return f"/fleet?site={url_word(site)}&needs=yes" if site else "/fleet?needs=yes"
