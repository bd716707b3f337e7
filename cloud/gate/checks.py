"""May this candidate be released? Named checks on the artefact that ships (DESIGN 7). Pure: figures in, report out.

Many checks multiply: of twenty that each stop one good candidate in twenty, two good candidates in three would be stopped. So a
check is one of three kinds, and says which:

- *shown*: the candidate must show it, and chance counts against it. Only what a release promises: accuracy, recall of each
  label, not worse than the incumbent, better where it drifted, budgets of boards, golden vectors.
- *refuted*: it fails on evidence to the contrary, with a bound that chance seldom passes: missed defects, there and on the newest
  look of the parts, calibration, agreement with full precision, automatic decisions, shortcuts.
- *told apart*: it fails where the incumbent is better by more than chance explains, and by enough to matter: recall of each
  label, each kind of corruption. All labels, or all kinds, share one level.
"""

from __future__ import annotations

from cloud.gate.artefact_checks import (
    accuracy,
    automatic_decisions,
    calibration,
    full_precision,
    golden,
    missed_defects,
    recalls,
    shortcut,
)
from cloud.gate.board_checks import boards, latency
from cloud.gate.incumbent_checks import better_on_drift, corruptions, kept_recall, not_worse
from cloud.gate.look_checks import looks
from cloud.gate.scorecard import GateReport, GateRules, Incumbent, Scorecard


def gate(candidate: Scorecard, incumbent: Incumbent | None, rules: GateRules) -> GateReport:
    """Return whether the candidate may be released, check by check.

    Args:
        candidate: its figures.
        incumbent: the artefact in charge on the same images; None for a first model.
        rules: what must be shown.
    """
    checks = [accuracy(candidate, rules), *recalls(candidate, rules), missed_defects(candidate, rules)]
    checks += looks(candidate)
    checks.append(calibration(candidate, rules))
    checks += automatic_decisions(candidate, incumbent.card if incumbent else None, rules)
    checks.append(golden(candidate))
    checks += full_precision(candidate, rules)
    checks += shortcut(candidate, rules)
    if incumbent is not None:
        checks.append(not_worse(incumbent.base, rules))
        checks += kept_recall(incumbent.classes, rules)
        if incumbent.drift is not None and incumbent.card.drift is not None:
            checks.append(better_on_drift(incumbent.drift, incumbent.card, rules))
        checks.append(corruptions(candidate, incumbent, rules))
        checks.append(latency(candidate, incumbent.card, rules))
    checks += boards(candidate, rules)
    return GateReport(
        candidate=candidate.artefact,
        incumbent=incumbent.card.artefact if incumbent else "",
        checks=tuple(checks),
        passed=all(check.passed for check in checks),
        rules=rules,
        card=candidate,
        incumbent_card=incumbent.card if incumbent else None,
    )
