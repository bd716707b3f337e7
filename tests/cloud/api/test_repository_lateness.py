"""A repository that is late to be signed again is said to be so, to whoever asks the API or opens the page."""

from __future__ import annotations

from pathlib import Path

import httpx

from cloud.api.app import make_app
from cloud.api.fleet import fleet_routes
from cloud.dashboard.banners import banners_of
from cloud.registry.keys import init_keys, load_keys
from cloud.registry.release import Registry
from cloud.registry.resign import ResignJob
from cloud.rollout_loop import RolloutLoop, RolloutSettings
from tests.cloud.api.conftest import GUARDS, OPERATOR, CalmDrift, serve
from tests.fakes.cloud_fleet import FakeReleases, PlainSigner
from tests.fakes.cloud_tables import T0, Tables
from tests.fakes.link import RecordingLink

DAY = 86_400.0


def test_the_api_and_the_page_say_why_stations_will_soon_take_no_update(tables: Tables, tmp_path: Path) -> None:
    registry, at = Registry(tmp_path / "registry"), [T0]
    registry.tuf(init_keys(tmp_path / "keys")).create(T0)
    job = ResignJob(lambda: registry.tuf(load_keys(tmp_path / "keys")), lambda: at[0])
    releases = FakeReleases()
    control = RolloutLoop(
        rollouts=tables.rollouts, stations=tables.stations, releases=releases, signer=PlainSigner(),
        link=RecordingLink(), settings=RolloutSettings(), now=lambda: at[0],
    )  # fmt: skip
    routes = fleet_routes(
        guards=GUARDS, stations=tables.stations, summaries=tables.summaries, samples=tables.samples,
        control=control, drift=CalmDrift(), broker_connected=lambda: True, now=lambda: at[0], repository=job.status,
    )  # fmt: skip

    def page() -> str:
        signing = job.status().in_words()
        said = banners_of(broker_connected=True, simulated=(), strangers=(), signing=signing)
        return said[0].text if said else ""

    served = serve(make_app([routes]))
    url = next(served)
    try:
        with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {OPERATOR}"}, timeout=60.0) as client:
            calm = client.get("/v1/fleet").json()["repository"]
            assert (calm["state"], calm["late"], calm["sentence"]) == ("ok", False, "") and page() == ""
            assert {each["role"] for each in calm["roles"]} == {"root", "targets", "snapshot", "timestamp"}
            at[0] += 2.9 * DAY
            late = client.get("/v1/fleet").json()["repository"]
            assert (late["state"], late["late"]) == ("late", True)
            assert "timestamp metadata expires in" in late["sentence"] and page() == late["sentence"]
            job.tick()
            assert client.get("/v1/fleet").json()["repository"]["sentence"] == page() == ""
    finally:
        next(served, None)
