"""The parts that pages are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from fastapi import FastAPI, Request
from nicegui import ui
from playwright.sync_api import Page, expect

from cloud.api.auth import Person, Role
from cloud.dashboard import parts
from cloud.dashboard.charts import axis
from cloud.dashboard.parts import Column, Kind, PageRequest, Tone
from cloud.dashboard.shell import COOKIE, Shell
from contract.errors import InvalidConfig, TransientError
from tests.browser.conftest import serve_pages

pytestmark = pytest.mark.browser

VIEWER = {COOKIE: "anna"}
EVIL = "<img src=x onerror=\"document.title='owned'\"> {{ 6*7 }} </td><b>bold</b>"
WEATHER = {"broken": False, "value": 1}
REASONS: list[str | None] = []


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    app, shell = FastAPI(), Shell(lambda _: Person("anna", Role.VIEWER), open_to_look=False)
    columns = [
        Column("name", "Name", Kind.LINK, sortable=True),
        Column("number", "Number", Kind.NUMBER, sortable=True),
        Column("state", "State", Kind.BADGE),
    ]

    def read(asked: PageRequest) -> parts.Page:
        numbers = sorted(range(120), reverse=asked.descending)
        rows = [
            {"name": (EVIL if n == 7 else f"row {n}", f"/row/{n}"), "number": n * 1000, "state": ("fine", Tone.GOOD)}
            for n in numbers[asked.start : asked.start + asked.limit]
        ]
        return parts.Page(rows, 120)

    @ui.page("/")
    def page(request: Request) -> None:
        if (entered := shell.enter(request, "Parts", "/")) is None:
            return
        visit, column = entered
        with column:
            table = parts.paged_table("rows", columns, title="Rows", nothing="No row yet.", read=read)
            parts.live(visit, table.read_now, table.show, 0.2)
            bare = parts.paged_table("bare", columns[:1], title="Bare", nothing=f"No row yet: {EVIL}")
            bare.show(parts.Page([{"name": ("tempting", "javascript:alert(1)")}], 1))
            parts.paged_table("none", columns[:1], title="None", nothing=f"No row yet: {EVIL}")
            with parts.card("Weather"):
                value = ui.label().classes("value")
                drawn = parts.chart("Weather over time", height="10rem")

                def look() -> int:
                    if WEATHER["broken"]:
                        raise TransientError("the barometer is away", hint="bring it back")
                    return int(WEATHER["value"])

                def show(found: int) -> None:
                    value.set_text(f"value {found}")
                    drawn.show(
                        lambda colours: {
                            "xAxis": axis(colours, type="category", data=["a", EVIL]),
                            "yAxis": axis(colours, type="value"),
                            "series": [{"type": "line", "name": EVIL, "data": [found, 2]}],
                        },
                        f"it is {found}",
                    )

                parts.live(visit, look, show, 0.2, what="The weather")
            parts.badge(EVIL, Tone.BAD)
            parts.empty("Nothing here.", "Add something.")
            parts.trouble(InvalidConfig("no such thing", hint="make one"))

            async def ask() -> None:
                REASONS.append(await parts.ask_reason("Stop line1?", "Stop", explain="It will be REVIEW.", danger=True))

            parts.act("Stop it", ask)

    ui.run_with(app, show_welcome_message=False, reconnect_timeout=0.2)
    yield from serve_pages(app)


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True])
def test_every_part_can_be_read_by_everybody(
    url: str, open_page: Callable[..., Page], assert_accessible: Callable[..., None], dark: bool
) -> None:
    page = open_page(url, VIEWER, dark=dark, width=1100)
    expect(page.get_by_text("1–50 of 120")).to_be_visible()
    expect(page.get_by_text("it is 1")).to_be_visible()
    expect(page.get_by_role("alert").get_by_text("no such thing")).to_contain_text("make one")
    assert page.evaluate("document.documentElement.scrollWidth") <= 1100
    assert_accessible(page)


def test_a_table_turns_pages_and_sorts_by_keyboard(url: str, open_page: Callable[..., Page]) -> None:
    page = open_page(url, VIEWER)
    rows = page.locator(".table-rows tbody tr")
    expect(rows).to_have_count(50)
    page.locator(".pl-pager").first.get_by_role("button", name="Next").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_text("51–100 of 120")).to_be_visible()
    expect(rows.first).to_contain_text("row 50")
    page.get_by_role("button", name="Number").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".table-rows th[aria-sort=ascending]")).to_have_count(1)
    page.keyboard.press("Enter")  # the button still has the focus
    expect(rows.first).to_contain_text("119,000")
    expect(page.get_by_text("1–50 of 120")).to_be_visible()
    expect(page.locator(".table-rows th[aria-sort=descending]")).to_have_text("Number ▼")


def test_what_rows_say_is_text_and_links_stay_here(url: str, open_page: Callable[..., Page]) -> None:
    page = open_page(url, VIEWER)
    expect(page.get_by_role("link", name=EVIL)).to_have_attribute("href", "/row/7")
    expect(page.locator(".table-none")).to_contain_text(f"No row yet: {EVIL}")
    expect(page.locator(".table-bare")).to_contain_text("tempting")
    assert page.locator(".table-bare a, .pl-page img, .pl-page b").count() == 0
    assert page.title() == "Parts · Plumbline"


def test_trouble_is_told_with_what_to_do_and_goes_when_it_is_over(url: str, open_page: Callable[..., Page]) -> None:
    page = open_page(url, VIEWER)
    expect(page.locator(".value")).to_have_text("value 1")
    WEATHER["broken"] = True
    expect(page.locator(".trouble:visible")).to_contain_text("The weather cannot be read; what is below may be old.")
    expect(page.locator(".value")).to_have_text("value 1")
    WEATHER.update(broken=False, value=2)
    expect(page.locator(".value")).to_have_text("value 2")
    expect(page.locator(".trouble:visible")).to_have_count(0)
    WEATHER["value"] = 1


def test_a_chart_takes_the_colours_of_the_page_and_says_what_it_shows(url: str, open_page: Callable[..., Page]) -> None:
    page = open_page(url, VIEWER)
    image = page.get_by_role("img", name="Weather over time: it is 1")
    expect(image).to_be_visible()
    colour = f"() => getElement({image.get_attribute('id')[1:]}).chart.getOption().textStyle.color"
    page.wait_for_function(f"({colour})() === '#0f172a'")
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(f"({colour})() === '#e2e8f0'")


@pytest.mark.slow
def test_a_reason_is_asked_for_once_and_escape_thinks_better_of_it(
    url: str, open_page: Callable[..., Page], assert_accessible: Callable[..., None]
) -> None:
    page = open_page(url, VIEWER)
    REASONS.clear()
    opener = page.get_by_role("button", name="Stop it")
    opener.click()
    dialog = page.get_by_role("dialog", name="Stop line1?")
    field = dialog.get_by_label("Reason")
    expect(field).to_be_focused()
    expect(dialog.get_by_role("button", name="Stop", exact=True)).to_be_disabled()
    assert_accessible(page, ".q-dialog")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(opener).to_be_focused()
    opener.click()
    page.get_by_label("Reason").fill("a finger in the belt")
    page.get_by_role("button", name="Stop", exact=True).dblclick()
    expect(dialog).to_have_count(0)
    assert REASONS == [None, "a finger in the belt"]
