"""The drift page in a real Chromium, over the real detectors: the cause in a sentence, the evidence over time, and what is done."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from nicegui import ui
from playwright.sync_api import Page, expect

from cloud.api.auth import Person, Role
from cloud.dashboard.drift_page import install_drift
from cloud.dashboard.drift_view import DriftBooks
from cloud.dashboard.shell import COOKIE, Shell
from cloud.drift.trace import TracePoint
from cloud.improve_loop import DriftOverview
from cloud.ports.alarms import Alarm
from cloud.store.drift_traces import DriftTraces
from tests.browser.conftest import serve_pages
from tests.cloud.test_improve_loop import Fleet
from tests.fakes.cloud_tables import T0, open_tables

pytestmark = pytest.mark.browser

ENGINEER, VIEWER = {COOKIE: "eva"}, {COOKIE: "vic"}
PEOPLE = {"eva": Person("eva", Role.ENGINEER), "vic": Person("vic", Role.VIEWER), "ian": Person("ian", Role.INSPECTOR)}


@dataclass
class Plant:
    """A fleet whose s1 lost its sharpness, and the page over it."""

    fleet: Fleet
    url: str
    people: dict[str, Person] = field(default_factory=dict)

    @property
    def alarm(self) -> Alarm:
        (found,) = self.fleet.tables.alarms.open()
        return found


def _served(install: Callable[[Shell], None], people: dict[str, Person]) -> Iterator[str]:
    app = FastAPI()
    install(Shell(lambda cookie: people.get(cookie), open_to_look=False))
    ui.run_with(app, show_welcome_message=False, reconnect_timeout=0.2)
    yield from serve_pages(app)


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    fleet = Fleet(open_tables(tmp_path / "cloud.db"))
    fleet.may_train.clear()
    fleet.drift()
    people = dict(PEOPLE)
    tables = fleet.tables
    books = DriftBooks(fleet.loop, tables.alarms, tables.samples, DriftTraces(tables.database), fleet.clock.now)
    pages = _served(lambda shell: install_drift(shell, books), people)
    yield Plant(fleet, next(pages), people)
    next(pages, None)
    fleet.may_train.set()
    fleet.loop._retrains._worker.shutdown(wait=True)
    tables.database.close()


@pytest.mark.parametrize("dark", [False, True])
def test_the_alarm_comes_first_with_its_cause_and_the_evidence_has_words(
    plant: Plant, open_page: Callable[..., Page], assert_accessible: Callable[[Page], None], dark: bool
) -> None:
    page = open_page(f"{plant.url}/drift", VIEWER, dark=dark)
    expect(page.locator(".drift-headline")).to_have_text("1 alarm open; 1 camera of 2 drifts, 0 being learnt.")
    assert plant.alarm.sentence.startswith("lens: sharpness -")
    expect(page.locator(".drift-alarm .drift-cause")).to_have_text(plant.alarm.sentence)
    expect(page.locator(".drift-doing")).to_contain_text("0 parts asked for, 0 came, 0 labelled")
    expect(page.locator(".drift-doing")).to_contain_text("no retrain now: 0 of 12 labels are there")
    chart = page.get_by_role("img", name="Evidence of a change over time")
    expect(chart).to_have_attribute(
        "aria-label", _matching(r"now 10\^\d+\.\d.*one camera alone is an alarm from 10\^3\.3 on")
    )
    expect(chart.locator("canvas, svg").first).to_be_visible()
    expect(page.locator(".drift-evidence")).to_contain_text("sharpness -")
    expect(page.locator(".drift-accuracy")).to_contain_text("Accuracy on labels: none of this model's random parts")
    expect(page.locator(".drift-accuracy")).to_contain_text("Accuracy without labels: ")
    expect(page.get_by_role("button", name="Take it as the new normal")).to_have_count(0)
    expect(page.get_by_role("button", name="Learn this camera anew")).to_be_hidden()
    assert_accessible(page)


def _matching(pattern: str) -> Any:
    import re

    return re.compile(pattern)


def test_the_evidence_is_of_each_window_and_stays_over_a_restart(plant: Plant) -> None:
    fleet = plant.fleet
    traces = DriftTraces(fleet.tables.database)
    points = traces.of("s1")
    held = [point.held for point in points]
    assert len(points) >= 6 and max(held[:4]) < 2.0 and held[-1] > 3.3 and held[-1] == max(held)
    before = {series: (traces.of(series), list(fleet.loop.newest_points(series))) for series in ("s1", "s2")}
    fleet.restart()
    fleet.loop.tick()
    for series, (stored, fresh) in before.items():
        again = {p.at: p.held for p in (*traces.of(series), *fleet.loop.newest_points(series))}
        assert again == {p.at: p.held for p in (*stored, *fresh)}, (
            "read again after a restart, none is lost and none is new"
        )


def test_an_engineer_learns_the_camera_anew_with_a_reason(plant: Plant, open_page: Callable[..., Page]) -> None:
    page = open_page(f"{plant.url}/drift", ENGINEER)
    page.get_by_role("button", name="Take it as the new normal").click()
    page.get_by_label("Reason").fill("<b>new lens</b>")
    page.get_by_role("button", name="Learn anew", exact=True).click()
    expect(page.locator(".drift-notice")).to_have_text("s1 is learnt anew.")
    expect(page.get_by_text("No alarm is open.")).to_be_visible()
    assert plant.fleet.tables.alarms.open() == []
    last = plant.fleet.tables.audit.entries()[-1]
    assert (last.actor, last.act, last.detail) == ("eva", "re-enrol", "s1: <b>new lens</b>")


def test_a_page_that_is_stale_does_nothing_and_says_so(plant: Plant, open_page: Callable[..., Page]) -> None:
    page = open_page(f"{plant.url}/drift", ENGINEER)
    page.get_by_role("button", name="Take it as the new normal").click()
    page.get_by_label("Reason").fill("new lens")
    plant.fleet.tables.alarms.close("s1", T0 + 9, "somebody was quicker")
    before = len(plant.fleet.tables.audit.entries())
    page.get_by_role("button", name="Learn anew", exact=True).click()
    expect(page.locator(".drift-notice")).to_contain_text("is closed by now. Nothing was done.")
    assert len(plant.fleet.tables.audit.entries()) == before


def test_who_lost_the_right_meanwhile_does_nothing(plant: Plant, open_page: Callable[..., Page]) -> None:
    page = open_page(f"{plant.url}/drift", ENGINEER)
    page.get_by_role("button", name="Take it as the new normal").click()
    page.get_by_label("Reason").fill("new lens")
    plant.people["eva"] = Person("eva", Role.VIEWER)
    page.get_by_role("button", name="Learn anew", exact=True).click()
    expect(page.locator(".drift-notice")).to_contain_text("Nothing was done.")
    assert plant.alarm.closed_at is None


@pytest.mark.slow
def test_a_reason_that_is_being_written_outlives_the_alarm_being_drawn_anew(
    plant: Plant, open_page: Callable[..., Page]
) -> None:
    page = open_page(f"{plant.url}/drift", ENGINEER)
    page.get_by_role("button", name="Take it as the new normal").click()
    page.get_by_label("Reason").fill("new lens")
    plant.fleet.send(1, "s1", notes=4)
    (names,) = plant.fleet.asked()
    plant.fleet.upload(names)
    expect(page.locator(".drift-doing")).to_contain_text("4 parts asked for, 4 came")
    expect(page.get_by_label("Reason")).to_have_value("new lens")
    page.get_by_role("button", name="Learn anew", exact=True).click()
    expect(page.locator(".drift-notice")).to_have_text("s1 is learnt anew.")


@pytest.mark.slow
def test_a_retrain_is_started_by_hand_from_the_labels_that_are_there(
    plant: Plant, open_page: Callable[..., Page]
) -> None:
    fleet = plant.fleet
    page = open_page(f"{plant.url}/drift", ENGINEER)
    expect(page.get_by_role("button", name="Take it as the new normal")).to_be_visible()
    expect(page.get_by_role("button", name="Start a retrain")).to_have_count(0)
    fleet.send(1, "s1", notes=4)
    (names,) = fleet.asked()
    fleet.upload(names)
    fleet.label(names[:2])
    expect(page.locator(".drift-doing")).to_contain_text("4 parts asked for, 4 came, 2 labelled")
    page.get_by_role("button", name="Start a retrain").click()
    page.get_by_label("Reason").fill("too late")
    plant.people["eva"] = Person("eva", Role.VIEWER)
    page.get_by_role("button", name="Start it", exact=True).click()
    expect(page.locator(".drift-notice")).to_contain_text("Nothing was done.")
    assert fleet.tables.alarms.retrains() == []
    expect(page.get_by_role("dialog")).to_have_count(0)
    plant.people["eva"] = Person("eva", Role.ENGINEER)
    page.get_by_role("button", name="Start a retrain").click()
    page.get_by_label("Reason").fill("=the line cannot wait")
    page.get_by_role("button", name="Start it", exact=True).click()
    expect(page.locator(".drift-notice")).to_have_text("A retrain for s1 is started.")
    (retrain,) = fleet.tables.alarms.retrains()
    assert (retrain.alarm, retrain.reason) == (plant.alarm.id, "eva: =the line cannot wait")
    expect(page.locator(".table-retrains")).to_contain_text("eva: =the line cannot wait")
    expect(page.get_by_role("button", name="Start a retrain")).to_have_count(0)
    fleet.loop.tick()
    fleet.may_train.set()
    fleet.until(lambda: fleet.retrained)
    assert fleet.retrained[0][:2] == (retrain.id, 2)


def test_an_inspector_is_not_shown_what_the_model_answers(plant: Plant, open_page: Callable[..., Page]) -> None:
    page = open_page(f"{plant.url}/drift", {COOKIE: "ian"})
    expect(page.get_by_text("sign in as one of: viewer, engineer, releaser, admin")).to_be_visible()
    expect(page.locator(".drift-alarm")).to_have_count(0)


class Many:
    """`cloud.api.drift.DriftControl`: ten thousand stations, of which four thousand are being learnt."""

    def __init__(self) -> None:
        self.names = tuple(f"line{number:05d}" for number in range(10_000))

    def overview(self) -> DriftOverview:
        return DriftOverview(self.names, self.names[:1], self.names[6_000:], {})

    def drift_of(self, station: str) -> list[dict[str, Any]]:
        return [self.drift_status(station)]

    def drift_status(self, series: str) -> dict[str, Any]:
        no = {"estimate": None, "valid": False, "why": "no record"}
        labels = {"sentence": "", "audit": None, "atc": no, "ac": no, "shares": {"sentence": ""}, "disputed": 0}
        return {
            "station": series, "camera": "", "phase": "enrolling", "sentence": f"<i>{series}</i> enrolling: 3 of 24 windows",
            "evidence": [], "shared_by": [], "labels": labels,
        }  # fmt: skip

    def newest_points(self, series: str) -> list[TracePoint]:
        return []

    def threshold_log10(self) -> float:
        return 7.0

    def re_enrol(self, series: str, actor: str, reason: str) -> None:
        raise AssertionError("nobody asked for it")

    def start_retrain(self, alarm: int, actor: str, reason: str) -> int:
        raise AssertionError("nobody asked for it")


@pytest.fixture
def many(tmp_path: Path) -> Iterator[str]:
    tables = open_tables(tmp_path / "cloud.db")
    books = DriftBooks(Many(), tables.alarms, tables.samples, DriftTraces(tables.database), lambda: T0)
    yield from _served(lambda shell: install_drift(shell, books), dict(PEOPLE))
    tables.database.close()


@pytest.mark.slow
def test_ten_thousand_stations_are_searched_and_never_all_listed(many: str, open_page: Callable[..., Page]) -> None:
    open_page(f"{many}/drift", VIEWER)  # the first page also makes the browser load what all pages share
    began = time.monotonic()
    page = open_page(f"{many}/drift", VIEWER)
    expect(page.locator(".drift-headline")).to_have_text(
        "0 alarms open; 1 camera of 10,000 drifts, 4,000 being learnt."
    )
    print(f"10,000 stations in {time.monotonic() - began:.2f} s")
    expect(page.locator(".table-enrolling tbody tr")).to_have_count(50)
    expect(page.locator(".drift-enrolling")).to_have_text("The first 50 are listed; find others by name.")
    expect(page.locator(".table-enrolling")).to_contain_text("<i>line06000</i> enrolling")
    page.get_by_label("Find a station or camera").fill("line0912")
    page.get_by_role("button", name="Find").click()
    expect(page.locator(".drift-found a")).to_have_count(10)
    page.get_by_role("link", name="line09123").click()
    expect(page.locator(".drift-one h3")).to_have_text("line09123")
    expect(page.get_by_role("img", name="No window has been judged yet")).to_be_visible()
    page.get_by_label("Find a station or camera").fill("<script>")
    page.get_by_role("button", name="Find").click()
    expect(page.get_by_text("No camera's name holds '<script>'.")).to_be_visible()
