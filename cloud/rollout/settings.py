"""How releases reach the fleet: what a rollout is told once and for all."""

from __future__ import annotations

from dataclasses import dataclass, field

from cloud.rollout.judge import RolloutPolicy
from cloud.rollout.plan import RolloutPlan


@dataclass(frozen=True, slots=True)
class RolloutSettings:
    """How releases reach the fleet: `[rollout]` of cloud.toml (`cloud.settings_operate.RolloutTable`). `wave_shares` are rising
    shares of the fleet; `canary` stations always come first. `cohorts` are those of `[drift.cohorts]`: names of groups of series.
    """

    wave_shares: tuple[float, ...] = (0.05, 0.25)
    probation_frames: int = 256
    min_agreement: float = 0.9
    probation_timeout_s: float = 600.0
    shadow_share: float = 1.0
    max_mix_shift: float = 1.0
    max_memory_mib: float = 0.0
    serve_s: float = 0.0
    order_valid_s: float = 30 * 86_400.0
    policy: RolloutPolicy = field(default_factory=RolloutPolicy)
    shadow_stations: int = 0
    canary: int = 1
    strata: tuple[str, ...] = ("board", "site", "camera")
    max_shift: float = 0.1
    max_latency_ratio: float = 2.0
    approvals: int = 0
    windows: tuple[str, ...] = ()
    hold_on_budget: bool = True
    cohorts: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def plan(self) -> RolloutPlan:
        """Return the plan of a rollout of which nobody asks anything else."""
        policy = self.policy
        return RolloutPlan(
            wave_shares=self.wave_shares,
            shadow_stations=self.shadow_stations,
            canary=self.canary,
            strata=self.strata,
            silence_s=policy.silence_s,
            offline_wait_s=policy.offline_wait_s,
            soak_s=policy.soak_s,
            max_failure=policy.max_failure,
            confidence=policy.confidence,
            max_shift=self.max_shift,
            max_latency_ratio=self.max_latency_ratio,
            max_memory_mib=self.max_memory_mib,
            approvals=self.approvals,
            windows=self.windows,
            hold_on_budget=self.hold_on_budget,
        )
