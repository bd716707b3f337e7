"""Rollouts as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import msgspec

from cloud.ports.rollouts import Approval, Rollout
from cloud.rollout.evidence import read_evidence
from cloud.rollout.plan import read_plan
from cloud.rollout.waves_shown import Counted, waves_shown
from cloud.store.rollout_reading import SeenMember

INLINE_STATIONS = 200
"""Stations of a rollout that are listed with it; of a larger one they are behind /v1/rollouts/{id}/stations."""


def rollout_json(rollout: Rollout, counted: Sequence[Counted], said: Sequence[Approval]) -> dict[str, Any]:
    """Return a rollout without its stations."""
    plan, evidence = read_plan(rollout.plan), read_evidence(rollout.evidence)
    waves = waves_shown(plan, evidence, counted)
    return {
        **asdict(rollout),
        "plan": msgspec.to_builtins(plan),
        "evidence": msgspec.to_builtins(evidence),
        "waves": [{**asdict(wave), "words": wave.in_words()} for wave in waves],
        "station_count": sum(each.stations for each in counted),
        "approvals": [asdict(each) for each in said],
        "stations_at": f"/v1/rollouts/{rollout.id}/stations",
    }


def station_json(seen: SeenMember) -> dict[str, Any]:
    """Return a station of a rollout; `said` is what it last said of its order, such as why it tries again.
    `by_http`: it is not online, and gets its order with its next question over HTTP.
    """
    return {**asdict(seen.member), "online": seen.online, "by_http": seen.by_http, "said": seen.said}


EXAMPLE_STATION: dict[str, Any] = {
    "rollout": 3,
    "station": "line1",
    "wave": 0,
    "state": "COMMITTED",
    "deployment": "r3-line1",
    "previous_bundle": "5f" * 32,
    "ordered_at": 1795200005.0,
    "ended_at": 1795200065.0,
    "reason": "",
    "arm": "",
    "stratum": "jetson/hall 1",
    "online": True,
    "by_http": False,
    "said": "",
}
EXAMPLE: dict[str, Any] = {
    "id": 3,
    "version": "v2",
    "bundle": "9f" * 32,
    "state": "RUNNING",
    "wave": 1,
    "wave_started_at": 1795200070.0,
    "changed_stations": [],
    "reason": "finds scratches on line 4",
    "created_at": 1795200000.0,
    "ended_at": None,
    "kind": "release",
    "author": "anna",
    "hold": "waiting for line2",
    "plan": {"wave_shares": [0.05, 0.25], "max_failure": 0.02},
    "evidence": {"heard": 1, "failed": 0, "lower": 0.0, "upper": 0.95},
    "waves": [{"number": 0, "name": "canary", "stations": 1, "committed": 1, "words": "1 of 1 committed"}],
    "station_count": 2,
    "approvals": [{"person": "bert", "approved": True, "note": "", "at": 1795200001.0}],
    "stations_at": "/v1/rollouts/3/stations",
    "stations": [EXAMPLE_STATION],
}
