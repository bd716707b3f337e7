"""Thresholds on parts of the newest look: never laxer than before, stricter only where a defect was seen to pass."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.gate.look_checks import refutes
from cloud.gate.scorecard import Promise
from cloud.quantize.new_look import LookScores, looks_of, tighten
from cloud.quantize.thresholds import CANDIDATES
from cloud.retrain.dataset import Sample
from cloud.retrain.run_records import DatasetEntry, Split
from contract.manifest import Thresholds

PROMISE = Promise(0.02, 0.1)
_SHARES = st.floats(0.0, 1.0, width=32)
_PARTS = st.lists(st.tuples(st.booleans(), _SHARES, st.booleans()), max_size=25)
_PROMISES = st.builds(Promise, st.floats(0.005, 0.4), st.floats(0.01, 0.5))
_PASS_AT = st.one_of(st.sampled_from(CANDIDATES), st.just(1.0))


def _look(parts: list[tuple[bool, float, bool]]) -> LookScores:
    could, mass, defect = zip(*parts, strict=True) if parts else ((), (), ())
    return LookScores(np.array(could, np.bool_), np.array(mass, np.float32), np.array(defect, np.bool_))


def _tightened(pass_at: float, *looks: LookScores, promise: Promise = PROMISE) -> float:
    return tighten(Thresholds(pass_at, 0.5, "chosen"), looks, promise).pass_at


@settings(max_examples=60)
@given(_PASS_AT, st.lists(_PARTS, max_size=3), _PROMISES)
def test_thresholds_are_never_laxer_and_hold_as_far_as_parts_can_tell(
    pass_at: float, parts: list[list[tuple[bool, float, bool]]], promise: Promise
) -> None:
    looks = [_look(each) for each in parts]
    found = _tightened(pass_at, *looks, promise=promise)
    assert pass_at <= found <= 1.0
    if found < 1.0:
        assert not any(refutes(*look.counts(found), promise) for look in looks)
    laxer = [each for each in CANDIDATES if pass_at <= each < found]
    assert all(any(refutes(*look.counts(each), promise) for look in looks) for each in laxer), "no stricter than needed"


@settings(max_examples=60)
@given(_PASS_AT, _PARTS, st.data(), _PROMISES)
def test_one_more_missed_defect_never_gives_a_laxer_threshold(
    pass_at: float, parts: list[tuple[bool, float, bool]], data: st.DataObject, promise: Promise
) -> None:
    before = _tightened(pass_at, _look(parts), promise=promise)
    beside = [*parts, (True, data.draw(_SHARES), True)]
    assert _tightened(pass_at, _look(beside), promise=promise) >= before, "a further part that is a defect"
    if parts:
        place = data.draw(st.integers(0, len(parts) - 1))
        could, mass, _ = parts[place]
        turned = [*parts[:place], (could, mass, True), *parts[place + 1 :]]
        assert _tightened(pass_at, _look(turned), promise=promise) >= before, "a good part that turns out a defect"


@settings(max_examples=60)
@given(_PASS_AT, _PARTS, _PROMISES)
def test_parts_without_a_missed_defect_change_nothing(
    pass_at: float, parts: list[tuple[bool, float, bool]], promise: Promise
) -> None:
    # A defect that is not taken for a good part, or with less certainty than is asked for, is no miss.
    harmless = [(could and not (defect and mass >= pass_at), mass, defect) for could, mass, defect in parts]
    before = Thresholds(pass_at, 0.5, "chosen")
    assert tighten(before, [_look(harmless)], promise) is before
    assert tighten(before, [], promise) is before


def test_threshold_goes_up_to_where_the_misses_end_and_says_why() -> None:
    look = _look([*[(True, 0.99, False)] * 6, (True, 0.7, True), (True, 0.62, True), (False, 0.2, True)])
    found = tighten(Thresholds(0.5, 0.5, "chosen"), [look], PROMISE)
    # One of seven refutes nothing; two of eight do.
    assert found.pass_at == 0.625 and look.counts(0.625) == (1, 7)
    assert found.method == (
        "chosen; made stricter from 0.5, where 2 of 8 parts that pass are defects among those labelled since and set aside"
    )
    assert found.reject_at == 0.5


def test_a_model_that_is_certain_of_a_defect_passes_short_of_certainty_nothing() -> None:
    certain = _look([(True, 1.0, True)] * 3)
    assert _tightened(0.5, certain) == 1.0 and refutes(*certain.counts(1.0), PROMISE), "the gate stops it"


def test_each_look_is_held_against_the_promise_by_itself() -> None:
    new, old = _look([(True, 0.8, True)] * 2), _look([(True, 0.9, False)] * 60)
    together = _look([*[(True, 0.8, True)] * 2, *[(True, 0.9, False)] * 60])
    assert _tightened(0.5, together) == 0.5 and _tightened(0.5, new, old) == 0.805


def _sample(folder: int, source: str, split: Split) -> Sample:
    name = f"{folder}/{source}/{split.value}"
    return Sample(np.zeros((4, 4), np.uint8), DatasetEntry(name, folder, "0" * 64, "good", "ann", source, split, name))


def test_the_look_labelled_last_is_told_from_those_before() -> None:
    base = [_sample(0, "base", split) for split in (Split.TRAIN, Split.CALIBRATION, Split.HOLDOUT)]
    first = [_sample(1, "reviewed:s1", split) for split in (Split.TRAIN, Split.DRIFT)]
    second = [_sample(2, "reviewed", split) for split in (Split.TRAIN, Split.DRIFT)]

    def looks(samples: list[Sample]) -> list[tuple[bool, list[int]]]:
        drift = [s for s in samples if s.entry.split is Split.DRIFT]
        found = looks_of([s.entry for s in samples], drift)
        return [(look.newest, [s.entry.folder for s in look.samples]) for look in found]

    assert looks(base) == []
    assert looks([*base, *first]) == [(True, [1])]
    assert looks([*base, *first, *second]) == [(True, [2]), (False, [1])]
    assert looks([*base, *first, second[0]]) == [(True, []), (False, [1])], "nothing of the newest was set aside"
