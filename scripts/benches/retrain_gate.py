"""The gate's own error rates: 50 good and 50 bad candidates, how many it passes and stops, and which check stopped what.

`measure_trials` makes and measures them, which takes minutes; `judge` asks the gate, a pure function, and takes none. Kept trials
can be judged again under other rules: `python -m scripts.benches.retrain_gate FOLDER`.
"""

from __future__ import annotations

import argparse
import pickle
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cloud.gate.checks import gate
from cloud.gate.scorecard import GateRules
from scripts.benches.retrain_candidates import Candidate, bad_candidates, good_candidates
from scripts.benches.retrain_trials import Bed, Trial, prepare, try_candidate
from scripts.benches.retrain_workers import say, spread


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate said of a candidate: the names of the checks that failed, () when it passed."""

    trial: Trial
    failed: tuple[str, ...]

    @property
    def right(self) -> bool:
        """Whether a good one passed or a bad one was stopped."""
        return bool(self.failed) != self.trial.candidate.good


def measure_trials(bed: Bed, count: int = 50, workers: int | None = None) -> list[Trial]:
    """Return the trials of `count` good and `count` bad candidates; those kept in the bed's folder are not made again."""
    say("gate: the incumbent")
    prepare(bed)
    # Good and bad by turns, so that what is done by any moment says something of both.
    by_turns = [c for pair in zip(good_candidates(count), bad_candidates(count), strict=True) for c in pair]
    return spread("gate: candidates", partial(_try, bed), by_turns, workers)


def judge(trials: Iterable[Trial], rules: GateRules | None = None) -> list[Verdict]:
    """Return the gate's verdicts under `rules`, its own by default."""
    asked = rules or GateRules()
    return [Verdict(t, tuple(check.name for check in gate(t.card, t.incumbent, asked).failures())) for t in trials]


def rates(verdicts: Sequence[Verdict]) -> dict[str, float]:
    """Return `gate.*`: shares of the good passed and of the bad stopped, as made, and of those that the test set confirms."""
    good = [v for v in verdicts if v.trial.candidate.good]
    bad = [v for v in verdicts if not v.trial.candidate.good]
    truly_good = [v for v in good if not v.trial.truth.worse()]
    truly_bad = [v for v in bad if v.trial.truth.worse()]
    figures = {
        "gate.stop_bad": _share(bad),
        "gate.pass_good": _share(good),
        "gate.bad": float(len(bad)),
        "gate.good": float(len(good)),
        "gate.bad_confirmed": float(len(truly_bad)),
        "gate.good_confirmed": float(len(truly_good)),
        "gate.stop_bad_confirmed": _share(truly_bad),
        "gate.pass_good_confirmed": _share(truly_good),
    }
    for kind in sorted({v.trial.candidate.kind for v in bad}):
        of = [v for v in bad if v.trial.candidate.kind == kind]
        confirmed = [v for v in of if v.trial.truth.worse()]
        key = "gate.stop_" + kind.replace(", ", "_").replace(" ", "_").replace("-", "_")
        figures |= {key: _share(of), f"{key}_made": float(len(of)), f"{key}_confirmed": float(len(confirmed))}
        figures[f"{key}_of_confirmed"] = _share(confirmed)
    return figures


def verdict_lines(verdicts: Sequence[Verdict]) -> list[str]:
    """Return a report by kind for a person: rates, which checks fired, and each verdict that was wrong with what is true."""
    lines = []
    kinds: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        kinds.setdefault(verdict.trial.candidate.kind, []).append(verdict)
    for kind, of in sorted(kinds.items(), key=lambda item: item[0]):
        stopped = [v for v in of if v.failed]
        worse = [v for v in of if v.trial.truth.worse()]
        checks = Counter(name for v in stopped for name in v.failed)
        alone = Counter(v.failed[0] for v in stopped if len(v.failed) == 1)
        lines.append(
            f"{kind}: {len(stopped)} of {len(of)} stopped; truly worse {len(worse)}, of these stopped "
            f"{sum(bool(v.failed) for v in worse)}"
        )
        lines.append(
            "    checks: " + ", ".join(f"{name} {n} (alone {alone[name]})" for name, n in checks.most_common())
        )
        lines.extend(f"    wrong: {_described(v)}" for v in of if not v.right)
    return lines


def kept_trials(folder: Path) -> list[Trial]:
    """Return the trials that lie in a bed's folder."""
    return [pickle.loads(f.read_bytes()) for f in sorted((folder / "trials").glob("*.pickle"))]  # ours


def _try(bed: Bed, candidate: Candidate) -> Trial:
    return try_candidate(bed, candidate)


def _share(verdicts: Sequence[Verdict]) -> float:
    # None made is none wrong; how many there are stands beside it.
    return sum(v.right for v in verdicts) / len(verdicts) if verdicts else 1.0


def _described(verdict: Verdict) -> str:
    c, t = verdict.trial.candidate, verdict.trial.truth
    spoilt = f" {c.rounding.value}" if c.rounding else f" share {c.share:g}" if c.share else ""
    said = ", ".join(verdict.failed) or "passed"
    return (
        f"{c.name} {c.drift.value} {c.severity}, {c.labels} labels, {c.steps} steps{spoilt}"
        f"{' systematic' if c.systematic else ''}{f' holdout {c.in_holdout:g}' if c.in_holdout else ''}: {said}; truth: clean "
        f"{t.clean_pt:+.1f}, drift {t.drift_pt:+.1f} to {t.candidate_drift:.3f}, marked {t.marked_pt:+.1f} points"
        f"{' WORSE' if t.worse() else ''}"
    )


def main() -> int:
    """Judge kept trials again, or make and measure them first with --measure."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.benches.retrain_gate",
        description="Ask the gate again about candidates that 'bench retrain --keep FOLDER' measured.",
        epilog="example: python -m scripts.benches.retrain_gate FOLDER/gate",
    )
    parser.add_argument("folder", type=Path, help="the folder that holds 'trials'")
    parser.add_argument(
        "--measure", type=int, default=0, metavar="N", help="make and measure N good and N bad ones first"
    )
    parser.add_argument("--workers", type=int, default=None, help="processes (default: one a core)")
    args = parser.parse_args()
    if args.measure:
        measure_trials(Bed(args.folder), args.measure, args.workers)
    verdicts = judge(kept_trials(args.folder))
    print("\n".join(verdict_lines(verdicts)))
    for key, value in rates(verdicts).items():
        print(f"{key:<48} {value:.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
