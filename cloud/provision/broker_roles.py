"""Keeps every broker's roles as the database has them: by its plugin while it runs, by its file while it does not."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from cloud.provision.dynsec import (
    add_commands,
    ask_for_ingest_rules,
    default_commands,
    missing_ingest_rules,
    remove_commands,
)
from cloud.provision.folder import CONF, ROLES, ProvisionFolder
from cloud.provision.stations_door import Naming
from contract.errors import LinkDown

_log = logging.getLogger(__name__)


class Told(str, Enum):
    """How the brokers came to know of a change."""

    RUNNING = "by the running broker's plugin"
    FILE = "by dynamic-security.json, for when the broker starts"


class Roles(Protocol):
    """A connection to a broker's plugin (`cloud.broker.roles.RolesConnection`)."""

    def ask(self, commands: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return an answer to each command."""
        ...

    def clients(self) -> set[str]:
        """Return who may speak."""
        ...


@dataclass(frozen=True, slots=True)
class Synced:
    """What a comparison with the brokers changed."""

    told: Told
    added: int
    removed: int


class BrokerRoles:
    """Adds and removes stations at every broker.

    Args:
        connections: one maker of a connection for each broker.
    """

    def __init__(
        self, folder: ProvisionFolder, connections: Sequence[Callable[[], AbstractContextManager[Roles]]]
    ) -> None:
        self._folder, self._connections = folder, connections

    def add(self, station: str, everybody: Callable[[], Sequence[str]]) -> Told:
        """Let a station speak. `everybody` gives the stations with a certificate that counts.

        Raises:
            LinkDown: a broker runs and was not reached.
        """
        return self._tell(add_commands([station], self._folder.namings()), lambda: {*everybody(), station})

    def remove(self, station: str, everybody: Callable[[], Sequence[str]]) -> Told:
        """Let it speak no more; its connection is closed.

        Raises:
            LinkDown: as `add`.
        """
        return self._tell(remove_commands(station), lambda: {*everybody()} - {station})

    def part(self, station: str) -> None:
        """Close its connections, and let it speak on: at every broker that runs.

        Raises:
            LinkDown: one was not reached. One that does not run has no connections.
        """
        for connect in self._connections:
            with connect() as roles:
                roles.ask([*remove_commands(station), *add_commands([station], self._folder.namings())])

    def is_reached(self) -> bool:
        """Return whether any broker runs: one that answers, or one on this machine."""
        for connect in self._connections:
            try:
                with connect():
                    return True
            except LinkDown:
                continue
        return self._folder.broker_pid() is not None

    def sync(self, stations: Sequence[str], ended: Sequence[str]) -> Synced:
        """Add to every broker who of `stations` is missing there, and remove who of `ended` is there still.

        That is so after one was wiped, replaced, or away while some came or went. Who is neither stays: it may be enrolling.

        Raises:
            LinkDown: as `add`.
        """
        wanted, added, removed = set(stations), 0, 0
        namings = self._folder.namings()
        try:
            for connect in self._connections:
                with connect() as roles:
                    found = roles.clients()
                    missing = sorted(s for s in wanted if not {naming.user(s) for naming in namings} <= found)
                    surplus = sorted(s for s in {*ended} - wanted if found & {naming.user(s) for naming in Naming})
                    may = roles.ask([ask_for_ingest_rules()])[0]
                    commands = [*default_commands(), *missing_ingest_rules(may), *add_commands(missing, namings)]
                    for station in surplus:
                        commands += remove_commands(station)
                    roles.ask(commands)
                    added, removed = added + len(missing), removed + len(surplus)
        except LinkDown:
            self._write_file(sorted(wanted))
            return Synced(Told.FILE, 0, 0)
        return Synced(Told.RUNNING, added, removed)

    def _tell(self, commands: list[dict[str, Any]], everybody: Callable[[], set[str]]) -> Told:
        try:
            for connect in self._connections:
                with connect() as roles:
                    roles.ask(commands)
        except LinkDown:
            self._write_file(sorted(everybody()))
            return Told.FILE
        return Told.RUNNING

    def _write_file(self, stations: Sequence[str]) -> None:
        """Write the file, unless a broker runs here that would overwrite it.

        Raises:
            LinkDown: one does.
        """
        if self._folder.broker_pid() is not None:
            raise LinkDown(
                "the broker runs and does not let its roles be changed",
                hint=f"see its log; it must run with {self._folder.broker / CONF}",
            )
        self._folder.write_roles(stations)
        _log.warning("no broker was reached: wrote %s for when it starts", self._folder.broker / ROLES)
