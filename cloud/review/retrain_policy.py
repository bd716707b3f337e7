"""Whether an alarm should be answered by a new model, with a reason a person can read (DESIGN 4.7)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RetrainPolicy:
    """When to retrain.

    `labels`: how many labelled frames of the alarmed station to wait for. `min_accuracy`: accuracy on audit frames below
    which the model has failed there. `enough_anyway_s`: retrain once the labels are there and the drift has lasted this long,
    whatever the accuracy. `min_audit`: audit labels without which accuracy is not judged.
    """

    labels: int = 120
    min_accuracy: float = 0.9
    enough_anyway_s: float = 7 * 86_400.0
    min_audit: int = 20


@dataclass(frozen=True, slots=True)
class RetrainDecision:
    """`go` or not, and why."""

    go: bool
    why: str


def decide_retrain(
    *,
    is_fault: bool,
    labels: int,
    audit_labels: int,
    accuracy: float,
    accuracy_upper: float,
    lasted_s: float,
    policy: RetrainPolicy,
) -> RetrainDecision:
    """Return whether to retrain for one open alarm.

    Args:
        is_fault: the cause is a fault of the camera, which no model mends.
        labels, audit_labels: labelled frames since the alarm, and those among them drawn at random.
        accuracy, accuracy_upper: estimate on the audit frames, and the upper end of its confidence interval.
        lasted_s: how long the alarm has been open.
    """
    if is_fault:
        return RetrainDecision(False, "the cause is a fault of the station: mend it, no model can")
    if labels < policy.labels:
        return RetrainDecision(False, f"{labels} of {policy.labels} labels are there")
    if audit_labels >= policy.min_audit and accuracy_upper < policy.min_accuracy:
        measured = f"accuracy on {audit_labels} random parts is {accuracy:.3f} (at most {accuracy_upper:.3f})"
        return RetrainDecision(True, f"{measured}, below {policy.min_accuracy}")
    if lasted_s >= policy.enough_anyway_s:
        return RetrainDecision(True, f"the drift has lasted {lasted_s / 86_400:.1f} days")
    return RetrainDecision(
        False, f"labels say the model still holds: accuracy {accuracy:.3f} (up to {accuracy_upper:.3f})"
    )
