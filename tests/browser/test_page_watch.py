"""The demo's own look at the page of rollouts: it sees a bad release stop, and is not fooled by less."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi import FastAPI
from nicegui import ui
from playwright.sync_api import Browser

from cloud.api.rollout_acts import RolloutActs
from cloud.dashboard.rollouts_page import RolloutDesk, install_rollouts_page
from cloud.dashboard.shell import Shell
from scripts.story.page_seen import Glance, PageWatch, showed_it_stopping
from tests.browser.conftest import serve_pages
from tests.fakes.rollout_fleet import RolloutFleet

pytestmark = pytest.mark.browser

STOPPING = Glance(
    "v2 · rollout 1 · release",
    "✕\nABORTING",
    "Stopped, and its stations are ordered back: s1: it crashed at once",
    "canary\n0 of 1 committed, 1 back\n50 %\n0 of 1 committed, 1 planned\neveryone\n0 of 2 committed, 2 planned",
    "1\tv2\trelease\t✕\nABORTING\t0 of 4 committed\t1 s ago by anna\ts1: it crashed",
)
STOPPED = Glance(
    "", "", "", "", "1\tv2\trelease\t✕\nABORTED\t0 of 4 committed, 1 back, 3 left out\t9 s ago by anna\ts1: it crashed"
)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, RolloutFleet]]:
    fleet = RolloutFleet(tmp_path_factory.mktemp("watch") / "cloud.db", stations=4)
    app = FastAPI()
    desk = RolloutDesk(
        reading=fleet.reading,
        approvals=fleet.tables.rollouts.approvals,
        acts=RolloutActs(fleet.loop, fleet.reading.one, fleet.clock.now),
        versions=lambda: [("v2", "")],
        now=fleet.clock.now,
    )
    install_rollouts_page(Shell(lambda _: None, open_to_look=True), desk)
    ui.run_with(app, show_welcome_message=False, reconnect_timeout=0.2)
    server = serve_pages(app)
    yield next(server), fleet
    next(server, None)
    fleet.close()


@pytest.mark.slow
def test_it_sees_a_bad_release_stop_at_the_canary(
    served: tuple[str, RolloutFleet], browser: Browser, tmp_path: Path
) -> None:
    url, fleet = served
    fleet.fleet.refuse.add("s1")
    with PageWatch(url, tmp_path / "page.png") as page:
        rollout = fleet.loop.start("v2", (), "anna")
        for _ in range(4):
            # The page has shown where things stand before they go on, however slowly it asks.
            page.wait_for(fleet.reading.one(rollout).state.name, 60.0)
            fleet.turns(1)
        page.wait_for("ABORTED", 60.0)
    assert page.trouble == "" and fleet.reading.one(rollout).ended_at is not None
    assert showed_it_stopping(page.glances, "v2"), page.glances
    assert showed_it_stopping([each for each in page.glances if "ABORTING" in each.state], "v2"), page.glances
    assert not showed_it_stopping(page.glances, "v3")
    assert (tmp_path / "page.png").read_bytes().startswith(b"\x89PNG")


def test_a_server_that_is_away_is_said_and_holds_nothing_up(tmp_path: Path, browser: Browser) -> None:
    with PageWatch("http://127.0.0.1:9", tmp_path / "page.png") as page:
        page.wait_for("v2", 60.0)
    assert "NOT LOOKED AT" in page.trouble and not page.glances


@pytest.mark.parametrize(
    ("glance", "seen"),
    [
        (STOPPING, True),
        (STOPPED, True),
        (replace(STOPPING, state="i\nRUNNING"), False),
        (replace(STOPPING, sentence=""), False),
        (replace(STOPPING, title="v1 · rollout 1 · release"), False),
        (replace(STOPPING, waves=STOPPING.waves.replace("1 planned", "1 under way")), False),
        (replace(STOPPING, waves=STOPPING.waves.replace("0 of 1 committed, 1 back", "1 of 1 committed")), False),
        (replace(STOPPED, newest=STOPPED.newest.replace("ABORTED", "DONE")), False),
        (replace(STOPPED, newest=STOPPED.newest.replace("1 back", "2 back")), False),
        (replace(STOPPED, newest=STOPPED.newest.replace("s1: it crashed", "")), False),
        (replace(STOPPED, newest=STOPPED.newest.replace("v2", "v22")), False),
    ],
)
def test_only_the_whole_of_it_counts(glance: Glance, seen: bool) -> None:
    assert showed_it_stopping([glance], "v2") is seen
