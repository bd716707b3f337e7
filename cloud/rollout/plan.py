"""What a rollout was asked to do and by which rules: settled and stored when it starts, whatever cloud.toml says later."""

from __future__ import annotations

import msgspec

from cloud.rollout.judge import RolloutPolicy
from contract.errors import RefusedError

STRATA = ("board", "site", "camera")
"""What stations can be told apart by."""
MOST_CONFIDENCE = 0.999999
"""At 1 every bound is infinite, and so it is at what a float cannot tell from 1."""


class RolloutPlan(msgspec.Struct, frozen=True):
    """A rollout's plan, as JSON in `rollouts.plan`. Times are Unix seconds, shares 0..1.

    The policy as it was in `[rollout]` when the rollout started: `wave_shares`, `canary` and `shadow_stations` say who comes when,
    spread over `strata`; `silence_s`, `offline_wait_s`, `soak_s`, `max_failure`, `confidence`, `max_shift`, `max_latency_ratio` and
    `max_memory_mib` when a wave has run and when it stops (`cloud.settings_operate.RolloutTable`); `approvals`, `windows`,
    `not_before` and `hold_on_budget` what must hold before stations are ordered.

    `cohort` limits it to a cohort of `[drift.cohorts]`, to "site:NAME", "board:NAME" or one station; "": everybody.

    What came of it: `waves` names every wave in order, `shadow` the stations of the first one where that is "shadow".

    Of an A/B rollout: `share` of the fleet gets the new version (arm "b"), the others stay with `control` (its version, and
    `control_bundle` its digest) until `until`, or until a person keeps one: `keep` is "" before that. `hold_after` is the last wave
    of arm "b", -1 of any other rollout.
    """

    wave_shares: tuple[float, ...] = (0.05, 0.25)
    shadow_stations: int = 0
    canary: int = 1
    strata: tuple[str, ...] = ("board", "site", "camera")
    silence_s: float = 900.0
    offline_wait_s: float = 3600.0
    soak_s: float = 0.0
    max_failure: float = 0.02
    confidence: float = 0.95
    max_shift: float = 0.1
    max_latency_ratio: float = 2.0
    max_memory_mib: float = 0.0
    approvals: int = 0
    windows: tuple[str, ...] = ()
    hold_on_budget: bool = True
    not_before: float = 0.0
    cohort: str = ""
    waves: tuple[str, ...] = ()
    shadow: tuple[str, ...] = ()
    share: float = 0.0
    until: float = 0.0
    control: str = ""
    control_bundle: str = ""
    keep: str = ""
    hold_after: int = -1

    def policy(self, kind: str) -> RolloutPolicy:
        """Return by what a rollout of `kind` is judged. A rollback goes on whatever fails: what it leaves is known to be worse."""
        return RolloutPolicy(
            silence_s=self.silence_s,
            offline_wait_s=self.offline_wait_s,
            soak_s=self.soak_s,
            max_failure=1.0 if kind == "rollback" else self.max_failure,
            confidence=self.confidence,
        )

    def encode(self) -> str:
        """Return it as JSON."""
        return msgspec.json.encode(self).decode()


def read_plan(text: str) -> RolloutPlan:
    """Return the plan in `rollouts.plan`; that of a rollout which an older version started has the defaults."""
    return msgspec.json.decode(text or "{}", type=RolloutPlan)


def check_plan(plan: RolloutPlan, least_approvals: int) -> None:
    """Do nothing where a plan can be carried out. Maintenance windows are checked by `cloud.maintenance`.

    Raises:
        RefusedError: a figure is outside its range, or fewer approvals are asked for than the policy wants.
    """
    if plan.approvals < least_approvals:
        hint = "rollout.approvals in cloud.toml says how many it takes at least"
        raise RefusedError(f"a rollout here takes {least_approvals} approvals, not {plan.approvals}", hint=hint)
    if not 0.0 < plan.confidence <= MOST_CONFIDENCE:
        hint = f"give at most {MOST_CONFIDENCE}, such as 0.95"
        raise RefusedError(f"confidence = {plan.confidence} is not between 0 and 1", hint=hint)
    shares = {"max_failure": plan.max_failure, "max_shift": plan.max_shift}
    for name, value in shares.items():
        if not 0.0 <= value <= 1.0:
            raise RefusedError(f"{name} = {value} is outside 0..1", hint="give a share, such as 0.02 for 2 %")
    if not all(0.0 < share <= 1.0 for share in plan.wave_shares):
        raise RefusedError(
            "wave shares must each be above 0 and at most 1", hint="give rising shares, such as 0.05, 0.25"
        )
    if unknown := [name for name in plan.strata if name not in STRATA]:
        raise RefusedError(f"stations are not told apart by '{unknown[0]}'", hint=f"use some of {', '.join(STRATA)}")
    if plan.canary < 1 or plan.shadow_stations < 0:
        raise RefusedError("a rollout needs a canary of one station or more", hint="set canary to 1 or more")
    for name, seconds in (("silence_s", plan.silence_s), ("max_latency_ratio", plan.max_latency_ratio)):
        if not seconds > 0.0:
            raise RefusedError(f"{name} = {seconds} must be above 0", hint="leave it out to use cloud.toml's")
    waits = {"offline_wait_s": plan.offline_wait_s, "soak_s": plan.soak_s, "not_before": plan.not_before}
    for name, seconds in waits.items():
        if not seconds >= 0.0:
            raise RefusedError(f"{name} = {seconds} must not be below 0", hint="leave it out to use cloud.toml's")
