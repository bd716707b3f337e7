"""The pages of versions: why a candidate failed, where a version came from, and what may be done to it by whom."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from nicegui import ui
from playwright.sync_api import Page, expect

from cloud.dashboard.shell import COOKIE, Shell
from tests.browser.conftest import serve_pages
from tests.fakes.models_plant import HOSTILE, PEOPLE, ModelsPlant, models_plant

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelsPlant]:
    made = models_plant(tmp_path_factory.mktemp("models"))
    yield made
    made.tables.database.close()


@pytest.fixture(scope="module")
def url(plant: ModelsPlant) -> Iterator[str]:
    app = plant.app(Shell(PEOPLE.get, open_to_look=False))
    ui.run_with(app, show_welcome_message=False, reconnect_timeout=0.2)
    yield from serve_pages(app)


def as_role(role: str) -> dict[str, str]:
    return {COOKIE: role}


def unharmed(page: Page) -> None:
    assert page.title() != "owned" and page.locator("img[src='x']").count() == 0


@pytest.mark.slow
def test_an_engineer_reads_why_a_candidate_failed(
    url: str, open_page: Callable[..., Page], assert_accessible: Callable[[Page], None]
) -> None:
    page = open_page(f"{url}/models", as_role("engineer"))
    failed = page.locator(".did-not-pass")
    expect(failed).to_contain_text("accuracy:")
    expect(failed).to_contain_text("the lens is fogged")
    unharmed(page)
    failed.get_by_role("link", name=re.compile("Retrain 1")).click()
    expect(page.get_by_role("heading", name="Retrain 1", level=1)).to_be_visible()
    expect(page.get_by_text(re.compile(r"1 of \d+ checks did not hold: accuracy"))).to_be_visible()
    first = page.locator(".table-checks tbody tr").first
    expect(first).to_contain_text("failed")
    expect(first).to_contain_text("accuracy")
    expect(first).to_contain_text(HOSTILE)
    unharmed(page)
    assert_accessible(page)


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True])
def test_versions_are_listed_with_stage_gate_and_stations(
    url: str, open_page: Callable[..., Page], assert_accessible: Callable[[Page], None], dark: bool
) -> None:
    page = open_page(f"{url}/models", as_role("viewer"), dark=dark)
    row = page.locator(".table-versions tbody tr", has_text="v1")
    for words in ("champion", "passed", "2"):
        expect(row.first).to_contain_text(words)
    expect(page.get_by_text("Stations by the version they run: v1 2.")).to_be_visible()
    compare = page.locator(".table-compare")
    expect(compare).to_contain_text("accuracy on the holdout")
    expect(compare.locator("thead")).to_contain_text("v2")
    assert_accessible(page)


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True])
def test_lineage_leads_from_a_version_to_its_dataset_and_people_stay_text(
    url: str, open_page: Callable[..., Page], assert_accessible: Callable[[Page], None], dark: bool
) -> None:
    page = open_page(f"{url}/models/v2", as_role("viewer"), dark=dark)
    lineage = page.locator("ol.lineage")
    expect(lineage).to_contain_text(HOSTILE)
    expect(page.locator("pre.model-card")).to_contain_text("# ")
    expect(page.get_by_role("img", name=re.compile("Lineage: From labels to stations"))).to_be_visible()
    unharmed(page)
    assert_accessible(page)
    lineage.locator("li", has_text="7 images").get_by_role("link").click()
    expect(page.get_by_role("heading", name="What v2 learnt from")).to_be_visible()
    expect(page.get_by_text(re.compile("7 images of 7 parts"))).to_be_visible()
    expect(page.get_by_text(f"{HOSTILE}: 1 image")).to_be_visible()
    expect(page.locator(".table-labels")).to_contain_text("scratch")
    unharmed(page)
    assert_accessible(page)


def test_the_report_is_shown_in_a_frame_that_runs_nothing(url: str, open_page: Callable[..., Page]) -> None:
    page = open_page(f"{url}/models/v1", as_role("viewer"))
    page.locator(".report").get_by_text("The gate's report with its charts").click()
    frame = page.frame_locator("iframe[title='Gate report']")
    expect(frame.get_by_role("heading", name="Gate report: v1")).to_be_visible()
    assert page.locator("iframe").get_attribute("sandbox") == ""
    unharmed(page)


@pytest.mark.slow
def test_a_viewer_sees_no_buttons(url: str, open_page: Callable[..., Page]) -> None:
    for role in ("viewer", "engineer"):
        page = open_page(f"{url}/models/v2", as_role(role))
        expect(page.get_by_text("The gate's checks")).to_be_visible()
        for name in ("Retire", "Call it …"):
            expect(page.get_by_role("button", name=name)).to_have_count(0)


def test_a_version_that_is_not_there_is_said(url: str, open_page: Callable[..., Page]) -> None:
    page = open_page(f"{url}/models/v9", as_role("viewer"))
    expect(page.get_by_role("alert").get_by_text("no version 'v9'")).to_be_visible()
    expect(page.get_by_text("released: v2, v1, v0")).to_be_visible()


@pytest.mark.slow
def test_a_releaser_names_retires_and_takes_back_and_is_told_what_stands_in_the_way(
    url: str, open_page: Callable[..., Page], plant: ModelsPlant
) -> None:
    page = open_page(f"{url}/models/v0", as_role("releaser"))
    page.get_by_role("button", name="Call it …").click()
    page.get_by_label("Alias").fill("line-3")
    page.get_by_label("Reason (goes into the audit log)").fill("v1 is slow there")
    page.get_by_role("button", name="Set").click()
    expect(page.get_by_text("Also called line-3.")).to_be_visible()
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.get_by_role("button", name="Retire").click()
    page.get_by_label("Reason (goes into the audit log)").fill("old")
    page.get_by_role("dialog").get_by_role("button", name="Retire").click()
    expect(page.get_by_role("alert").get_by_text("'line-3' means version 'v0'")).to_be_visible()
    expect(page.get_by_role("dialog")).to_have_count(0)
    plant.desk.drop_alias("line-3", "anna", "")
    page.get_by_role("button", name="Retire", exact=True).click()
    page.get_by_label("Reason (goes into the audit log)").fill(f"old {HOSTILE}")
    page.get_by_role("dialog").get_by_role("button", name="Retire").click()
    expect(page.get_by_text(f"old {HOSTILE}")).to_be_visible()
    unharmed(page)
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert plant.versions.stages()["v0"].actor == "releaser anna"
    page.get_by_role("button", name="Take back that it is retired").click()
    page.get_by_label("Reason (goes into the audit log)").fill("still good")
    page.get_by_role("dialog").get_by_role("button", name="Take it back").click()
    expect(page.get_by_text("still good")).to_be_visible()
    assert plant.versions.stages()["v0"].stage.value == "CANDIDATE"


def test_who_lost_the_right_meanwhile_changes_nothing(
    url: str, open_page: Callable[..., Page], plant: ModelsPlant, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = open_page(f"{url}/models/v2", as_role("releaser"))
    page.get_by_role("button", name="Retire").click()
    page.get_by_label("Reason (goes into the audit log)").fill("no")
    monkeypatch.setitem(PEOPLE, "releaser", PEOPLE["viewer"])
    page.get_by_role("dialog").get_by_role("button", name="Retire").click()
    expect(page.get_by_role("alert").get_by_text("you may no longer do this")).to_be_visible()
    assert plant.versions.stages()["v2"].stage.value == "CANDIDATE"


def test_what_another_retired_meanwhile_is_told_and_stays_as_it_is(
    url: str, open_page: Callable[..., Page], plant: ModelsPlant
) -> None:
    page = open_page(f"{url}/models/v2", as_role("releaser"))
    expect(page.get_by_role("button", name="Retire")).to_be_visible()
    plant.desk.retire("v2", "bert", "I was first")
    page.get_by_role("button", name="Retire").click()
    page.get_by_label("Reason (goes into the audit log)").fill("me too")
    page.get_by_role("dialog").get_by_role("button", name="Retire").click()
    expect(page.get_by_role("alert").get_by_text("RETIRED")).to_be_visible()
    assert plant.versions.stages()["v2"].reason == "I was first"
    plant.desk.unretire("v2", "bert", "")
