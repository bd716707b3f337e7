"""What people's labels and the held-out record say of a series, in one value with one sentence."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from cloud.drift.accuracy import Accuracy, AuditLabel, accuracy
from cloud.drift.answers import AnswerState
from cloud.drift.causes import Cause, cause_in_words
from cloud.drift.concept import (
    ConceptPolicy,
    ConfidenceSequence,
    SpotLabel,
    concept_state,
    promised_accuracy,
    spot_labels_in_order,
)
from cloud.drift.estimated_accuracy import EstimatedAccuracies, EstimatedAccuracy, estimated_accuracies, no_estimate
from cloud.drift.fleet_status import StationPhase
from cloud.drift.held_out import HeldOut
from cloud.drift.label_shift import Share, label_shares, shift_sentence

# An accuracy of one label or two is no news, whatever its interval.
_LEAST_SAID = 10
_CONTRADICTED = "people's labels say that the answers became wrong"


class NamedShare(msgspec.Struct, frozen=True):
    """A label's share among the parts now, with 95 % confidence, and `before`."""

    label: str
    before: float
    estimate: float
    low: float
    high: float


class Shares(msgspec.Struct, frozen=True):
    """The shares of all labels, none where they cannot be told. `since`: what `before` is, "first windows" or "held out"."""

    shares: tuple[NamedShare, ...]
    since: str
    answers: int
    valid: bool
    why: str
    sentence: str


class Concept(msgspec.Struct, frozen=True):
    """Whether the answers became wrong. `e_value` rings at `threshold`; it bets against an accuracy of `least_accuracy` or more.

    `promised`: the accuracy to expect on this line. `crossed_at`: when the frame that crossed the threshold was captured, by the
    station's clock. `found`: it crossed, and nothing that is seen or answered moved; `why` says why no claim can be made, else "".
    """

    found: bool
    e_value: float
    threshold: float
    promised: float | None
    least_accuracy: float | None
    labels: int
    crossed_at: float | None
    why: str


class LabelView(msgspec.Struct, frozen=True):
    """The view of one series; `sentence` is "" where there is nothing to say.

    `audit`: accuracy on the audit labels, 95 % at this moment. `sequence`: the same at every moment at once. `disputed`: audit
    frames on which people disagree; both intervals allow for either outcome of them.
    """

    sentence: str
    audit: Accuracy | None
    sequence: ConfidenceSequence | None
    concept: Concept
    shares: Shares
    ac: EstimatedAccuracy
    atc: EstimatedAccuracy
    disputed: int = 0


def label_view(
    *,
    state: AnswerState,
    record: HeldOut | None,
    no_record: str,
    labels: Sequence[SpotLabel],
    betting: Sequence[SpotLabel],
    sequence: ConfidenceSequence | None,
    phase: StationPhase,
    cause: Cause,
    policy: ConceptPolicy,
    disputed: Sequence[SpotLabel] = (),
) -> LabelView:
    """Return the view of one series.

    Args:
        state: its windows.
        record: the held-out record of the bundle it runs, None without one: `no_record` says why.
        labels: its audit labels under this bundle; `betting` are those captured while nothing had drifted.
        sequence: `bounded_sequence(labels, disputed)`; the caller remembers it, for it costs more than all the rest.
        disputed: its audit frames on which people disagree; whether they are `correct` is not looked at.
        phase, cause: how the detectors say that it stands.
    """
    if record is not None and record.artefact != state.artefact:
        record, no_record = None, "the station runs another artefact of its bundle than the one that was held out"
    doubt = _doubt(phase, cause)
    first = _first_shares(state, record)
    concept = _concept(betting, record, no_record, first, phase, cause, policy)
    if concept.found:
        # Both rest on answers being right as often as they were, label by label and confidence by confidence.
        doubt = _CONTRADICTED
    shares = _shares(state, record, no_record, first, doubt)
    free = _without_labels(state, record, no_record, doubt)
    in_order = spot_labels_in_order(labels)
    unsure = [AuditLabel(None, label.inclusion) for label in disputed]
    audit = accuracy([*(AuditLabel(label.correct, label.inclusion) for label in in_order), *unsure])
    return LabelView(
        sentence=_sentence(audit, len(unsure), concept, shares, free),
        audit=audit,
        sequence=sequence,
        concept=concept,
        shares=shares,
        ac=free.ac,
        atc=free.atc,
        disputed=len(unsure),
    )


def concept_sentence(view: LabelView) -> str:
    """Return the sentence of an alarm about answers that became wrong."""
    return f"{_wrong(view.audit, view.concept)}; what is seen and answered is unchanged"


def moved_share(state: AnswerState, record: HeldOut | None, windows: int) -> str:
    """Return which label's share moved most in the latest `windows` windows, in words; "" where none is sure to have.

    For the alarm about a label shift, which rings when only a few of the remembered windows have shifted.
    """
    first = _first_shares(state, record)
    if record is None or first is None or record.artefact != state.artefact or windows < 1:
        return ""
    latest = label_shares(record.confusion(), state.label_windows()[-windows:])
    return shift_sentence(record.labels, first, latest) or ""


def _doubt(phase: StationPhase, cause: Cause) -> str:
    if phase is StationPhase.ENROLLING:
        return "the camera is being enrolled: whether what is seen has changed cannot be told yet"
    if phase is StationPhase.ALARMED and cause is not Cause.LABEL_SHIFT:
        return f"an alarm is open: {cause_in_words(cause.value)}"
    return ""


def _first_shares(state: AnswerState, record: HeldOut | None) -> tuple[float, ...] | None:
    if record is None or not state.first.labels or len(state.first.labels) != len(record.labels):
        return None
    found = label_shares(record.confusion(), AnswerState(latest=(state.first,)).label_windows())
    return tuple(share.estimate for share in found.shares) if found.valid else None


def _concept(
    labels: Sequence[SpotLabel],
    record: HeldOut | None,
    no_record: str,
    shares: Sequence[float] | None,
    phase: StationPhase,
    cause: Cause,
    policy: ConceptPolicy,
) -> Concept:
    threshold = 1.0 / policy.alpha
    if record is None:
        return Concept(False, 0.0, threshold, None, None, len(labels), None, no_record)
    promised, least = promised_accuracy(record.confusion(), shares, tolerance=policy.tolerance)
    bets = concept_state(labels, least, policy.alpha)
    why = _doubt(phase, cause)
    if not why and phase is not StationPhase.QUIET:
        why = f"what is answered has changed ({cause.value})"
    found = bets.crossed_at is not None and not why
    return Concept(found, bets.e_value, threshold, promised, least, bets.labels, bets.crossed_at, why)


def _shares(
    state: AnswerState, record: HeldOut | None, no_record: str, first: tuple[float, ...] | None, doubt: str
) -> Shares:
    windows = state.label_windows()
    if record is None:
        return Shares((), "", int(windows.sum()), False, no_record, "")
    if not state.latest:
        return Shares((), "", 0, False, "no window of this model is in", "")
    found = label_shares(record.confusion(), windows, doubt=doubt)
    held_out = (record.confusion().sum(axis=1) / record.images).tolist()
    before = first or tuple(held_out)
    named = tuple(_named(*each) for each in zip(record.labels, before, found.shares, strict=False))
    since = "first windows" if first else "held out"
    said = shift_sentence(record.labels, before, found) if first else None
    return Shares(named, since, found.answers, found.valid, found.why, said or "")


def _named(label: str, before: float, share: Share) -> NamedShare:
    return NamedShare(label, before, share.estimate, share.low, share.high)


def _without_labels(state: AnswerState, record: HeldOut | None, no_record: str, doubt: str) -> EstimatedAccuracies:
    if record is None:
        return no_estimate(no_record)
    return estimated_accuracies(record.confidence_counts(), record.accuracy, state.confidences(), doubt=doubt)


def _sentence(
    audit: Accuracy | None, disputed: int, concept: Concept, shares: Shares, free: EstimatedAccuracies
) -> str:
    said = []
    labels = audit.labels if audit else 0
    if concept.found:
        said.append(_wrong(audit, concept))
    elif audit is not None and labels >= _LEAST_SAID:
        said.append(f"accuracy {_measured(audit)}")
    elif disputed and labels + disputed >= _LEAST_SAID:
        said.append(f"accuracy not known: people disagree on {disputed} of {labels + disputed} audit frames")
    if free.atc.valid and free.atc.estimate is not None:
        said.append(f"estimated without labels {free.atc.estimate:.2f}")
    if shares.sentence:
        said.append(shares.sentence)
    return "; ".join(said)


def _wrong(audit: Accuracy | None, concept: Concept) -> str:
    measured = f"accuracy {_measured(audit)}" if audit else f"{concept.labels} audit labels"
    promised = "" if concept.promised is None else f", {concept.promised:.2f} was promised"
    return f"answers became wrong: {measured}{promised}"


def _measured(audit: Accuracy) -> str:
    plural = "" if audit.labels == 1 else "s"
    beside = f", {audit.disputed} more disputed and counted both ways" if audit.disputed else ""
    return f"{audit.estimate:.2f} ({audit.low:.2f} to {audit.high:.2f}) on {audit.labels} audit label{plural}{beside}"
