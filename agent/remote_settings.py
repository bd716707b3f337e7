"""The settings that a station starts with, and what of them is an order's: it outlives each start within the process.

Precedence: defaults < board < agent.toml < environment < remote (`agent.settings_layers`). Remote settings are in force only while
an order key is pinned under them: who takes the key out takes them back.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from agent.ports.config import ConfigStore
from agent.ports.log import Log
from agent.settings import Settings, load_settings, names_another_broker
from agent.update.config_state import ConfigTrial
from contract.config_states import MAX_CONFIG_TRIES
from contract.errors import InvalidConfig, PlumblineError, TransientError
from contract.messages import ConfigOrder

_READS, _BETWEEN_READS_S = 5, 0.2

T = TypeVar("T")


class RemoteSettings:
    """`agent.ports.config.RemoteControl`. `load` and `give_up` are for between two starts, the rest for any thread."""

    def __init__(
        self, path: Path, store: ConfigStore, log: Log, *, changed: Callable[[Settings], Settings] = lambda each: each
    ) -> None:
        """`path`: agent.toml. `changed`: what the command line makes of settings."""
        self._path, self.store, self._log, self._changed = path, store, log, changed
        self._trial: ConfigTrial | None = None
        self._problem = ""
        self._text = ""
        self._stop = threading.Event()
        self._asked = threading.Event()

    def load(self, stop: threading.Event) -> Settings:
        """Return what to start with next; `stop` is how that start is asked to end.

        A start with settings on trial is counted on the disk before it is returned (OTA-4). A disk that does not give what was
        kept is asked a few times, within a second; then it is agent.toml alone, and `problem` says so: a line that judges is
        better than one that waits.

        Raises:
            InvalidConfig: agent.toml is wrong.
        """
        self._stop = stop
        self._asked.clear()
        self._trial = self._next_trial()
        if self._trial is not None:
            self._text = self._trial.order.settings
            return self._read()
        self._text, self._problem = "", ""
        try:
            in_force = self._asked_again(self.store.in_force)
            self._text = in_force.settings if in_force else ""
        except TransientError as error:
            self._problem = f"they cannot be read: {error.one_line()}"
            self._log.say(f"the remote settings are not used: {self._problem}")
        try:
            return self._read()
        except InvalidConfig as error:
            if not self._text:
                raise
            # agent.toml was changed under them. A station that runs as its file says is better than none.
            self._problem, self._text = f"they do not fit agent.toml any more: {error.one_line()}", ""
            settings = self._read()
            self._log.say(f"the remote settings are not used: {self._problem}")
            return settings

    def reread(self) -> Settings:
        """Return agent.toml as it is now, with the remote settings of this start over it.

        Raises:
            InvalidConfig: it is wrong.
        """
        return self._read()

    def give_up(self, why: str) -> bool:
        """Roll back what this start has on trial; return whether there was anything, so that a start without it may do better."""
        try:
            if self._trial is None or self._asked_again(self.store.trial) is None:
                return False
        except TransientError as error:
            self._log.say(f"whether settings are on trial cannot be read: {error.one_line()}")
            return False
        self._end(self._trial.order, why)
        return True

    def on_trial(self) -> ConfigTrial | None:
        """Return the trial that this start is for."""
        return self._trial

    def problem(self) -> str:
        """Return why the settings in force could not be used, "" when they are."""
        return self._problem

    def moves_broker(self) -> bool:
        """Return whether what this start has on trial names a broker."""
        return names_another_broker(self._text)

    def check(self, settings: str) -> None:
        """Check that TOML text could be laid over agent.toml.

        Raises:
            InvalidConfig: it could not; the message says where.
        """
        load_settings(self._path, settings)

    def restart(self) -> None:
        """Have the station stop cleanly and start anew."""
        self._asked.set()
        self._stop.set()

    def restart_asked(self) -> bool:
        """Return whether this start ends so that another one begins."""
        return self._asked.is_set()

    def _read(self) -> Settings:
        return self._changed(load_settings(self._path, self._text))

    def _next_trial(self) -> ConfigTrial | None:
        try:
            trial = self._asked_again(self.store.trial)
            if trial is None:
                return None
            if trial.order == self._asked_again(self.store.in_force):
                self.store.commit(trial.order)  # power was lost within the commit
                return None
            if trial.tries >= MAX_CONFIG_TRIES:
                self._end(trial.order, f"the station stopped {trial.tries} times during the trial")
                return None
            try:
                self.check(trial.order.settings)
            except InvalidConfig as error:
                self._end(trial.order, error.one_line())
                return None
            self.store.count_try()
        except PlumblineError as error:
            # What cannot be counted is not tried: it could stop the station for ever.
            self._log.say(f"the settings on trial wait for the disk: {error.one_line()}")
            return None
        self._log.say(f"settings {trial.order.config_seq} on trial, start {trial.tries + 1} of {MAX_CONFIG_TRIES}")
        return trial

    def _asked_again(self, read: Callable[[], T]) -> T:
        """Return what `read` returns; a passing fault of the disk is waited for."""
        for _ in range(_READS - 1):
            try:
                return read()
            except TransientError:
                self._stop.wait(_BETWEEN_READS_S)
        return read()

    def _end(self, order: ConfigOrder, why: str) -> None:
        self._trial = None
        self._log.say(f"settings {order.config_seq} are rolled back: {why}")
        try:
            self.store.roll_back(order, why[:500])
        except PlumblineError as error:
            self._log.say(f"that could not be noted, the next start does it again: {error.one_line()}")
