"""What a channel is sent: one JSON object for each thing that people are told (docs/metrics.md, "Alerts out")."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urljoin

import msgspec

from cloud.notice_rules import Event, Telling
from cloud.ports.needs import Need, Severity
from cloud.ports.notices import Notice

MEMBERS_NAMED, PARTS_NAMED = 20, 20
_WHAT_CHARS = 1000


class Part(msgspec.Struct, frozen=True):
    """One of the things that a message of a storm is about."""

    event: str
    key: str
    kind: str
    severity: str
    what: str
    link: str
    runbook: str


class Message(msgspec.Struct, frozen=True):
    """What is told. `id` is the same however often it is sent: whoever got it already may leave it out.

    `opened_at` and `at` are Unix seconds. `members` names the first stations it is about, `member_count` says how many there are.
    `parts` are the most urgent things of a storm, `part_count` says how many there are.
    """

    id: str
    event: str
    severity: str
    kind: str
    key: str
    what: str
    link: str
    runbook: str
    opened_at: float
    at: float
    members: tuple[str, ...] = ()
    member_count: int = 0
    parts: tuple[Part, ...] = ()
    part_count: int = 0
    v: int = 1


class Links:
    """Makes what a need links to whole: `page_url` is where the dashboard is, `runbook_url` where docs/RUNBOOKS.md can be read."""

    def __init__(self, page_url: str, runbook_url: str) -> None:
        self._page_url, self._runbook_url = page_url.rstrip("/") + "/", runbook_url

    def page(self, need: Need) -> str:
        """Return the need's page."""
        return urljoin(self._page_url, need.link.lstrip("/"))

    def runbook(self, need: Need) -> str:
        """Return the need's runbook, "" where it has none."""
        return f"{self._runbook_url}#{need.runbook}" if need.runbook else ""


def message_of(telling: Telling, links: Links, now: float) -> bytes:
    """Return the message that tells of one notice, as JSON."""
    return msgspec.json.encode(_message(telling.event, telling.notice, links, now))


def storm_message(storm: Notice, parts: Sequence[Telling], links: Links, now: float) -> bytes:
    """Return the message that tells of many, as JSON."""
    shown = tuple(_part(each, links) for each in parts[:PARTS_NAMED])
    message = _message(Event.STORM, storm, links, now)
    return msgspec.json.encode(msgspec.structs.replace(message, parts=shown, part_count=len(parts)))


def trial_message(links: Links, now: float, nonce: str) -> bytes:
    """Return a message that says that it is none: to see whether a channel works."""
    need = Need(
        "test", "test", Severity.INFO, "This is a test of Plumbline's alerts; nobody needs to do anything.", "/"
    )
    message = _message(Event.TEST, Notice(0, need, now, now, now, 1), links, now)
    return msgspec.json.encode(msgspec.structs.replace(message, id=f"test-{nonce}"))


def _message(event: Event, notice: Notice, links: Links, now: float) -> Message:
    need = notice.need
    members = sorted(need.members or notice.members)
    return Message(
        # What opened when, and the how-manieth word of it this is: the row's number is not known before it is stored.
        id=f"{need.key}@{notice.opened_at:.3f}/{notice.times_told}{'r' if event is Event.RESOLVED else ''}",
        event=event.value,
        severity=need.severity.value,
        kind=need.kind,
        key=need.key,
        what=f"Over: {need.what}"[:_WHAT_CHARS] if event is Event.RESOLVED else need.what[:_WHAT_CHARS],
        link=links.page(need),
        runbook=links.runbook(need),
        opened_at=notice.opened_at,
        at=now,
        members=tuple(members[:MEMBERS_NAMED]),
        member_count=len(members),
    )


def _part(telling: Telling, links: Links) -> Part:
    need = telling.notice.need
    what = need.what[: _WHAT_CHARS // 4]
    return Part(
        telling.event.value, need.key, need.kind, need.severity.value, what, links.page(need), links.runbook(need)
    )
