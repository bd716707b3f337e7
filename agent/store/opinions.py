"""Second opinions that come after the verdict: which frames wait for one, and what came of it. Bounded, durable."""

from __future__ import annotations

import sqlite3

from agent.decide.opinions import Gone, wants_opinion
from agent.ports.opinions import Opinion, Waiting
from agent.ports.policy import ImagesLeave
from agent.ports.recorder import Result
from agent.store.database import storage_faults, transaction
from contract.messages import OpinionsNote, SampleNote, Verdict

_WAITING, _ANSWERED, _GONE = "waiting", "answered", "gone"
# A next try further ahead than any wait we set was set by a clock that was wrong.
_FAR_AHEAD_S = 86_400.0
_MAX_DETAIL = 200
_FIELDS = {Verdict.PASS: "passed", Verdict.REJECT: "rejected", Verdict.REVIEW: "unsure"}


class Opinions:
    """The `second_opinions` table over one connection; another thread uses another `Opinions` on its own connection.

    The recorder's thread queues and tells inside its own transactions; the thread that asks does the rest.
    """

    def __init__(
        self, connection: sqlite3.Connection, policy: ImagesLeave, *, max_waiting: int = 1_000, max_rows: int = 2_000
    ) -> None:
        """`policy`: NEVER also where nobody is to be asked. `max_rows` bounds the ended ones that are kept to be shown."""
        self._connection = connection
        self._policy = policy
        self._max_waiting = max_waiting
        self._max_rows = max_rows

    def queue(self, row_id: int, result: Result, note: SampleNote) -> None:
        """Let a frame wait if it wants an opinion and policy lets its image leave. The caller holds the transaction.

        Args:
            row_id: the result's.
            note: of its image, which was kept in the same transaction.
        """
        cause = wants_opinion(result.verdict, result.cause, note.reason, result.cloud_answer)
        # P8: what may not leave never waits to.
        if cause is None or not result.bundle or not self._policy.allows_opinion(cause.value == "unsure"):
            return
        self._connection.execute(
            "INSERT OR IGNORE INTO second_opinions (sample, result, bundle, cause, local_label, queued_at)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (note.sample, row_id, result.bundle, cause.value, result.label, result.captured_at),
        )
        waiting = f"FROM second_opinions WHERE state = '{_WAITING}'"
        over = self._connection.execute(f"SELECT COUNT(*) {waiting}").fetchone()[0] - self._max_waiting
        if over > 0:
            self._connection.execute(
                "UPDATE second_opinions SET state = ?, gone = ?, ended_at = ? WHERE id IN"
                f" (SELECT id {waiting} ORDER BY id LIMIT ?)",
                (_GONE, Gone.CROWDED_OUT.value, result.captured_at, over),
            )

    def tell(self) -> OpinionsNote | None:
        """Return what the cloud was not told of yet, and note it as told; None for nothing. The caller holds the transaction.

        In the transaction that stores the summary, so that each frame is counted in exactly one (P1).
        """
        told: dict[str, int] = {}
        gone: dict[str, int] = {}
        rows = self._connection.execute(
            "SELECT told, state, verdict, gone, COUNT(*), SUM(agreed) FROM second_opinions"
            f" WHERE told < 2 AND (told = 0 OR state != '{_WAITING}') GROUP BY told, state, verdict, gone"
        ).fetchall()
        if not rows:
            return None
        for known, state, verdict, why, number, agreed in rows:
            if known == 0:
                told["queued"] = told.get("queued", 0) + number
            if state == _GONE:
                gone[why] = gone.get(why, 0) + number
            elif state == _ANSWERED:
                field = _FIELDS[Verdict(verdict)]
                for name, more in (("answered", number), (field, number), ("agreed", agreed)):
                    told[name] = told.get(name, 0) + more
        self._connection.execute(
            f"UPDATE second_opinions SET told = CASE state WHEN '{_WAITING}' THEN 1 ELSE 2 END"
            f" WHERE told < 2 AND (told = 0 OR state != '{_WAITING}')"
        )
        self._forget_oldest()
        return OpinionsNote(**told, gone=gone)

    def next_due(self, now: float) -> Waiting | None:
        """Return the oldest frame that may be asked about at `now` (Unix seconds), or None.

        Raises:
            TransientError: the disk refused; so for all below.
        """
        with storage_faults("looking for a frame to ask about"):
            row = self._connection.execute(
                f"SELECT id, sample, bundle, local_label, cause = 'unsure', tries FROM second_opinions WHERE state = '{_WAITING}'"
                " AND NOT (next_try_at > ? AND next_try_at <= ?) ORDER BY id LIMIT 1",
                (now, now + _FAR_AHEAD_S),
            ).fetchone()
        if row is None:
            return None
        row_id, sample, bundle, label, unsure, tries = row
        return Waiting(row_id, sample, bundle, label, bool(unsure), tries)

    def answered(self, waiting: Waiting, opinion: Opinion, now: float) -> None:
        """Store the opinion.

        Also where the frame made room for others while it was asked about, as long as the cloud was not told so: where
        many wait, the oldest is the next to be asked about and the next to go, and most answers would come to nothing.
        """
        said = opinion.prediction
        self._end(
            "state = ?, label = ?, confidence = ?, good = ?, model = ?, verdict = ?, agreed = ?, gone = '', ended_at = ?"
            " WHERE id = ?",
            (_ANSWERED, said.label.name, said.confidence, said.good, opinion.model[:_MAX_DETAIL], opinion.verdict.value,
             opinion.agreed, now, waiting.id),
            while_=f"(state = '{_WAITING}' OR told < 2 AND gone IN ('{Gone.EVICTED.value}', '{Gone.CROWDED_OUT.value}'))",
        )  # fmt: skip

    def gone(self, waiting: Waiting, why: Gone, detail: str, now: float) -> None:
        """Note that the frame gets none."""
        self._end(
            "state = ?, gone = ?, detail = ?, ended_at = ? WHERE id = ?",
            (_GONE, why.value, detail[:_MAX_DETAIL], now, waiting.id),
        )

    def gone_of_bundle(self, bundle: str, why: Gone, detail: str, now: float) -> None:
        """Note that no waiting frame of `bundle` gets one."""
        self._end(
            "state = ?, gone = ?, detail = ?, ended_at = ? WHERE bundle = ?",
            (_GONE, why.value, detail[:_MAX_DETAIL], now, bundle),
        )

    def failed(self, waiting: Waiting, next_try_at: float) -> None:
        """Count a try that led to nothing; not before `next_try_at` (Unix seconds) again."""
        self._end("tries = tries + 1, next_try_at = ? WHERE id = ?", (next_try_at, waiting.id))

    def forget_forbidden(self, now: float) -> int:
        """Note as gone what waits and may not leave under the policy of now; return how many (P8). Call at start."""
        causes = [c for c, unsure in (("unsure", True), ("drifted", False)) if not self._policy.allows_opinion(unsure)]
        return sum(
            self._end(
                "state = ?, gone = ?, ended_at = ? WHERE cause = ?", (_GONE, Gone.POLICY.value, now, cause)
            )
            for cause in causes
        )  # fmt: skip

    def _end(self, change: str, values: tuple[object, ...], *, while_: str = f"state = '{_WAITING}'") -> int:
        with storage_faults("storing a second opinion"), transaction(self._connection):
            cursor = self._connection.execute(f"UPDATE second_opinions SET {change} AND {while_}", values)
        return cursor.rowcount

    def _forget_oldest(self) -> None:
        # Only what the cloud knows the end of: the others are counted from their rows.
        self._connection.execute(
            "DELETE FROM second_opinions WHERE told = 2 AND id <= (SELECT MAX(id) FROM second_opinions) - ?",
            (self._max_rows,),
        )
