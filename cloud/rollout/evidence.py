"""What was last judged of a rollout: counts with exact bounds, differences from the control group, and what they do not tell."""

from __future__ import annotations

import msgspec

from cloud.rollout.ab_report import AbReport


class WaveEvidence(msgspec.Struct, frozen=True):
    """How one wave fares: numbers of stations.

    `name`: "shadow", "canary", "5 %", ..., "everyone". `ordered` were sent their order; of these `committed` took it (or showed
    themselves unseen, in the shadow wave), `failed` did not, `silent` said nothing in time, `offline` could not hear it yet and are
    no failure; the others are under way. `skipped` were taken out. `share` is (failed + silent) / (committed + failed + silent),
    and `lower` and `upper` its one-sided Clopper-Pearson bounds at the plan's confidence.
    """

    name: str
    planned: int = 0
    ordered: int = 0
    committed: int = 0
    failed: int = 0
    silent: int = 0
    offline: int = 0
    skipped: int = 0
    share: float = 0.0
    lower: float = 0.0
    upper: float = 1.0


class Compared(msgspec.Struct, frozen=True):
    """How stations with the new bundle changed against the control group over the same time.

    `what`: a verdict, "latency" or "memory". `value` is the difference of differences, or for "latency" the ratio of ratios,
    `lower` and `upper` its bounds, `stations` and `control` how many of each were compared. `unknown` says in words why nothing can
    be known, "" where it can; the figures mean nothing then. `limit`: what the bound must not pass, `stops`: it did.
    """

    what: str
    value: float = 0.0
    lower: float = 0.0
    upper: float = 0.0
    stations: int = 0
    control: int = 0
    limit: float = 0.0
    unknown: str = ""
    stops: bool = False

    def words(self) -> str:
        """Say it for a person."""
        of = f"against {self.control} stations of the control group"
        if self.what == "latency":
            return f"frames take {self.value:.2f} times as long {of} (at least {self.lower:.2f})"
        if self.what == "memory":
            return f"the agent has grown by {self.value:.0f} MiB {of} (at least {self.lower:.0f})"
        least = self.lower if self.value > 0 else self.upper
        return (
            f"the share of {self.what} has moved by {100 * self.value:+.1f} points {of} (at least {100 * least:+.1f})"
        )


class RolloutEvidence(msgspec.Struct, frozen=True):
    """As JSON in `rollouts.evidence`.

    `failed` of `heard` stations failed over all waves so far, with the one-sided bounds on that share. `compared` holds the
    shift of each verdict, the latency ratio and the growth of memory. `notes` are for people: who was left out of what, and why.
    `told`: the registry knows that this version reached everybody. `ab`: the report of an A/B rollout.
    """

    waves: tuple[WaveEvidence, ...] = ()
    heard: int = 0
    failed: int = 0
    lower: float = 0.0
    upper: float = 1.0
    compared: tuple[Compared, ...] = ()
    notes: tuple[str, ...] = ()
    told: bool = False
    ab: AbReport | None = None

    def encode(self) -> str:
        """Return it as JSON."""
        return msgspec.json.encode(self).decode()


def read_evidence(text: str) -> RolloutEvidence:
    """Return the evidence in `rollouts.evidence`."""
    return msgspec.json.decode(text or "{}", type=RolloutEvidence)
