"""Puts together what of a station follows remote settings: only where agent.toml pins order keys."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from agent.api.meter import LineMeter
from agent.config_loop import ConfigLoop, Parts
from agent.config_mailboxes import JointReport, SplitInbox
from agent.decide.causes import Drop
from agent.ports.clock import Clock
from agent.ports.orders import OrderInbox, Report
from agent.remote_settings import RemoteSettings
from agent.settings import Settings
from agent.slots.floors_file import FloorsFile
from agent.supervisor import Supervisor
from agent.update.config_health import TROUBLES, Vitals
from agent.update.floors import effective_now
from agent.uplink_loop import UplinkLoop
from contract.signature import OrderKey

_UNDECIDED = "undecided"


class ConfigSide:
    """A station's side of remote settings: two mailboxes to be put between its loops, and a loop of its own."""

    def __init__(
        self, remote: RemoteSettings, settings: Settings, clock: Clock, inbox: OrderInbox, report: Report
    ) -> None:
        self._remote, self._station, self._clock = remote, settings.station, clock
        self._floors = FloorsFile(settings.home_folder / "floors")
        self.inbox = SplitInbox(inbox, held=remote.on_trial() is not None)
        self.report = JointReport(report, clock)

    def loop(
        self,
        keys: Callable[[], Sequence[OrderKey]],
        meter: LineMeter,
        supervisor: Supervisor,
        uplink: UplinkLoop | None,
    ) -> ConfigLoop:
        """Return the loop that follows signed settings."""

        def vitals() -> Vitals:
            troubles = dict.fromkeys(TROUBLES, 0)
            frames = 0
            for (_, cause), count in meter.decided.copy().items():
                frames += count
                if cause in TROUBLES:
                    troubles[cause] += count
            # A frame that gave way to a newer one, and one whose verdict was not recorded, had none.
            undecided = meter.undecided + meter.dropped.get(Drop.BACKLOG.value, 0)
            troubles[_UNDECIDED] = undecided
            reached = uplink is not None and uplink.connected()
            return Vitals(frames + undecided, troubles, supervisor.restarts, reached)

        parts = Parts(
            self._remote.store,
            self.inbox,
            self.report,
            self._remote,
            keys,
            vitals,
            self._clock,
            lambda: effective_now(self._floors.read(), self._clock.now()),
        )
        return ConfigLoop(self._station, parts)
