"""The tables of cloud.toml that lead from drift to a better model: watching, asking people, retraining."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec

from cloud.drift.policy import MIN_ENROL_WINDOWS
from cloud.ports.series import split_series
from contract.errors import InvalidConfig, PlumblineError
from contract.ids import check_camera_name, check_station_id

# As in `cloud.drift.fleet`, which a command that reads a config need not load.
_FLEET, _MIN_COHORT = "fleet", 3
# The detectors' evidence has a cap, and an alpha that it does not reach, divided among a large fleet, would never be told.
_LEAST_ALPHA = 1e-12


class DriftSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How drift is watched (`cloud.drift.policy`). `alpha`: false alarms allowed a window.

    `period_s`: windows that begin in the same period are judged as one, and each is a window for what follows; 0 judges each as
    it comes. `enrol_windows`: windows that make a first baseline, which is learnt anew until there are `settle_windows`.
    `clear_windows`: quiet ones that end an alarm. `tolerance`: a shift too small to care about, in standard deviations of a
    single frame. `min_frames`: smaller windows are left out. `cohorts`: names of groups of three stations or more that share a
    property, such as a hall's light (a further camera of a station is "STATION/CAMERA"); the whole fleet is one anyway.
    """

    enrol_windows: int = 48
    alpha: float = 1e-3
    period_s: float = 3600.0
    settle_windows: int = 168
    clear_windows: int = 24
    tolerance: float = 0.1
    min_frames: int = 8
    cohorts: dict[str, tuple[str, ...]] = {}


def check_drift(drift: DriftSettings, file: Path) -> None:
    """Do nothing where drift can be watched so.

    Raises:
        InvalidConfig: it cannot; the message names `file` and the key.
    """
    if not 0.0 < drift.alpha < 1.0:
        raise InvalidConfig(f"{file}: drift.alpha = {drift.alpha} is not between 0 and 1")
    if drift.alpha < _LEAST_ALPHA:
        hint = f"use {_LEAST_ALPHA} or more: evidence is counted up to a limit, and what asks for more never alarms"
        raise InvalidConfig(f"{file}: drift.alpha = {drift.alpha} is too small", hint=hint)
    for key, value in (("drift.period_s", drift.period_s), ("drift.tolerance", drift.tolerance)):
        if not 0.0 <= value < math.inf:
            raise InvalidConfig(f"{file}: {key} = {value} must not be below 0, and finite")
    for key, count in (("drift.clear_windows", drift.clear_windows), ("drift.min_frames", drift.min_frames)):
        if count < 1:
            raise InvalidConfig(f"{file}: {key} = {count} must be above 0")
    if drift.enrol_windows < MIN_ENROL_WINDOWS:
        hint = f"a baseline needs at least {MIN_ENROL_WINDOWS}"
        raise InvalidConfig(f"{file}: drift.enrol_windows = {drift.enrol_windows}", hint=hint)
    if drift.settle_windows < drift.enrol_windows:
        hint = f"set it to drift.enrol_windows = {drift.enrol_windows} or more; as many: the first baseline stays"
        raise InvalidConfig(f"{file}: drift.settle_windows = {drift.settle_windows}", hint=hint)
    stations = {split_series(member)[0] for members in drift.cohorts.values() for member in members}
    for name, members in drift.cohorts.items():
        if not name or name == _FLEET or name in stations or "/" in name:
            hint = f"choose a name that is no station's, holds no '/', and is not '{_FLEET}', which the whole fleet has"
            raise InvalidConfig(f"{file}: drift.cohorts cannot have the name '{name}'", hint=hint)
        count = len({split_series(member)[0] for member in members})
        if count < _MIN_COHORT:
            hint = f"what fewer than {_MIN_COHORT} stations share is nobody's cause"
            raise InvalidConfig(
                f"{file}: drift.cohorts.{name} has {count} station{'' if count == 1 else 's'}", hint=hint
            )
        for member in members:
            try:
                station, camera = split_series(member)
                check_station_id(station)
                check_camera_name(camera)
            except PlumblineError as error:
                raise InvalidConfig(f"{file}: drift.cohorts.{name}: {error.message}", hint=error.hint) from error


class ReviewSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many frames people look at for an alarm, the share of them drawn at random, and how long an upload may take.

    `routine_per_day`: frames of each camera without an alarm that people look at in a day, spread over it, that share of them or
    more drawn at random; 0: none. Without them nobody can tell that answers became wrong where nothing that is seen changed.
    `second_look`: share of labelled frames that a second person is asked about; 0: none.
    """

    labels_per_alarm: int = 120
    audit_share: float = 0.5
    ask_again_s: float = 60.0
    routine_per_day: int = 4
    second_look: float = 0.1


class RetrainSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whether and when labels lead to a new model without a person starting it (`cloud.review.retrain_policy`).

    `min_accuracy`: below it on frames drawn at random, alarm or none, the model has failed. `enough_anyway_s`: a drift that lasts
    so long is answered whatever the accuracy. `every_days`: without an alarm too, once in so many days when
    review.labels_per_alarm new labels are there; 0: never. `cooldown_h`: for so long after a retrain that was released no other
    is started for the same camera, whatever calls for it.
    `warm_pull`: how hard a retrain draws weights back to the parent's (.4 makes deltas of a tenth of a bundle, at up to a point of
    accuracy on the images known so far, which the gate may not forgive); 0 lets all of them move.
    `no_miss`: whether a retrain's threshold lets no labelled defect pass that was set aside, though one may be chance
    (cloud.quantize.new_look). `drift_share`: of the labelled parts so many are set aside and judge the new model in place of being
    learnt, 0 to below 1.
    """

    automatic: bool = True
    min_accuracy: float = 0.9
    enough_anyway_s: float = 7 * 86_400.0
    every_days: float = 0.0
    cooldown_h: float = 24.0
    warm_pull: float = 0.0
    no_miss: bool = False
    drift_share: float = 0.15
