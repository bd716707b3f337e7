"""How stations with a new bundle change against those without it: collected from their summaries, judged by pure rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cloud.ports.rollouts import Rollout, RolloutMember
from cloud.ports.stations import StationStatus
from cloud.rollout.ab_report import AbReport
from cloud.rollout.evidence import Compared
from cloud.rollout.plan import RolloutPlan


class RolloutWatch:
    """Compares. One thread's."""

    def compared(
        self,
        rollout: Rollout,
        plan: RolloutPlan,
        members: Sequence[RolloutMember],
        status: Mapping[str, StationStatus],
        now: float,
    ) -> tuple[tuple[Compared, ...], AbReport | None]:
        """Return what is known by now."""
        return (), None
