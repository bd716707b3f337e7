"""The loop from drift to retrain, put together."""

from __future__ import annotations

from cloud.broker.sharded import RunningLink
from cloud.clock import SystemClock
from cloud.improve_loop import ImproveLoop, ImproveRules, Stored
from cloud.label_watch import LabelWatch
from cloud.registry.held_out_records import HeldOutRecords
from cloud.registry.keys import Keys
from cloud.registry.release import Registry
from cloud.review.retrain_policy import RetrainPolicy
from cloud.rollout_loop import RolloutLoop
from cloud.settings import CloudSettings
from cloud.store_wiring import Stores, make_releaser


def make_improve_loop(
    settings: CloudSettings,
    stores: Stores,
    registry: Registry,
    keys: Keys,
    link: RunningLink,
    rollout: RolloutLoop,
    clock: SystemClock,
) -> ImproveLoop:
    """Return the loop from drift to retrain."""
    from cloud.retrain.pipeline import Pipeline

    for name in stores.stations.names():
        settings.check_no_cohort(name)
    releaser = make_releaser(settings, keys)
    pipeline = Pipeline(
        stores.alarms,
        registry.blobs,
        releaser,
        settings.path("work"),
        clock.now,
        settings.retrain.warm_pull,
        settings.retrain.no_miss,
        settings.retrain.drift_share,
    )
    rules = ImproveRules(
        labels_per_alarm=settings.review.labels_per_alarm,
        audit_share=settings.review.audit_share,
        ask_again_s=settings.review.ask_again_s,
        automatic=settings.retrain.automatic,
        retrain=RetrainPolicy(
            labels=settings.review.labels_per_alarm,
            min_accuracy=settings.retrain.min_accuracy,
            enough_anyway_s=settings.retrain.enough_anyway_s,
            every_s=settings.retrain.every_days * 86_400.0,
            cooldown_s=settings.retrain.cooldown_h * 3_600.0,
        ),
        routine_per_day=settings.review.routine_per_day,
    )
    return ImproveLoop(
        stored=Stored(
            stations=stores.stations,
            summaries=stores.summaries,
            alarms=stores.alarms,
            samples=stores.samples,
            commands=stores.commands,
            rollouts=stores.rollouts,
            audit=stores.audit,
        ),
        releases=registry.catalog,
        carry_out=pipeline.carry_out,
        start_rollout=rollout.start,
        link=link,
        labels=LabelWatch(
            samples=stores.samples, states=stores.answers, records=HeldOutRecords(registry), alarms=stores.alarms
        ),
        policy=settings.drift_policy(),
        rules=rules,
        now=clock.now,
        cohorts=settings.drift.cohorts,
    )
