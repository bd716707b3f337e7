"""A cloud as a station sees it: exactly once by (station, boot, seq) and content, and what it answers (contract.messages.Ack)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from agent.ports.outbox import OutboxRow
from cloud.ingest_acks import AckDesk
from cloud.ports.batch import named
from contract.codec import decode_summary
from contract.messages import Ack, Summary


class DedupingCloud:
    """Commits summaries; a name that is taken by other content is a conflict."""

    def __init__(self, credit: int = 20) -> None:
        self.committed: dict[tuple[str, str, int], Summary] = {}
        self.digests: dict[tuple[str, str, int], str] = {}
        self.twice = 0
        self._credit = credit

    def takes(self, rows: Iterable[OutboxRow]) -> list[Ack]:
        """Commit what is new; return one acknowledgement a boot."""
        desk = AckDesk()
        for row in rows:
            summary = decode_summary(row.payload)
            header = summary.header
            assert (header.boot, header.seq) == (row.boot, row.seq), "the header does not say what the row is called"
            key = (header.station, header.boot, header.seq)
            digest = hashlib.sha256(row.payload).hexdigest()
            if self.digests.setdefault(key, digest) != digest:
                desk.add((), [named(summary, row.payload)])
                continue
            self.twice += key in self.committed
            self.committed[key] = summary
            desk.add([named(summary, row.payload)])
        return desk.take(self._credit)

    @property
    def captured(self) -> int:
        """Frames in all that was committed."""
        return sum(summary.accounting.captured for summary in self.committed.values())

    def windows(self) -> int:
        """Summaries that the station ever named in what was committed: their own names and those they cover."""
        return len(self.committed) + sum(b - a + 1 for s in self.committed.values() for a, b in s.covers)
