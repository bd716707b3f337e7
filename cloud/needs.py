"""What needs a person now, from plain facts: the overview shows it, alerts are made of it, and runbooks say what to do. Pure.

Many stations with one trouble at one site are one need, and what explains another need hides it: while the broker is not
reached nobody can be heard, so that no station is called silent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cloud.drift.causes import FAULTS, Cause
from cloud.facts import CertificateFact, DiskFact, Facts, RolloutFact
from cloud.needs_of_stations import SILENT, needs_of_stations
from cloud.needs_words import count_of, list_of, span, url_word
from cloud.ports.alarms import Alarm
from cloud.ports.needs import Need, Severity
from cloud.rollout.rollout_states import RolloutState

_PAGE, _TICKET, _INFO = Severity.PAGE, Severity.TICKET, Severity.INFO
_ORDER = {_PAGE: 0, _TICKET: 1, _INFO: 2}

DATABASE = "database"
"""The key of the one need of which no table can tell (`cloud.database_watch` sees to it)."""
# The broker is back within a minute as a rule: mosquitto is restarted, the cloud is.
DEAF_S = 60.0
# The database stops at 0, and a training run asks for gigabytes. A tenth of a large disk is plenty, so both must be little.
LOW_SHARE, LOW_BYTES = 0.10, 50 << 30
FULL_SHARE, FULL_BYTES = 0.03, 1 << 30
# A wave takes minutes where stations are there; one that waits for days waits for a person as a rule.
WAVE_S = 6 * 3600.0
CERTIFICATE_PAGE_S = 3 * 86_400.0
# How many times too fast an error budget is spent: 14.4 for an hour is 2 % of a month's, 6 for six hours 5 %.
# Source: Google SRE Workbook, ch. 5, "Multiwindow, Multi-Burn-Rate Alerts".
FAST_BURN, SLOW_BURN = 14.4, 6.0
# Parts that wait are an inspector's daily work, until they are more than anybody labels in a day.
MANY_WAIT = 500


@dataclass(frozen=True, slots=True)
class Found:
    """What needs a person now, and the keys of what something else explains meanwhile: neither to be told of nor over."""

    needs: tuple[Need, ...] = ()
    hidden: frozenset[str] = frozenset()


def needs(facts: Facts) -> list[Need]:
    """Return what needs a person, the most urgent first. The same facts give the same needs, key by key."""
    return list(find_needs(facts).needs)


def find_needs(facts: Facts) -> Found:
    """Return what needs a person, the most urgent first, and what is hidden by it."""
    found = [
        *_of_server(facts),
        *needs_of_stations(facts),
        *_of_alarms([alarm for alarm in facts.alarms if alarm.station not in facts.retired]),
        *(need for fact in facts.rollouts for need in _of_rollout(fact, facts.now)),
        *_of_models(facts),
        *_of_people(facts),
        *_of_promises(facts),
    ]
    deaf = facts.listening_since is None
    shown = [need for need in found if not (deaf and need.kind == SILENT)]
    shown.sort(key=lambda need: (_ORDER[need.severity], need.kind, need.key))
    return Found(tuple(shown), frozenset(need.key for need in found) - {need.key for need in shown})


def database_need(why: str) -> Need:
    """Return what somebody must know when the database cannot be read or written; `why` says what is wrong."""
    what = f"{why[:1].upper()}{why[1:]}: nothing is stored, and stations keep what they send."
    what += " Do not stop the server before you read on."
    return Need(DATABASE, "database gone", _PAGE, what, "/", "database-gone")


def _of_server(facts: Facts) -> Iterator[Need]:
    if facts.lost_database:
        yield database_need(facts.lost_database)
    if facts.listening_since is None and facts.now - facts.deaf_since >= DEAF_S:
        what = f"The broker has not been reached for {span(facts.now - facts.deaf_since)}: nothing comes in, no order goes out."
        yield Need("broker", "broker down", _PAGE, what, "/", "broker-down")
    if facts.broken_entry is not None:
        what = f"The audit log does not follow from entry {facts.broken_entry} on: an entry was changed or taken out."
        yield Need("audit", "audit log broken", _PAGE, what, "/audit", "audit-log-broken")
    for disk in facts.disks:
        yield from _of_disk(disk)
    if facts.dead_letters:
        letters = count_of(facts.dead_letters, "message")
        what = f"{letters} could not be stored: plumbline-cloud dead list says why."
        yield Need("dead letters", "dead letters", _TICKET, what, "/fleet", "dead-letters")
    if facts.strangers:
        names = tuple(facts.strangers)
        speak = "speaks" if len(names) == 1 else "speak"
        what = f"{list_of(names)} {speak} on the broker and {'was' if len(names) == 1 else 'were'} never added."
        yield Need("strangers", "stranger", _TICKET, what, "/fleet", "stranger", names)
    if facts.signing is not None:
        severity = _PAGE if facts.signing.expired else _TICKET
        yield Need("signing", "signing due", severity, facts.signing.sentence, "/models", "signing-due")
    yield from _of_certificates(facts.certificates, facts.now)
    for channel, number in sorted(facts.undelivered.items()):
        what = f"{count_of(number, 'notice')} did not reach '{channel}': plumbline-cloud alerts test says why."
        yield Need(f"undelivered:{channel}", "notices undelivered", _TICKET, what, "/", "notices-undelivered")
    for loop, number in sorted(facts.faults.items()):
        what = f"The server's '{loop}' broke {count_of(number, 'time')} within the hour and goes on; its log says why."
        yield Need(f"fault:{loop}", "server fault", _TICKET, what, "/", "server-fault")


def _of_disk(disk: DiskFact) -> Iterator[Need]:
    share = disk.free_bytes / max(disk.size_bytes, 1)
    if share >= LOW_SHARE or disk.free_bytes >= LOW_BYTES:
        return
    full = share < FULL_SHARE or disk.free_bytes < FULL_BYTES
    what = f"The disk of {disk.what} has {disk.free_bytes / 2**30:.1f} GiB ({share:.0%}) left."
    severity = _PAGE if full else _TICKET
    yield Need(f"disk:{disk.what}", "server disk full", severity, what, "/", "disk-full")


def _of_certificates(ending: Sequence[CertificateFact], now: float) -> Iterator[Need]:
    for kind in sorted({each.kind for each in ending}):
        mine = sorted((each for each in ending if each.kind == kind), key=lambda each: (each.not_after, each.subject))
        left = mine[0].not_after - now
        when = f"ends in {span(left)}" if left > 0 else f"ended {span(-left)} ago"
        names = tuple(each.subject for each in mine)
        if kind == "station":
            what = f"The certificate of {list_of(names)} {when} and was not renewed"
            what += "." if len(names) == 1 else f" ({count_of(len(names), 'station')}, the first of them)."
            # A station that cannot renew goes deaf alone.
            severity = _TICKET
        else:
            what = f"The certificate of {kind} {list_of(names)} {when}: plumbline-cloud provision renew makes it anew."
            severity = _PAGE if left < CERTIFICATE_PAGE_S else _TICKET
        yield Need(f"certificate:{kind}", "certificate ends", severity, what, "/fleet", "certificate-ends", names)


def _of_alarms(alarms: Sequence[Alarm]) -> Iterator[Need]:
    for alarm in alarms:
        # A camera that sees nothing lets every part go to REVIEW: the line stands. A shift is a matter of days.
        blind = alarm.cause in {fault.value for fault in FAULTS} and alarm.cause != Cause.CLOCK.value
        severity = _PAGE if blind else _TICKET
        kind = "camera fault" if blind else "clock wrong" if alarm.cause == Cause.CLOCK.value else "drift alarm"
        runbook = "camera-fault" if blind else "clock-wrong" if alarm.cause == Cause.CLOCK.value else "drift-alarm"
        link = f"/drift?series={url_word(alarm.series)}"
        # What many share says itself who they are.
        own = alarm.sentence.startswith(f"{alarm.series}: ")
        what = alarm.sentence if own else f"{alarm.series}: {alarm.sentence}"
        yield Need(f"drift:{alarm.series}", kind, severity, what, link, runbook)


def _of_rollout(fact: RolloutFact, now: float) -> Iterator[Need]:
    rollout, name = fact.rollout, f"Rollout {fact.rollout.id} of {fact.rollout.version}"
    key, link = f"rollout:{rollout.id}", f"/rollouts/{rollout.id}"
    if rollout.state in (RolloutState.ABORTING, RolloutState.ABORTED):
        back = "its stations are back"
        if rollout.state is RolloutState.ABORTING:
            back = "its stations are being taken back"
        elif fact.recalled == 1:
            back = "its stations are back but for 1 station that was away and goes back when it returns"
        elif fact.recalled:
            away = count_of(fact.recalled, "station")
            back = f"its stations are back but for {away} that were away and go back when they return"
        who = "stopped itself" if fact.by_itself else "was stopped"
        what = f"{name} {who}, and {back}: {rollout.reason or 'no reason was given'}"
        severity = _TICKET if fact.by_itself else _INFO
        stuck = rollout.state is RolloutState.ABORTING and now - rollout.wave_started_at > WAVE_S
        yield Need(key, "bad release", _PAGE if stuck else severity, what, link, "bad-release")
    elif rollout.ended_at is None:
        if fact.approvals:
            who = "another person's approval" if fact.approvals == 1 else f"the approval of {fact.approvals} people"
            what = f"{name} waits for {who}."
            yield Need(f"{key}:approval", "approval asked", _TICKET, what, link, "rollout-waits")
        elif rollout.state is RolloutState.PAUSED:
            why = rollout.hold or rollout.reason or "no reason was given"
            what = f"{name} was paused and waits to be resumed or aborted: {why}"
            yield Need(f"{key}:paused", "rollout waits", _TICKET, what, link, "rollout-waits")
        elif rollout.hold:
            yield Need(f"{key}:hold", "rollout waits", _INFO, f"{name} waits: {rollout.hold}", link, "rollout-waits")
        lasted = now - rollout.wave_started_at
        if fact.unanswered and not fact.approvals and lasted > WAVE_S:
            said = f"{count_of(fact.unanswered, 'station')} of wave {rollout.wave + 1}"
            verb = "has" if fact.unanswered == 1 else "have"
            what = f"{name}: {said} {verb} not said for {span(lasted)} how it went."
            yield Need(f"{key}:slow", "rollout slow", _TICKET, what, link, "rollout-waits")


def _of_models(facts: Facts) -> Iterator[Need]:
    for retrain in facts.retrains:
        what = f"Retrain {retrain.id} of {retrain.series}, begun for: {retrain.reason}, failed; why is on its page."
        link = f"/models/failed/{retrain.id}"
        yield Need(f"retrain:{retrain.series}", "retrain failed", _TICKET, what, link, "retrain-failed")


def _of_people(facts: Facts) -> Iterator[Need]:
    if facts.disputed:
        what = f"{count_of(facts.disputed, 'part')} got two labels that differ: a third person decides."
        yield Need("disputed", "labels differ", _TICKET, what, "/review/disagreements")
    if facts.waiting:
        what = f"{count_of(facts.waiting, 'part')} {'waits' if facts.waiting == 1 else 'wait'} for an inspector."
        yield Need("review", "parts to label", _TICKET if facts.waiting >= MANY_WAIT else _INFO, what, "/review")


def _of_promises(facts: Facts) -> Iterator[Need]:
    for budget in facts.budgets:
        hour, six = budget.burn
        # Both windows: the long one says that it matters, the short one that it has not ended.
        if hour >= FAST_BURN and six >= FAST_BURN / 2:
            severity, how = _PAGE, f"is spent {hour:.0f} times too fast"
        elif hour >= SLOW_BURN and six >= SLOW_BURN:
            severity, how = _TICKET, f"is spent {six:.0f} times too fast"
        elif budget.spent >= 1.0:
            severity, how = _TICKET, "is used up, and releases wait" if budget.holds else "is used up"
        else:
            continue
        what = f"The error budget of {budget.title} {how}: {budget.words}"
        yield Need(f"budget:{budget.promise}", "promise at risk", severity, what, "/", "promise-at-risk")
