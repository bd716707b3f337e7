"""One probation of remote settings, from look to look: time and counts in, a verdict out. It survives no restart of the process."""

from __future__ import annotations

from agent.update.config_health import Vitals, between, why_unwell, why_unwell_already
from agent.update.config_state import ConfigTrial
from contract.messages import ConfigOrder

SETTLE_SHARE = 0.5
"""Of a probation: until then a model warms up, and a camera and a broker are found again."""

# A broker that is away for a moment, as brokers are, says nothing of the settings.
_AWAY_SHARE, _MAX_AWAY_S = 1 / 3, 30.0


class Probation:
    """Watches `trial` from `now_s` on; monotonic seconds throughout.

    `moves_broker`: its settings name a broker, which must have this order for us.
    """

    def __init__(self, trial: ConfigTrial, now_s: float, *, moves_broker: bool) -> None:
        self.order, self._before, self._moves_broker = trial.order, trial.before, moves_broker
        self._began_s = self._reached_s = now_s
        self._heard = False
        self._settled: Vitals | None = None

    def hear(self, order: ConfigOrder) -> None:
        """Note that the broker handed over `order`, whose signature holds."""
        self._heard = self._heard or order == self.order

    def verdict(self, since: Vitals, now_s: float) -> str | None:
        """Return why the settings are not kept, "" when they are, None while it goes on; `since` the station was started."""
        length_s, ran_s = self.order.probation_s, now_s - self._began_s
        if since.broker:
            self._reached_s = now_s
        if self._settled is None and ran_s >= length_s * SETTLE_SHARE:
            self._settled = since
        settled = between(self._settled, since) if self._settled is not None else Vitals()
        why = why_unwell_already(self._before, since, settled)
        if why:
            return why
        if ran_s < length_s:
            return None
        return why_unwell(
            self._before,
            since,
            settled,
            reached=now_s - self._reached_s < min(length_s * _AWAY_SHARE, _MAX_AWAY_S),
            must_reach=self._moves_broker,
            heard=self._heard,
        )
