"""How releases reach the fleet: what a rollout is told once and for all."""

from __future__ import annotations

from dataclasses import dataclass, field

from cloud.rollout.judge import RolloutPolicy


@dataclass(frozen=True, slots=True)
class RolloutSettings:
    """How releases reach the fleet. `wave_shares` are rising shares of the fleet; a single canary always comes first."""

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
