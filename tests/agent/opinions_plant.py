"""A station's store with everything about second opinions in it: real SQLite, real image files."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.ports.policy import ImagesLeave
from agent.ports.recorder import Result, Sample
from agent.store.database import FILE_NAME, claim_boot, open_database
from agent.store.opinions import Opinions
from agent.store.outbox import Outbox
from agent.store.recorder import GroupRecorder
from agent.store.samples import Samples
from contract.codec import decode_summary
from contract.messages import Accounting, Header, OpinionsNote, SampleNote, Summary
from tests.fakes.agent_line import ListLog, image

BUNDLE, NEWER = "a" * 64, "b" * 64


class OpinionsPlant:
    """A store in `folder`. `frame` and `close_window` go through the recorder, which runs while `commit` waits for it."""

    def __init__(
        self,
        folder: Path,
        policy: ImagesLeave = ImagesLeave.REQUESTED,
        *,
        max_waiting: int = 100,
        max_rows: int = 1_000,
        max_samples: int = 1_000,
        outbox_bytes: int = 1 << 20,
    ) -> None:
        self.folder = folder
        self.policy = policy
        path = folder / FILE_NAME
        self.connection, self.worker_connection = open_database(path), open_database(path)
        self.outbox = Outbox(self.connection, boot=claim_boot(self.connection, path), max_bytes=outbox_bytes)
        self.samples = Samples(self.connection, folder / "samples", max_count=max_samples)
        self.opinions = Opinions(self.connection, policy, max_waiting=max_waiting, max_rows=max_rows)
        self.queue = Opinions(self.worker_connection, policy)
        """The asking thread's."""
        self.kept = Samples(self.worker_connection, folder / "samples")
        self._recorder: GroupRecorder | None = None

    @property
    def recorder(self) -> GroupRecorder:
        if self._recorder is None:
            self._recorder = GroupRecorder(
                self.connection,
                self.outbox,
                self.samples,
                ListLog(),
                queue_size=10_000,
                linger_s=0.01,
                opinions=self.opinions,
            )
        return self._recorder

    def frame(
        self,
        name: str,
        *,
        window: int = 1,
        verdict: str = "REVIEW",
        cause: str = "unsure",
        reason: str = "hard",
        label: str = "good",
        bundle: str = BUNDLE,
        answered: bool = False,
        pixels: NDArray[np.uint8] | None = None,
    ) -> None:
        """Record one frame whose image is kept as `name`."""
        note = SampleNote(name, 1_000.0, f"part of {name}", label, 0.6, verdict, reason, 0.0)
        result = Result(window, 1_000.0, note.part, verdict, cause, label, 0.6, 3.0, bundle, answered, answered)
        assert self.recorder.record(result, Sample(note, image(128) if pixels is None else pixels))

    def plain_frame(self, window: int = 1) -> None:
        """Record one frame whose image is not kept."""
        assert self.recorder.record(Result(window, 1_000.0, "p", "PASS", "", "good", 0.9, 3.0, BUNDLE), None)

    def close_window(self, window: int = 1) -> None:
        """End a window."""
        assert self.recorder.close_window(window, summary())

    def commit(self) -> None:
        """Wait until what was recorded is stored."""
        self.recorder.start()
        assert self.recorder.stop(20.0)
        self._recorder = None

    def told(self) -> list[OpinionsNote]:
        """Return what the summaries in the outbox tell, oldest first."""
        found = [decode_summary(row.payload).opinions for row in self.outbox.pending(10_000)]
        return [note for note in found if note is not None]

    def rows(self, what: str) -> list[tuple[object, ...]]:
        """Return columns of the second opinions, oldest first."""
        return self.connection.execute(f"SELECT {what} FROM second_opinions ORDER BY id").fetchall()

    def close(self) -> None:
        """Close, as a process that ends does."""
        for connection in (self.connection, self.worker_connection):
            try:
                connection.close()
            except sqlite3.ProgrammingError:
                continue


def summary() -> Summary:
    """Return a summary that tells of nothing."""
    return Summary(Header("s1", "", 0, 1.0, 2.0, 3.0, True, BUNDLE), Accounting(captured=1, passed=1))
