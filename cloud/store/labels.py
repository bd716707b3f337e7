"""Every label that a person gave, kept for good; and what the labels of a frame come to, kept up to date with them."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, case, delete, func, select, update

from cloud.review.agreement import ActKind, LabelAct, Outcome, Standing, newest_label, outcome, wants_second_look
from cloud.store.audit import write_audit
from cloud.store.database import Database
from cloud.store.tables import again, labels, samples
from contract.errors import NotFound, RefusedError

SECOND_LOOK = "second look"
_NAMED = 10
# SQLite takes 32 766 values in a statement, older ones 999.
_AT_ONCE = 500
# Nobody takes back more of their labels, one after the other.
_LOOK_BACK = 400


@dataclass(frozen=True, slots=True)
class GivenLabel:
    """A label that was given elsewhere, or that an image is sent back (`cloud.review.agreement`)."""

    sample: str
    act: LabelAct
    note: str = ""


@dataclass(frozen=True, slots=True)
class Added:
    """What an import changed: acts that are new, those that were there, and frames whose labels disagree now."""

    new: int
    known: int
    disputed: int


class Labels:
    """The labels and again tables, and the truth in samples. `second_look`: share of labelled frames that a second person sees."""

    def __init__(self, database: Database, second_look: float) -> None:
        self._database, self._second_look = database, second_look

    def give(
        self, sample: str, label: str, labeller: str, now: float, *, resolve: bool = False, reason: str = ""
    ) -> Outcome:
        """Store what a person says of a frame, and return what its labels come to. `resolve`: this settles it, for `reason`.

        Raises:
            NotFound: no such sample.
        """
        kind = ActKind.RESOLVE if resolve else ActKind.LABEL
        with self._database.write() as connection:
            self._lock(connection, [sample])
            act = LabelAct(_after(_acts(connection, [sample])[sample], now), labeller, label, kind)
            connection.execute(labels.insert().values(_row(GivenLabel(sample, act))))
            why = f" ({reason})" if reason else ""
            write_audit(connection, now, labeller, "resolve" if resolve else "label", f"{sample}: {label}{why}")
            return self._settle(connection, [sample])[sample]

    def take_back(self, sample: str, labeller: str, now: float) -> tuple[str, Outcome]:
        """Take a person's newest label of a frame back; return which it was and what the labels come to without it.

        Raises:
            NotFound: no such sample.
            RefusedError: no label of theirs stands there.
        """
        with self._database.write() as connection:
            self._lock(connection, [sample])
            known = _acts(connection, [sample])[sample]
            found = newest_label(known, labeller)
            if found is None:
                raise RefusedError(f"no label of {labeller} stands on '{sample[:80]}'", hint="there is nothing to undo")
            act = LabelAct(_after(known, now), labeller, found.label, ActKind.UNDO)
            connection.execute(labels.insert().values(_row(GivenLabel(sample, act))))
            write_audit(connection, now, labeller, "undo", f"{sample}: {found.label}")
            return found.label, self._settle(connection, [sample])[sample]

    def given_since(self, labeller: str, since: float) -> int:
        """Return how many labels a person gave at or after `since` and did not take back."""
        sign = case((labels.c.kind == ActKind.LABEL.value, 1), (labels.c.kind == ActKind.UNDO.value, -1), else_=0)
        query = select(func.coalesce(func.sum(sign), 0)).where(labels.c.labeller == labeller, labels.c.at >= since)
        with self._database.read() as connection:
            return max(int(connection.execute(query).scalar_one()), 0)

    def add(self, given: Sequence[GivenLabel], now: float, actor: str, what: str) -> Added:
        """Store acts from a file, all or none; those that are there already change nothing. `what` is for the audit log.

        An act that sends a frame back is there already where one with its note is; it counts from after every other act.

        Raises:
            NotFound: frames that are not in the store; the first are named.
        """
        names = sorted({each.sample for each in given})
        with self._database.write() as connection:
            self._lock(connection, names)
            known, noted = _acts(connection, names), _notes(connection, names)
            fresh: list[GivenLabel] = []
            for each in given:
                if each.act.kind is ActKind.RETURN:
                    if each.note in noted[each.sample]:
                        continue
                    noted[each.sample].add(each.note)
                    at = _after(known[each.sample], now)
                    each = GivenLabel(each.sample, LabelAct(at, each.act.labeller, "", ActKind.RETURN), each.note)
                elif each.act in known[each.sample]:
                    continue
                known[each.sample].add(each.act)
                fresh.append(each)
            if fresh:
                self._database.insert_rows(connection, labels, [_row(each) for each in fresh])
                write_audit(connection, now, actor, "labels imported", f"{len(fresh)} new: {what}")
            found = self._settle(connection, sorted({each.sample for each in fresh}))
        disputed = sum(each.standing is Standing.DISPUTED for each in found.values())
        return Added(len(fresh), len(given) - len(fresh), disputed)

    def last_of(self, labeller: str, since: float) -> str | None:
        """Return the frame of the newest label that a person gave here at or after `since` and did not take back, None without.

        What came from a file is not looked at.
        """
        c = labels.c
        kinds = (ActKind.LABEL.value, ActKind.UNDO.value)
        mine = (c.labeller == labeller, c.at >= since, c.note == "", c.kind.in_(kinds))
        query = select(c.sample, c.label, c.kind).where(*mine).order_by(c.id.desc()).limit(_LOOK_BACK)
        taken_back: Counter[tuple[str, str]] = Counter()
        with self._database.read() as connection:
            for sample, label, kind in connection.execute(query):
                if kind == ActKind.UNDO.value:
                    taken_back[sample, label] += 1
                elif taken_back[sample, label]:
                    taken_back[sample, label] -= 1
                else:
                    return str(sample)
        return None

    def of(self, sample: str) -> list[LabelAct]:
        """Return every act about a frame, in the order of their times."""
        with self._database.read() as connection:
            return sorted(_acts(connection, [sample])[sample])

    def wants_second_look(self, sample: str) -> bool:
        """Return whether a second person is asked about a frame."""
        with self._database.read() as connection:
            query = select(again.c.sample).where(again.c.sample == sample, again.c.why == SECOND_LOOK)
            return connection.execute(query).first() is not None

    def all(self) -> dict[str, list[LabelAct]]:
        """Return every act, by sample."""
        found: defaultdict[str, list[LabelAct]] = defaultdict(list)
        with self._database.read() as connection:
            for row in connection.execute(select(labels).order_by(labels.c.id)):
                found[row.sample].append(LabelAct(row.at, row.labeller, row.label, ActKind(row.kind)))
        return found

    @staticmethod
    def _lock(connection: Connection, names: Sequence[str]) -> None:
        """Let no other transaction label these frames (PostgreSQL; SQLite has one writer anyway)."""
        missing: list[str] = []
        for start in range(0, len(names), _AT_ONCE):
            some = names[start : start + _AT_ONCE]
            query = select(samples.c.sample).where(samples.c.sample.in_(some)).order_by(samples.c.sample)
            there = {row.sample for row in connection.execute(query.with_for_update())}
            missing += [name for name in some if name not in there]
        if missing:
            shown = ", ".join(f"'{name[:80]}'" for name in missing[:_NAMED])
            more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
            raise NotFound(f"no sample {shown}{more}", hint="list the queue with GET /v1/review/queue")

    def _settle(self, connection: Connection, names: Sequence[str]) -> dict[str, Outcome]:
        """Write down what the acts about some frames come to."""
        acts = _acts(connection, names)
        found = {name: outcome(acts[name]) for name in names}
        for name, each in found.items():
            values = {"truth": each.truth, "labeller": each.labeller, "labelled_at": each.at}
            connection.execute(update(samples).where(samples.c.sample == name).values(**values))
            why = ""
            if each.standing in (Standing.DISPUTED, Standing.RETURNED):
                why = each.standing.value
            elif wants_second_look(name, each, self._second_look):
                why = SECOND_LOOK
            if why:
                connection.execute(self._database.upsert(again, "sample", {"sample": name, "why": why}))
            else:
                connection.execute(delete(again).where(again.c.sample == name))
        return found


def _after(acts: Iterable[LabelAct], now: float) -> float:
    """Return the time of an act that follows all that are there, also where the clock was set back: it is the newest word."""
    last = max((act.at for act in acts), default=-math.inf)
    return now if now > last else math.nextafter(last, math.inf)


def _acts(connection: Connection, names: Sequence[str]) -> defaultdict[str, set[LabelAct]]:
    found: defaultdict[str, set[LabelAct]] = defaultdict(set)
    for start in range(0, len(names), _AT_ONCE):
        query = select(labels).where(labels.c.sample.in_(names[start : start + _AT_ONCE]))
        for row in connection.execute(query):
            found[row.sample].add(LabelAct(row.at, row.labeller, row.label, ActKind(row.kind)))
    return found


def _notes(connection: Connection, names: Sequence[str]) -> defaultdict[str, set[str]]:
    """Return the notes under which frames were sent back."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for start in range(0, len(names), _AT_ONCE):
        some = labels.c.sample.in_(names[start : start + _AT_ONCE])
        query = select(labels.c.sample, labels.c.note).where(some, labels.c.kind == ActKind.RETURN.value)
        for row in connection.execute(query):
            found[row.sample].add(row.note)
    return found


def _row(given: GivenLabel) -> dict[str, object]:
    act = given.act
    return {
        "sample": given.sample,
        "labeller": act.labeller,
        "label": act.label,
        "at": act.at,
        "kind": act.kind.value,
        "note": given.note,
    }
