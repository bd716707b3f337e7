"""Overview, fleet and station in a real Chromium, served by the real command."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import httpx
import pytest
from playwright.sync_api import Page, expect

from contract.messages import ReportedState, StationState
from tests.fakes.cloud_plant import CloudPlant
from tests.fakes.cloud_tables import Tables, open_tables, received, summary

pytestmark = pytest.mark.browser

Open = Callable[..., Page]
EVIL = "<img src=x onerror=\"document.title='owned'\"> {{ 6*7 }} </td><b>bold</b>"


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudPlant]:
    """A fleet with a past."""
    made = CloudPlant(tmp_path_factory.mktemp("lively"))
    made.live_a_little()
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def empty_plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudPlant]:
    """A fleet without a station, served to other machines too."""
    made = CloudPlant(tmp_path_factory.mktemp("empty"))
    config = made.home / "cloud.toml"
    config.write_text(config.read_text().replace('[api]\nhost = "127.0.0.1"', '[api]\nhost = "0.0.0.0"'))
    made.start()
    yield made
    made.stop()


@pytest.fixture
def tables(plant: CloudPlant) -> Iterator[Tables]:
    opened = open_tables(plant.home / "cloud.db")
    yield opened
    opened.database.close()


def _row(page: Page, station: str) -> list[str]:
    row = page.locator(".table-stations tbody tr").filter(has=page.get_by_role("link", name=station, exact=True))
    expect(row).to_have_count(1)
    return row.locator("td").all_inner_texts()


@pytest.mark.slow
def test_a_first_time_operator_finds_the_drifting_station_from_the_overview(plant: CloudPlant, open_page: Open) -> None:
    page = open_page(plant.url)
    expect(page.get_by_role("heading", name="What needs somebody")).to_be_visible()
    need = page.locator(".pl-need").filter(has_text="line2: lens: sharpness -")
    expect(need).to_contain_text("today")
    expect(need.get_by_role("link", name="Look at it: drift alarm")).to_have_attribute("href", "/drift?series=line2")
    # By another way: how many drift leads to which.
    page.get_by_role("link", name="1 drifting").click()
    page.get_by_role("link", name="line2", exact=True).click()
    page.wait_for_url(f"{plant.url}/station/line2")
    expect(page.locator(".pl-sentences")).to_contain_text("lens: sharpness -")
    expect(page.get_by_text("Out of the enrolled range: sharpness -")).to_be_visible()


def test_the_overview_tells_what_needs_somebody_and_how_the_fleet_stands(plant: CloudPlant, open_page: Open) -> None:
    page = open_page(plant.url)
    expect(page.locator(".pl-needs")).to_contain_text("Rollout 2 of v2 stopped itself")
    expect(page.locator(".pl-needs")).to_contain_text("line1 went back to the bundle before: agreed on 41 % of frames")
    expect(page.locator(".pl-counts")).to_contain_text("2 of 3 stations online")
    expect(page.get_by_text("3 parts wait for an inspector, 1 labelled.")).to_be_visible()
    expect(page.get_by_text("No rollout is under way.")).to_be_visible()
    expect(page.get_by_text("frames since")).to_contain_text("78.1% pass, 12.5% reject, 9.4% review")
    expect(page.locator(".pl-banners .simulated")).to_contain_text(
        "SIMULATED: line1, line2 have no camera; what they see is simulated."
    )
    expect(page.locator(".pl-banners .broker")).to_contain_text("The broker is not reached")


def test_the_fleet_shows_each_station_as_it_is(plant: CloudPlant, open_page: Open) -> None:
    page = open_page(f"{plant.url}/fleet")
    expect(page.locator(".pl-headline")).to_contain_text("2 of 3 stations online, 1 never heard · 1 drifting")
    first, second, third = (_row(page, f"line{number}") for number in (1, 2, 3))
    assert first[:2] == ["line1", "hall 1"] and first[2].endswith("online") and first[3].endswith("in range")
    assert first[4:7] == ["within the enrolled range", "v1", "rolled back: agreed on 41 % of frames"]
    assert first[7:10] == ["1,280", "160", "120"]
    assert second[3].endswith("drifting") and second[4].startswith("lens: sharpness -")
    assert third[2].endswith("never heard") and third[3].endswith("enrolling") and third[-1] == "never"


@pytest.mark.parametrize(
    "path", ["/", "/fleet", "/fleet?view=map", "/station/line2", "/station/line3", "/station/nobody"]
)
@pytest.mark.parametrize("dark", [False, True])
def test_every_page_can_be_read_by_everybody_and_fits_the_window(
    plant: CloudPlant, open_page: Open, assert_accessible: Callable[..., None], path: str, dark: bool
) -> None:
    page = open_page(plant.url + path, dark=dark, width=1100)
    ready = {
        "/": "2 of 3 stations online",
        "/fleet": "hall 2",
        "/fleet?view=map": "3 stations: 1 drifting",
        "/station/line2": "Out of the enrolled range",
        "/station/line3": "This station has never said a word.",
        "/station/nobody": "There is no station called 'nobody'.",
    }[path]
    expect(page.get_by_text(ready).first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 1100
    wide = "[...document.querySelectorAll('.q-table__middle')].filter(e => e.scrollWidth > e.clientWidth + 1).length"
    assert page.evaluate(wide) == 0
    assert_accessible(page)


@pytest.mark.slow
def test_filters_are_in_the_address_and_a_link_shows_the_same(plant: CloudPlant, open_page: Open) -> None:
    page = open_page(f"{plant.url}/fleet")
    page.get_by_label("Name or site").fill("hall 2")
    expect(page.locator(".pl-headline")).to_contain_text("1 shown")
    page.get_by_role("button", name="Frames").click()
    page.wait_for_url("**/fleet?text=hall+2&sort=frames")
    other = open_page(page.url)
    expect(other.locator(".pl-headline")).to_contain_text("1 shown")
    expect(other.get_by_label("Name or site")).to_have_value("hall 2")
    expect(other.locator("th[aria-sort=ascending]")).to_contain_text("Frames")
    other.get_by_role("button", name="Take all filters away").click()
    expect(other.locator(".pl-headline")).not_to_contain_text("shown")
    page.goto(f"{plant.url}/fleet?drift=drifting")
    expect(page.locator(".table-stations tbody tr")).to_have_count(1)
    page.goto(f"{plant.url}/fleet?link=nonsense&start=-5&sort=nothing&needs=yes")
    expect(page.locator(".pl-headline")).to_contain_text("2 shown")


def test_a_choice_by_keyboard_filters(plant: CloudPlant, open_page: Open) -> None:
    page = open_page(f"{plant.url}/fleet")
    expect(page.locator(".table-stations tbody tr")).to_have_count(3)
    page.get_by_role("combobox", name="Link").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("option").first).to_be_visible()
    for key in ("ArrowDown", "ArrowDown", "Enter"):
        page.keyboard.press(key)
    page.wait_for_url("**/fleet?link=o*line")
    expect(page.locator(".pl-headline")).to_contain_text("shown")


@pytest.mark.slow
def test_pages_follow_the_fleet_without_a_reload(plant: CloudPlant, open_page: Open, tables: Tables) -> None:
    overview, fleet = open_page(plant.url), open_page(f"{plant.url}/fleet")
    station = open_page(f"{plant.url}/station/line3")
    expect(overview.locator(".pl-counts")).to_contain_text("2 of 3 stations online")
    expect(station.get_by_text("This station has never said a word.")).to_be_visible()
    tables.stations.commit([StationState("line3", "b", True, 0.0)], [], time.time())
    tables.summaries.commit(received(summary("line3", 1, passed=4321), at=time.time()), [])
    expect(overview.locator(".pl-counts")).to_contain_text("3 of 3 stations online")
    expect(fleet.locator(".table-stations")).to_contain_text("4,325")
    expect(station.get_by_text("This station has never said a word.")).to_be_hidden()


@pytest.mark.slow
def test_who_was_never_added_is_named_with_what_to_do(plant: CloudPlant, open_page: Open, tables: Tables) -> None:
    page = open_page(plant.url)
    expect(page.get_by_text("stations online").first).to_be_visible()
    expect(page.locator(".strangers")).to_have_count(0)
    tables.summaries.commit(received(summary("ghost", 1), at=time.time()), [])
    strangers = page.locator(".pl-banners .strangers")
    expect(strangers).to_contain_text("ghost speaks on the broker without having been added")
    expect(strangers).to_contain_text("plumbline-cloud station add NAME")


@pytest.mark.slow
def test_what_a_station_says_is_text_and_never_markup(plant: CloudPlant, open_page: Open, tables: Tables) -> None:
    tables.stations.commit([], [ReportedState("line3", "b", 0.0, "f" * 64, EVIL[:20], reason=EVIL)], time.time())
    with tables.database.write() as connection:
        connection.exec_driver_sql("UPDATE stations SET site = ? WHERE station = 'line3'", (EVIL,))
    tables.audit.append(time.time(), EVIL, "re-enrol", f"line3: {EVIL}")
    for path, where in (
        ("/", ".pl-needs, .pl-page"),
        ("/fleet", ".table-stations"),
        ("/station/line3", ".table-timeline"),
        ("/station/%3Cimg%20src=x%20onerror=alert(1)%3E", ".pl-empty"),
        ("/fleet?text=%3Cimg%20src=x%3E&site=%3Cb%3E", ".pl-page"),
    ):
        page = open_page(plant.url + path)
        expect(page.locator(where).first).to_be_visible()
        if path in ("/fleet", "/station/line3"):
            expect(page.locator(where).get_by_text(EVIL).first).to_be_visible()
        page.wait_for_timeout(500)
        assert page.locator(".pl-page img, .pl-page td b, .pl-page script").count() == 0
        assert "owned" not in page.title() and page.title().endswith(" · Plumbline")


@pytest.mark.slow
def test_the_server_ends_when_told_with_pages_open_and_its_log_has_no_traceback(
    plant: CloudPlant, open_page: Open
) -> None:
    # Before the test that takes a table away: its faults are in the log, as they should be.
    lost = ("ERR_CONNECTION_REFUSED", "WebSocket", "Failed to load resource")
    for path in ("/", "/fleet", "/station/line2"):
        page = open_page(plant.url + path, expected=lost)
        expect(page.locator(".pl-page h1")).to_be_visible()
        # A chart whose code was not fetched yet would say so in the console.
        page.wait_for_function(
            "[...document.querySelectorAll('.pl-chart:not(.hidden)')].every(each => each.querySelector('canvas, svg'))"
        )
        page.wait_for_load_state("networkidle")
    assert plant.stop() in (0, 130)  # 0 where the shell that started us ignores SIGINT, as for a job in the background
    log = plant.log.read_text()
    plant.start()
    assert "Traceback" not in log and "Warning" not in log, log


@pytest.mark.slow
def test_pages_say_when_the_data_cannot_be_read_and_recover(plant: CloudPlant, open_page: Open, tables: Tables) -> None:
    page = open_page(f"{plant.url}/fleet")
    expect(page.locator(".table-stations")).to_contain_text("lens: sharpness -")
    with tables.database.write() as connection:
        connection.exec_driver_sql("ALTER TABLE station_totals RENAME TO totals_away")
    try:
        said = page.locator(".trouble:visible").filter(has_text="The fleet's data cannot be read")
        expect(said).to_contain_text("what is below may be old")
        expect(said).to_contain_text("no such table: station_totals")
        expect(page.locator(".table-stations")).to_contain_text("lens: sharpness -")
    finally:
        with tables.database.write() as connection:
            connection.exec_driver_sql("ALTER TABLE totals_away RENAME TO station_totals")
    expect(page.locator(".trouble:visible")).to_have_count(0, timeout=60_000)


def test_an_empty_fleet_says_what_to_do_first(empty_plant: CloudPlant, open_page: Open) -> None:
    token = (empty_plant.home / "secrets" / "operator.token").read_text().strip()
    page = open_page(empty_plant.url)
    page.goto(f"{empty_plant.url}/sign-in")
    page.get_by_label("token", exact=False).first.fill(token)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{empty_plant.url}/")
    expect(page.locator(".pl-needs")).to_contain_text("plumbline-cloud station add NAME")
    page.goto(f"{empty_plant.url}/fleet")
    expect(page.locator(".table-stations")).to_contain_text("plumbline-cloud station add NAME")
    expect(page.locator(".trouble:visible")).to_have_count(0)
    expect(page.locator(".simulated")).to_have_count(0)


def test_the_health_of_the_server_needs_no_token(empty_plant: CloudPlant) -> None:
    assert httpx.get(f"{empty_plant.url}/healthz").status_code == 200


@pytest.mark.slow
def test_the_overview_tells_what_inspectors_disagree_on(plant: CloudPlant, open_page: Open, tables: Tables) -> None:
    page = open_page(plant.url)
    expect(page.get_by_text("3 parts wait for an inspector, 1 labelled.")).to_be_visible()
    (labelled,) = [name for name, acts in tables.samples.labels.all().items() if acts]
    tables.samples.label(labelled, "quite another", "a second inspector", time.time())
    told = "4 parts wait for an inspector (1 because two people disagree), 0 labelled."
    expect(page.get_by_text(told)).to_be_visible()
