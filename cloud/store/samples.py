"""Frames that stations kept: asked for, received, and labelled by a person."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Select, and_, case, func, or_, select, update

from cloud.ports.samples import Sample
from cloud.ports.series import series_name
from cloud.review.agreement import ActKind, Outcome, Standing
from cloud.store.database import Database
from cloud.store.labels import SECOND_LOOK, Labels
from cloud.store.tables import again, labels, samples
from contract.errors import NotFound, RefusedError

_AT_ONCE = 500


class Samples:
    """The samples table. `labels` has every label of them; `second_look` (0..1) is the share of labelled frames that a second
    person is asked about."""

    def __init__(self, database: Database, second_look: float = 0.1) -> None:
        self._database = database
        self.labels = Labels(database, second_look)

    def of_alarm(self, alarm: int) -> list[Sample]:
        """Return the samples asked for because of an alarm."""
        query, _ = _with_again()
        return self._select(query.where(samples.c.alarm == alarm).order_by(samples.c.captured_at))

    def unsettled(self, station: str, camera: str) -> list[Sample]:
        """Return the samples of `camera` of `station` that people labelled and that have no truth, oldest first: two disagree on
        what they show, or a dataset has them under several labels."""
        query, why = _with_again()
        whose = (samples.c.station == station, samples.c.camera == camera, samples.c.truth.is_(None))
        return self._select(query.where(*whose, why != "").order_by(samples.c.captured_at))

    def unasked(self, station: str, camera: str, since: float) -> list[Sample]:
        """Return samples of `camera` of `station` captured at or after `since` whose pixels nobody asked for yet."""
        whose = (samples.c.station == station, samples.c.camera == camera)
        wanted = (samples.c.captured_at >= since, samples.c.requested_at.is_(None))
        return self._select(select(samples).where(*whose, *wanted).order_by(samples.c.captured_at))

    def routinely_asked(self, station: str, camera: str, since: float) -> list[Sample]:
        """Return samples of `camera` of `station` asked for without an alarm, at or after `since`."""
        whose = (samples.c.station == station, samples.c.camera == camera)
        wanted = (samples.c.requested_at >= since, samples.c.alarm.is_(None))
        return self._select(select(samples).where(*whose, *wanted).order_by(samples.c.captured_at))

    def labelled(self, station: str, camera: str) -> list[Sample]:
        """Return every labelled sample of `camera` of `station`, oldest first."""
        whose = (samples.c.station == station, samples.c.camera == camera)
        wanted = samples.c.truth.is_not(None)
        return self._select(select(samples).where(*whose, wanted).order_by(samples.c.captured_at))

    def labelled_series(self) -> list[str]:
        """Return the series that any sample is labelled of."""
        query = select(samples.c.station, samples.c.camera).where(samples.c.truth.is_not(None)).distinct()
        with self._database.read() as connection:
            return sorted(series_name(station, camera) for station, camera in connection.execute(query))

    def audited(self, station: str, camera: str, bundle: str, since: float, limit: int) -> list[Sample]:
        """Return the labelled audit samples of `camera` of `station` answered by `bundle` and captured at or after `since`:
        the newest `limit`, in order of capture."""
        c = samples.c
        whose = (c.station == station, c.camera == camera, c.bundle == bundle, c.captured_at >= since)
        wanted = (c.reason == "audit", c.truth.is_not(None))
        newest = select(samples).where(*whose, *wanted).order_by(c.captured_at.desc(), c.sample.desc()).limit(limit)
        return self._select(newest)[::-1]

    def labelled_since(self, mark: int) -> dict[tuple[str, str], tuple[int, int]]:
        """Return how many labels came after the one numbered `mark` and the newest's number, by (station, camera).

        In the order in which they came, not of their times: an import brings labels of last week, or of a clock that runs ahead.
        Every act counts, also one that takes a truth away: whoever asks wants to know what to look at anew.
        """
        c = samples.c
        acts = labels.join(samples, c.sample == labels.c.sample)
        given = (func.count(), func.max(labels.c.id))
        found = select(c.station, c.camera, *given).select_from(acts).where(labels.c.id > mark)
        with self._database.read() as connection:
            rows = connection.execute(found.group_by(c.station, c.camera)).all()
        return {(row[0], row[1]): (int(row[2]), int(row[3])) for row in rows}

    def on_the_way(self) -> int:
        """Return how many samples were asked for and have not come, nor a label without them."""
        c = samples.c
        query = select(func.count()).where(c.requested_at.is_not(None), c.image_sha256.is_(None), c.truth.is_(None))
        with self._database.read() as connection:
            return int(connection.execute(query).scalar_one())

    def asked_and_given(self, alarm: int) -> tuple[int, int, int]:
        """Return of the samples asked for because of an alarm: how many there are, how many came, and how many are labelled."""
        c = samples.c
        query = select(func.count(), func.count(c.image_sha256), func.count(c.truth)).where(c.alarm == alarm)
        with self._database.read() as connection:
            row = connection.execute(query).one()
        return int(row[0]), int(row[1]), int(row[2])

    def disputes(self, limit: int) -> list[Sample]:
        """Return up to `limit` samples on which people disagree, oldest request first."""
        query = select(samples, again.c.why.label("again")).join(again, again.c.sample == samples.c.sample)
        wanted = again.c.why == Standing.DISPUTED.value
        return self._select(query.where(wanted).order_by(samples.c.requested_at, samples.c.sample).limit(limit))

    def waiting(self, limit: int, labeller: str = "") -> list[Sample]:
        """Return up to `limit` samples that have pixels and wait for a label, oldest request first.

        `labeller`: who asks, who is not shown what they labelled already, but second looks at what one other person labelled; "":
        unknown, for whom that is left out.
        """
        query, _ = _with_again()
        order = (samples.c.requested_at, samples.c.sample)
        return self._select(query.where(_waits(labeller)).order_by(*order).limit(limit))

    def still_waits(self, sample: str, labeller: str) -> Sample | None:
        """Return a sample where it (still) waits for a label of this person, else None."""
        query, _ = _with_again()
        found = self._select(query.where(samples.c.sample == sample, _waits(labeller)))
        return found[0] if found else None

    def counts(self, labeller: str = "") -> tuple[int, int]:
        """Return (waiting for a person, labelled). `labeller`: as `waiting`."""
        both = samples.outerjoin(again, again.c.sample == samples.c.sample)
        waiting = select(func.count()).select_from(both).where(_waits(labeller))
        labelled = select(func.count()).where(samples.c.truth.is_not(None))
        with self._database.read() as connection:
            return int(connection.execute(waiting).scalar_one()), int(connection.execute(labelled).scalar_one())

    def disputed(self) -> int:
        """Return how many samples wait because people disagree on them."""
        with self._database.read() as connection:
            query = select(func.count()).select_from(again).where(again.c.why == Standing.DISPUTED.value)
            return int(connection.execute(query).scalar_one())

    def with_image(self, digests: Sequence[str]) -> dict[str, list[str]]:
        """Return the samples whose pixels have one of these SHA-256, by it."""
        found: dict[str, list[str]] = {}
        with self._database.read() as connection:
            for start in range(0, len(digests), _AT_ONCE):
                wanted = samples.c.image_sha256.in_(digests[start : start + _AT_ONCE])
                query = select(samples.c.sample, samples.c.image_sha256).where(wanted).order_by(samples.c.sample)
                for row in connection.execute(query):
                    found.setdefault(row.image_sha256, []).append(row.sample)
        return found

    def get(self, sample: str) -> Sample:
        """Return one sample.

        Raises:
            NotFound: no such sample.
        """
        found = self._select(select(samples).where(samples.c.sample == sample))
        if not found:
            raise NotFound(f"no sample '{sample[:80]}'", hint="list the queue with GET /v1/review/queue")
        return found[0]

    def mark_requested(self, names: Sequence[str], alarm: int | None, now: float) -> None:
        """Record that the pixels of these samples were asked for."""
        with self._database.write() as connection:
            values = {"requested_at": now, "alarm": alarm}
            connection.execute(update(samples).where(samples.c.sample.in_(list(names))).values(**values))

    def mark_received(self, sample: str, station: str, image_sha256: str, now: float) -> None:
        """Record the pixels' hash; pixels that are there already stay.

        Raises:
            NotFound: this station has no such sample.
            RefusedError: nobody asked for it; images leave a station only on request (P8).
        """
        with self._database.write() as connection:
            row = connection.execute(
                select(samples).where(samples.c.sample == sample, samples.c.station == station)
            ).first()
            if row is None:
                raise NotFound(f"station '{station}' reported no sample '{sample[:80]}'")
            if row.requested_at is None:
                raise RefusedError(f"nobody asked for sample '{sample}'", hint="images leave a station only on request")
            if row.image_sha256 is not None:
                return  # sent twice; the first pixels stay, for a label may rest on them
            values = {"image_sha256": image_sha256, "received_at": now}
            connection.execute(update(samples).where(samples.c.sample == sample).values(**values))

    def label(
        self, sample: str, truth: str, labeller: str, now: float, *, resolve: bool = False, reason: str = ""
    ) -> Outcome:
        """Store a person's label, beside those of others, and return what they come to (`cloud.review.agreement`).

        A person's later label replaces their own; a second person's that differs takes the truth away until a third's, or one that
        settles it (`resolve`, for a `reason`). Every act stays on record, here and in the audit log.

        Raises:
            NotFound: no such sample.
        """
        return self.labels.give(sample, truth, labeller, now, resolve=resolve, reason=reason)

    def _select(self, query: Select[tuple[object, ...]]) -> list[Sample]:
        with self._database.read() as connection:
            return [Sample(**row._mapping) for row in connection.execute(query)]


def _with_again() -> tuple[Select[tuple[object, ...]], ColumnElement[str]]:
    """Return the query for samples with why they are in the queue again, and the column that says it ("": they are not)."""
    came_back = func.coalesce(again.c.why, "")
    query = select(samples, came_back.label("again")).outerjoin(again, again.c.sample == samples.c.sample)
    return query, came_back


def _waits(labeller: str) -> ColumnElement[bool]:
    """Return the condition of what waits, over samples joined with again."""
    there, unlabelled = samples.c.image_sha256.is_not(None), samples.c.truth.is_(None)
    if not labeller:
        return and_(there, unlabelled)
    # A label that was taken back counts for nothing (`cloud.review.agreement`), and is taken back once.
    sign = case((labels.c.kind == ActKind.LABEL.value, 1), (labels.c.kind == ActKind.UNDO.value, -1), else_=0)
    mine = select(func.coalesce(func.sum(sign), 0)).where(
        labels.c.sample == samples.c.sample, labels.c.labeller == labeller
    )
    return and_(there, or_(unlabelled, again.c.why == SECOND_LOOK), mine.scalar_subquery() <= 0)
