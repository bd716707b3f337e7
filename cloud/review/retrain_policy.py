"""Whether a new model is called for, with a reason a person can read (DESIGN 4.7).

Three things can call for one: drift (an open alarm, and labels that say the model fails there, or a drift that lasts), accuracy
(without an alarm: labels of frames drawn at random say the model fails), and the schedule (every so many days). Whatever called,
the same stands in the way: a fault of the camera, a retrain under way, failures, the cool-down, too few labels.

The accuracy is looked at again and again, and its bound holds for one look only: with a true accuracy just above the least one,
some retrain is started without need. The cool-down bounds how often, and the gate keeps a model that is no better from going out.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

_HOUR_S, _DAY_S = 3_600.0, 86_400.0


class Trigger(str, Enum):
    """What called for a retrain; NONE: nothing did."""

    NONE = ""
    DRIFT = "drift"
    ACCURACY = "accuracy"
    SCHEDULE = "schedule"


@dataclass(frozen=True, slots=True)
class RetrainPolicy:
    """When to retrain.

    `labels`: how many labelled frames to wait for. `min_accuracy`: accuracy on audit frames below which the model has failed.
    `enough_anyway_s`: retrain once the labels are there and the drift has lasted this long, whatever the accuracy. `min_audit`:
    audit labels without which accuracy is not judged. `every_s`: the schedule's period, 0 for none. `cooldown_s`: for how long
    after a retrain that ended in a release its series waits for the next, whatever calls for it. A failed one is tried again after
    `retry_after_s`: a full disk or a killed trainer passes; what fails `most_tries` times needs a person.
    """

    labels: int = 120
    min_accuracy: float = 0.9
    enough_anyway_s: float = 7 * _DAY_S
    min_audit: int = 20
    every_s: float = 0.0
    cooldown_s: float = _DAY_S
    retry_after_s: float = _HOUR_S
    most_tries: int = 3


@dataclass(frozen=True, slots=True)
class Measured:
    """Accuracy on `labels` frames drawn at random, and the upper end of its confidence interval, which allows for the model being
    right on all of the `disputed` ones beside them, on which people disagree."""

    labels: int
    accuracy: float
    upper: float
    disputed: int = 0

    @property
    def beside(self) -> str:
        """What is to be said of disputed frames, "" without any."""
        return f"; {self.disputed} more are disputed and count as right here" if self.disputed else ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a series (one camera's frames).

    `alarm_lasted_s`: how long its drift alarm has been open, None where there is none. `is_fault`: the cause of that alarm is a
    fault of the camera. `labels`: labelled frames a retrain would learn from; `audit`: accuracy
    on those of them that were drawn at random. `under_way`: the retrain under way, of any series. `answered_by`: the one that
    answers the alarm. `released_s_ago`: since its last retrain ended in a release, None if never. `failures`: of its retrains,
    in a row until now; `failed_s_ago`: since the last. `period_s`: since its last release, or its first label where there was
    none.
    """

    labels: int
    audit: Measured
    alarm_lasted_s: float | None = None
    is_fault: bool = False
    under_way: int | None = None
    answered_by: int | None = None
    released_s_ago: float | None = None
    failures: int = 0
    failed_s_ago: float = 0.0
    period_s: float = 0.0


@dataclass(frozen=True, slots=True)
class RetrainDecision:
    """`go` or not, why, and what called for it."""

    go: bool
    why: str
    trigger: Trigger = Trigger.NONE


def decide_retrain(evidence: Evidence, policy: RetrainPolicy) -> RetrainDecision:
    """Return whether to retrain for one series now. The reason holds nothing that changes from second to second: it is kept."""
    called = _called(evidence, policy)
    if called.trigger is Trigger.NONE:
        return called
    why_not = _out_of_question(evidence, policy) or (_not_now(evidence, policy) if called.go else "")
    return RetrainDecision(False, why_not, called.trigger) if why_not else called


def _out_of_question(evidence: Evidence, policy: RetrainPolicy) -> str:
    """Return what waiting does not change, "" for nothing."""
    if evidence.is_fault:
        return "the cause is a fault of the station: mend it, no model can"
    if evidence.answered_by is not None and evidence.answered_by == evidence.under_way:
        return f"retrain {evidence.under_way} is under way to answer it"
    if evidence.answered_by is not None:
        return f"retrain {evidence.answered_by} answered it: its rollout closes the alarm"
    if evidence.failures >= policy.most_tries and evidence.alarm_lasted_s is not None:
        return f"{evidence.failures} retrains failed: a person must see why, in their figures"
    return ""


def _not_now(evidence: Evidence, policy: RetrainPolicy) -> str:
    """Return what a retrain that is called for has to wait for, "" for nothing."""
    if evidence.under_way is not None:
        return f"retrain {evidence.under_way} is under way: one at a time"
    if evidence.failures:
        # Without an alarm nobody is called to look, so it goes on trying, once in a cool-down.
        given_up = evidence.failures >= policy.most_tries
        rest_s = max(policy.retry_after_s, policy.cooldown_s) if given_up else policy.retry_after_s
        if evidence.failed_s_ago < rest_s:
            return f"the last retrain failed: the next try comes {_span(rest_s)} after it"
    if evidence.released_s_ago is not None and evidence.released_s_ago < policy.cooldown_s:
        return f"the last retrain ended less than {_span(policy.cooldown_s)} ago: the cool-down"
    return ""


def _called(evidence: Evidence, policy: RetrainPolicy) -> RetrainDecision:
    """Return what calls for a retrain, were nothing in the way."""
    audit, drifted = evidence.audit, evidence.alarm_lasted_s is not None
    default = Trigger.DRIFT if drifted else Trigger.NONE
    enough = evidence.labels >= policy.labels
    there = f"{evidence.labels} of {policy.labels} labels are there"
    if audit.labels >= policy.min_audit and audit.upper < policy.min_accuracy:
        measured = (
            f"accuracy on {audit.labels} random parts is {audit.accuracy:.3f} (at most {audit.upper:.3f}{audit.beside})"
        )
        why = f"{measured}, below {policy.min_accuracy}"
        trigger = default if drifted else Trigger.ACCURACY
        return RetrainDecision(True, why, trigger) if enough else RetrainDecision(False, f"{there}; {why}", trigger)
    if evidence.alarm_lasted_s is not None:
        if not enough:
            return RetrainDecision(False, there, default)
        if evidence.alarm_lasted_s >= policy.enough_anyway_s:
            return RetrainDecision(True, f"the drift has lasted {evidence.alarm_lasted_s / _DAY_S:.1f} days", default)
    elif policy.every_s > 0 and evidence.period_s >= policy.every_s:
        every = f"the schedule's {_span(policy.every_s)} are over"
        if enough:
            return RetrainDecision(True, f"{every} and {evidence.labels} new labels are there", Trigger.SCHEDULE)
        return RetrainDecision(False, f"{every}, but only {there}", Trigger.SCHEDULE)
    if audit.labels < policy.min_audit:
        more = f" ({audit.disputed} more are disputed)" if audit.disputed else ""
        unknown = f"only {audit.labels} labels of random parts{more}: too few to judge the accuracy"
        return RetrainDecision(False, unknown if drifted else f"no alarm is open; {unknown}", default)
    holds = f"labels say the model still holds: accuracy {audit.accuracy:.3f} (up to {audit.upper:.3f}{audit.beside})"
    return RetrainDecision(False, holds, default)


def _span(seconds: float) -> str:
    if seconds >= 2 * _DAY_S:
        return f"{seconds / _DAY_S:.3g} days"
    return f"{seconds / _HOUR_S:.3g} h" if seconds >= _HOUR_S else f"{seconds / 60.0:.3g} min"
