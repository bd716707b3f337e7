"""Puts a station's store together: one SQLite file, the images beside it, one recorder."""

from __future__ import annotations

import sqlite3
from contextlib import ExitStack
from pathlib import Path

from agent.health.disk import disk_room
from agent.ports.clock import Clock
from agent.ports.log import Log
from agent.ports.policy import ImagesLeave
from agent.settings import Settings
from agent.store.database import FILE_NAME, claim_boot, open_database
from agent.store.gap_signatures import sign_anew
from agent.store.memory import SqliteMemory
from agent.store.opinions import Opinions
from agent.store.outbox import Outbox
from agent.store.outbox_row import Signer
from agent.store.quarantine import kept, start_sound
from agent.store.recorder import GroupRecorder
from agent.store.recovery import last_closed_window, recover, tell_of_quarantine
from agent.store.retention import DiskShares, Retention
from agent.store.running_mark import RunningMarks, read_marks, was_unclean
from agent.store.samples import Samples
from contract.errors import InvalidConfig
from contract.gaps import gap_key


class Store:
    """Opens the database, claims its boot, tells of what the last process left, and starts no thread."""

    def __init__(self, settings: Settings, clock: Clock, log: Log, stack: ExitStack, *, simulated: bool) -> None:
        """Open everything; `stack` closes it.

        Raises:
            InvalidConfig: the database cannot be used.
        """
        self._settings = settings
        self._clock = clock
        self._log = log
        self._stack = stack
        self._simulated = simulated
        self.database = settings.home_folder / FILE_NAME
        self._cameras = ("", *(camera.name for camera in settings.cameras))
        self._left = read_marks(settings.home_folder)
        self._quarantined = start_sound(
            self.database,
            unclean=was_unclean(self._left),
            now=clock.now(),
            monotonic=clock.monotonic,
            keep_bytes=(settings.limits.disk_mib << 20) // 4,
        )
        self._signer = Signer(self._gap_key(), settings.station)
        self.boot = self._claim()
        """The boot in force; another takes its place when the cloud finds that this one is used by somebody else too."""
        self.recorder = self._make_recorder()

    def connect(self) -> sqlite3.Connection:
        """Return one more connection, for one more thread."""
        connection = open_database(self.database)
        self._stack.callback(connection.close)
        return connection

    def memory(self) -> SqliteMemory:
        """Return the durable facts, over a connection of their own."""
        return SqliteMemory(self.connect())

    def samples(self, connection: sqlite3.Connection) -> Samples:
        """Return the kept images."""
        return Samples(
            connection,
            self._settings.home_folder / "samples",
            max_count=self._settings.limits.samples,
            max_bytes=self._shares().samples_bytes,
        )

    def outbox(self, connection: sqlite3.Connection) -> Outbox:
        """Return the outbox."""
        return Outbox(
            connection,
            boot=self.boot,
            max_bytes=self._shares().outbox_bytes,
            signer=self._signer,
            on_new_boot=self._take_boot,
        )

    def opinions(self, connection: sqlite3.Connection) -> Opinions:
        """Return the second opinions that are waited for."""
        settings = self._settings
        asks = settings.policy.asks_later and bool(settings.cloud.url)
        # P8: what may not leave, and what nobody would be asked about, never waits.
        return Opinions(connection, settings.policy.images_leave if asks else ImagesLeave.NEVER)

    def stop(self, within_s: float) -> bool:
        """Commit what is queued; return whether everything was committed in time."""
        stored = self.recorder.stop(within_s)
        if stored:
            self._mark.goodbye()
        return stored

    def _take_boot(self, boot: str) -> None:
        self.boot = boot

    def _gap_key(self) -> bytes | None:
        token_file = self._settings.cloud.token_file
        if not token_file:
            return None
        token = read_bytes(self._settings.path(token_file), "cloud.token_file").decode(errors="replace").strip()
        return gap_key(token)

    def _claim(self) -> str:
        connection = open_database(self.database)
        try:
            boot = claim_boot(connection, self.database)
            if count := sign_anew(connection, self._signer):
                self._log.say(f"the station's token is another: {count} waiting gap records were signed anew")
            return boot
        except (OSError, sqlite3.Error) as error:
            raise InvalidConfig(f"'{self.database}' cannot be used: {error}", hint="check the disk") from error
        finally:
            connection.close()

    def _shares(self) -> DiskShares:
        limits = self._settings.limits
        return DiskShares.of(
            limits.disk_mib << 20, outbox_bytes=limits.outbox_mib << 20, samples_bytes=limits.samples_mib << 20
        )

    def _make_recorder(self) -> GroupRecorder:
        connection = self.connect()
        outbox, samples = self.outbox(connection), self.samples(connection)
        limits, home = self._settings.limits, self._settings.home_folder
        self._tell_of_the_last_process(connection, outbox, samples)
        self.next_window = {camera: last_closed_window(connection, camera) + 1 for camera in self._cameras}
        # Only now: what the last process left behind is told, so it may be written over.
        self._mark = RunningMarks(home, self.boot, self._cameras)
        self._stack.callback(self._mark.close)

        def free_bytes() -> int:
            room = disk_room(home)
            return room.free_bytes if room else 0

        retention = Retention(
            connection,
            outbox,
            samples,
            keep_rows=limits.results_rows,
            shares=self._shares(),
            free_bytes=free_bytes,
            evidence=lambda: list(kept(self.database)),
        )
        opinions = self.opinions(connection)
        opinions.forget_forbidden(self._clock.now())
        return GroupRecorder(
            connection,
            outbox,
            samples,
            self._log,
            batch=256,
            linger_s=limits.commit_s,
            retention=retention,
            mark=self._mark,
            opinions=opinions,
        )

    def _tell_of_the_last_process(self, connection: sqlite3.Connection, outbox: Outbox, samples: Samples) -> None:
        if self._quarantined is not None:
            note = tell_of_quarantine(
                connection,
                outbox,
                self._quarantined,
                station=self._settings.station,
                now=self._clock.now(),
                monotonic_s=self._clock.monotonic(),
                simulated=self._simulated,
                left=self._left,
            )
            self._log.say(note)
        recovered = recover(
            connection,
            outbox,
            samples,
            station=self._settings.station,
            monotonic_s=self._clock.monotonic(),
            simulated=self._simulated,
            left=self._left,
        )
        if recovered:
            self._log.say(f"recovered {recovered} window(s) that a crash left open, from their results")


def read_bytes(path: Path, key: str) -> bytes:
    """Return the file that `key` of agent.toml names.

    Raises:
        InvalidConfig: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidConfig(
            f"{key}: '{path}' cannot be read: {error.strerror or error}", hint="provision it"
        ) from error
