"""The budgets: what each figure should be."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Target:
    """A bound that a figure should keep: `sense` is "<", "<=" or ">="."""

    sense: str
    bound: float

    def holds(self, figure: float) -> bool:
        """Return whether `figure` keeps the bound."""
        return {"<": figure < self.bound, "<=": figure <= self.bound, ">=": figure >= self.bound}[self.sense]

    def __str__(self) -> str:
        return f"{self.sense} {self.bound:g}"


TARGETS: dict[str, Target] = {
    "agent.fps_ratio_bare": Target(">=", 1.3),
    "agent.fps_ratio_bare_worst": Target(">=", 0.95),
    "agent.overhead_us": Target("<=", 300),
    "agent.rss_extra_mb": Target("<=", 60),
    "agent.start_s": Target("<=", 1.5),
    "sketch.us_per_frame": Target("<=", 20),
    "sketch.features_us": Target("<=", 200),
    "sketch.bytes": Target("<=", 8192),
    "sketch.merge10k_s": Target("<=", 0.2),
    "ingest.sqlite_per_s": Target(">=", 5_000),
    "ingest.postgres_per_s": Target(">=", 4_000),
    "ingest.ceiling_ratio": Target(">=", 0.7),
    "ingest.lost": Target("<=", 0),
    "ingest.double": Target("<=", 0),
    "ingest.live_share": Target(">=", 0.5),
    "fallback.p99_over_deadline_4x": Target("<=", 1),
    "fallback.goodput_4x": Target(">=", 0.8),
    "drift.power_gain10_n20": Target(">=", 0.9),
    "drift.power_dust_n50": Target(">=", 0.95),
    "drift.fleet_flags_per_1000": Target("<=", 1),
    "drift.delay_exp4_h": Target("<=", 3),
    "drift.heldout_arl_ratio": Target(">=", 1),
    **{
        f"line.{run}.{what}": Target("<=", 0)
        for run in ("modbus", "mqtt", "opcua", "stored_first", "overrun", "dies")
        for what in ("unaccounted", "unheard", "differs")
    },
    "loop.before_acc": Target("<", 0.5),
    "loop.after_over_oracle": Target(">=", 0.97),
    "loop.labels": Target("<=", 120),
    "loop.minutes": Target("<=", 5),
    "delta.ratio": Target("<=", 0.25),
    "delta.apply_mib": Target("<=", 16),
    "int8.speedup": Target(">=", 1.5),
    "int8.acc_drop_pt": Target("<=", 0.5),
    "retrain.recovery_120": Target(">=", 0.98),
    "gate.stop_bad": Target(">=", 0.95),
    "gate.pass_good": Target(">=", 0.9),
    "tuf.import_ms": Target("<", 200),
    "tuf.import_mb": Target("<=", 40),
}


def table(figures: dict[str, float]) -> str:
    """Return figures beside their targets, one a line."""
    rows = [("key", "target", "figure", "held")]
    for key, figure in figures.items():
        target = TARGETS.get(key)
        held = "" if target is None else "held" if target.holds(figure) else "NOT HELD"
        rows.append((key, str(target or "-"), f"{figure:.4g}", held))
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def all_held(figures: dict[str, float]) -> bool:
    """Return whether every figure that has a target keeps it."""
    return all(TARGETS[key].holds(figure) for key, figure in figures.items() if key in TARGETS)
