"""The inspector's page in a real Chromium: twenty parts by keyboard, the way back, two at once, and nothing told beforehand."""

from __future__ import annotations

import io
import re
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from nicegui import ui
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Page, Response, expect

from agent.store.png import encode_png
from cloud.api.auth import Guards, Person, Role
from cloud.dashboard.disputes_page import install_disputes
from cloud.dashboard.review_page import ReviewParts, install_review
from cloud.dashboard.review_view import ReviewDesk
from cloud.dashboard.shell import COOKIE, Shell
from cloud.registry.blobs import Blobs
from cloud.review.label_choice import LabelChoice
from cloud.store.review_claims import ReviewClaims
from cloud.store.samples import Samples
from contract.activation_map import PNG_KEYWORD, encode_map, summarise
from contract.decode import Prediction
from contract.manifest import Label, LabelKind
from contract.messages import SampleNote
from tests.browser.choosing import choose
from tests.browser.conftest import busy_factor, serve_pages
from tests.fakes.cloud_tables import T0, Tables, open_tables, received, summary

pytestmark = pytest.mark.browser

SECRET = "zinc-whiskers"
"""What the model says of every part; nothing that a browser is sent before the label may hold it."""

EVIL = "<img src=x onerror=\"document.title='owned'\">=cmd|'/c calc'!A1 {{6*7}}"


class Sure:
    """The cloud's models and the only one of them: everything is `SECRET`."""

    version, batches = "v-fp32", True

    def load(self, bundle: str) -> Sure:
        return self

    def tensor(self, pixels: NDArray[np.uint8]) -> NDArray[Any]:
        return np.zeros((1, 1))

    def blank(self) -> NDArray[Any]:
        return np.zeros((1, 1))

    def predict(self, tensors: NDArray[Any]) -> list[Prediction]:
        return [Prediction(0, Label(SECRET, LabelKind.DEFECT), 0.8642, 0.1358) for _ in tensors]


LABELS = LabelChoice(("good", SECRET, "scratch", EVIL[:60]), frozenset({"good"}))


@dataclass
class Line:
    """The page, its tables and who is signed in; `now` is the clock."""

    tables: Tables
    samples: Samples
    blobs: Blobs
    url: str = ""
    people: dict[str, Person] = field(default_factory=dict)
    labels: LabelChoice = LABELS
    now: float = T0 + 1000.0
    number: int = 0

    def sign_in(self, name: str, role: Role = Role.INSPECTOR) -> dict[str, str]:
        self.people[f"session of {name}"] = Person(name, role)
        return {COOKIE: f"session of {name}"}

    def keep(
        self, count: int, *, station: str = "s1", prefix: str = "x", part: str = "", lost: bool = False
    ) -> list[str]:
        """Let parts wait for a label, each an image of its own that tells where the model looked."""
        self.number += 1
        names = [f"{prefix}{self.number:03d}-{n:02d}" for n in range(count)]
        notes = tuple(
            SampleNote(name, T0 + n, part or f"part {name}", SECRET, 0.987, "REJECT", "hard", 0.5, 0.0)
            for n, name in enumerate(names)
        )
        self.tables.summaries.commit(received(summary(station, self.number, samples=notes)), [])
        self.samples.mark_requested(names, None, T0 + self.number)
        evidence = np.zeros((4, 4), np.float32)
        evidence[1, 2] = 1.0
        looked = summarise(SECRET, evidence)
        assert looked is not None
        for n, name in enumerate(names):
            pixels = np.full((96, 128), 40 + (7 * n + 31 * self.number) % 200, np.uint8)
            pixels[n % 90 : n % 90 + 6, :] = 255
            digest = self.blobs.put(encode_png(pixels, {PNG_KEYWORD: encode_map(looked)}))
            self.samples.mark_received(name, station, "0" * 63 + "1" if lost else digest, T0 + 5)
        return names

    def truths(self, names: list[str]) -> list[str | None]:
        return [self.samples.get(name).truth for name in names]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    folder = tmp_path_factory.mktemp("review")
    tables = open_tables(folder / "cloud.db")
    line = Line(tables, Samples(tables.database, 0.0), Blobs(folder / "blobs"))
    app, shell = FastAPI(), Shell(lambda cookie: line.people.get(cookie), open_to_look=False)
    claims = ReviewClaims(line.tables.database)

    def desk(name: str) -> ReviewDesk:
        return ReviewDesk(
            labeller=name, samples=line.samples, claims=claims, images=line.blobs,
            choice=lambda: line.labels, now=lambda: line.now,
        )  # fmt: skip

    guards = Guards(lambda _token: None, lambda request: shell.visit(request).person)
    install_review(app, shell, guards, ReviewParts(desk, line.samples, line.blobs, lambda: line.labels, Sure()))
    install_disputes(shell, line.samples, lambda: line.labels, lambda: line.now)
    ui.run_with(app, show_welcome_message=False, reconnect_timeout=0.2)
    pages = serve_pages(app)
    line.url = next(pages)
    yield line
    next(pages, None)
    line.tables.database.close()


@pytest.fixture
def line(served: Line) -> Line:
    """The page with an empty queue: what earlier tests left is labelled."""
    served.now += 10_000.0
    served.people.clear()
    served.labels = LABELS
    for left in served.samples.waiting(500):
        served.samples.label(left.sample, "good", "nobody", served.now, resolve=True)
    return served


def shown(page: Page) -> str:
    """Return the part that is on the screen, once there is one."""
    expect(page.locator(".review-stage[data-shown]:not([data-shown=''])")).to_be_visible()
    return page.locator(".review-stage").get_attribute("data-shown") or ""


def press(page: Page, key: str) -> str:
    """Press a key and return the part that comes next."""
    before = shown(page)
    page.keyboard.press(key)
    expect(page.locator(f".review-stage:not([data-shown='{before}'])")).to_be_visible()
    return page.locator(".review-stage").get_attribute("data-shown") or ""


@pytest.mark.slow
def test_an_inspector_labels_twenty_parts_by_keyboard_alone(line: Line, open_page: Callable[..., Page]) -> None:
    names = line.keep(20)
    page = open_page(f"{line.url}/review", line.sign_in("ann"))
    waits = []
    for number in range(20):
        assert shown(page) == names[number]
        press(page, "13"[number % 2])
        if number < 19:
            waits.append(int(page.locator(".review-stage").get_attribute("data-ms") or -1))
    expect(page.get_by_text("No part waits for you.")).to_be_visible()
    assert line.truths(names) == ["good", "scratch"] * 10
    assert {line.samples.get(name).labeller for name in names} == {"ann"}
    expect(page.locator(".review-progress")).to_contain_text("20 done today · 0 parts left · 2.0 a minute")
    print(f"from a key to the next image: median {statistics.median(waits)} ms, most {max(waits)} ms")
    assert 0 < statistics.median(waits) < 1000 * busy_factor(), waits


def test_a_key_pressed_twice_labels_one_part(line: Line, open_page: Callable[..., Page]) -> None:
    names = line.keep(3)
    page = open_page(f"{line.url}/review", line.sign_in("ann"))
    assert shown(page) == names[0]
    page.evaluate(
        "for (let n = 0; n < 5; n++) document.body.dispatchEvent(new KeyboardEvent('keydown', {key: '1', bubbles: true}))"
    )
    page.evaluate(
        f"for (let n = 0; n < 3; n++) emitEvent('review_act', {{kind: 'label', value: 2, shown: '{names[0]}'}})"
    )
    expect(page.locator(f".review-stage[data-shown='{names[1]}']")).to_be_visible()
    page.wait_for_timeout(300)
    assert line.truths(names) == ["good", None, None]
    assert len(line.samples.labels.of(names[0])) == 1


def test_the_last_label_is_taken_back_and_the_part_is_there_again(line: Line, open_page: Callable[..., Page]) -> None:
    names = line.keep(3)
    page = open_page(f"{line.url}/review", line.sign_in("ann"))
    assert (press(page, "3"), press(page, "3")) == (names[1], names[2])
    assert press(page, "Control+z") == names[1]
    expect(page.locator(".review-notice")).to_contain_text("Taken back: you had said scratch.")
    assert press(page, "z") == names[0] and line.truths(names) == [None, None, None]
    press(page, "1")
    assert [act.kind.value for act in line.samples.labels.of(names[0])] == ["label", "undo", "label"]
    assert line.truths(names) == ["good", None, None]


def test_nothing_tells_the_models_answer_before_the_label(line: Line, open_page: Callable[..., Page]) -> None:
    names = line.keep(3)
    line.labels = LabelChoice(("good", "scratch"), frozenset({"good"}))
    bodies: list[bytes] = []

    def keep(answer: Response) -> None:
        if answer.request.resource_type in ("image", "fetch", "xhr", "document"):
            bodies.append(answer.body())

    page = open_page(f"{line.url}/review", line.sign_in("ann"))
    page.on("response", keep)
    page.on("websocket", lambda ws: ws.on("framereceived", lambda frame: bodies.append(_bytes(frame))))
    page.reload()
    assert shown(page) == names[0]
    page.wait_for_timeout(500)
    said = b"\n".join(bodies)
    html = page.content()
    assert len(bodies) > 4 and b"\x89PNG" in said and names[0].encode() in said, "what was sent was looked at"
    for word in (SECRET, "0.987", "REJECT", "v-fp32", PNG_KEYWORD, "0.8642"):
        assert word.encode() not in said and word not in html, word
    early = page.request.get(f"{line.url}/review/overlay/{names[0]}")
    assert early.status == 409
    page.keyboard.press("o")
    page.keyboard.press("1")
    answer = page.locator(".review-answer")
    expect(answer).to_contain_text(f"The station's model disagrees with you: {SECRET} (0.99), verdict REJECT.")
    expect(answer).to_contain_text(f"full-precision model: {SECRET} (0.86, v-fp32)")
    expect(page.get_by_alt_text("Where the model looked")).to_be_visible()
    colours = page.request.get(f"{line.url}/review/overlay/{names[0]}").body()
    assert np.asarray(Image.open(io.BytesIO(colours))).shape == (96, 128, 3)
    page.keyboard.press("1")  # the answer is shown: no part is before them that this could label
    page.keyboard.press("Enter")
    expect(page.locator(f".review-stage[data-shown='{names[1]}']")).to_be_visible()
    expect(answer).to_be_hidden()
    assert line.truths(names) == ["good", None, None]


def _bytes(frame: Any) -> bytes:
    return frame if isinstance(frame, bytes) else str(frame).encode()


@pytest.mark.slow
def test_two_inspectors_never_have_the_same_part_until_one_is_left(line: Line, open_page: Callable[..., Page]) -> None:
    names = line.keep(5)
    ann = open_page(f"{line.url}/review", line.sign_in("ann"))
    first = shown(ann)
    bob = open_page(f"{line.url}/review", line.sign_in("bob"))
    seen = [first, shown(bob)]
    assert len(set(seen)) == 2
    seen.append(press(ann, "1"))
    seen.append(press(bob, "1"))
    seen.append(press(ann, "1"))
    assert sorted(seen) == names, "each part was before one of them, and before one only"
    assert press(bob, "1") == seen[4], "nothing else is left"
    expect(bob.locator(".review-beside")).to_contain_text("ann has this part before them, too")
    press(ann, "1")
    press(bob, "3")
    expect(bob.locator(".review-notice")).to_contain_text(
        "ann labelled this part meanwhile: yours counts as a second look."
    )
    acts = line.samples.labels.of(seen[4])
    assert [(act.labeller, act.label) for act in acts] == [("ann", "good"), ("bob", "scratch")]
    assert line.truths([seen[4]]) == [None] and line.samples.disputed() == 1


def test_who_leaves_gives_the_part_back(line: Line, open_page: Callable[..., Page]) -> None:
    names = line.keep(2)
    ann = open_page(f"{line.url}/review", line.sign_in("ann"))
    assert shown(ann) == names[0]
    ann.goto("about:blank")
    claims, until = ReviewClaims(line.tables.database), time.monotonic() + 30.0
    while claims.holders(names, line.now) and time.monotonic() < until:
        ann.wait_for_timeout(50)
    bob = open_page(f"{line.url}/review", line.sign_in("bob"))
    assert shown(bob) == names[0]


def test_what_one_is_unsure_of_waits_for_somebody_else(line: Line, open_page: Callable[..., Page]) -> None:
    names = line.keep(2)
    page = open_page(f"{line.url}/review", line.sign_in("ann"))
    assert press(page, "u") == names[1]
    press(page, "1")
    expect(page.get_by_text("No part waits for you.")).to_be_visible()
    expect(page.locator(".review-passed")).to_contain_text("1 part skipped by you")
    page.get_by_role("button", name="Look at what you skipped again").click()
    assert shown(page) == names[0] and line.truths(names) == [None, "good"]


def test_lost_pixels_are_passed_over_with_words_and_never_stop_the_queue(
    line: Line, open_page: Callable[..., Page]
) -> None:
    line.keep(3, prefix="gone", lost=True)
    (name,) = line.keep(1)
    page = open_page(f"{line.url}/review", line.sign_in("ann"))
    assert shown(page) == name
    expect(page.locator(".review-passed")).to_contain_text("3 parts passed over: the pixels are lost")
    expect(page.locator(".review-progress")).to_contain_text("1 part left")


def test_a_session_that_ended_is_refused_the_act(line: Line, open_page: Callable[..., Page]) -> None:
    names = line.keep(2)
    page = open_page(f"{line.url}/review", line.sign_in("ann"))
    assert shown(page) == names[0]
    del line.people["session of ann"]
    page.keyboard.press("1")
    expect(page.locator(".review-notice")).to_contain_text("Your session has ended")
    expect(page.locator(".review-stage img")).to_have_count(0)
    assert line.truths(names) == [None, None]
    assert page.request.get(f"{line.url}/review/image/{names[0]}").status == 401


def test_a_session_that_ended_is_told_of_no_further_part_and_keeps_none(
    line: Line, open_page: Callable[..., Page]
) -> None:
    names = line.keep(2)
    page = open_page(f"{line.url}/review", line.sign_in("ann"), expected=("401",))
    assert shown(page) == names[0]
    page.keyboard.press("o")
    page.keyboard.press("1")
    # The words are there a moment before the page takes a key again: its picture comes together with that.
    expect(page.get_by_alt_text("Where the model looked")).to_be_visible()
    del line.people["session of ann"]
    page.keyboard.press("Enter")
    expect(page.locator(".review-notice")).to_contain_text("Your session has ended")
    expect(page.locator(".review-facts")).not_to_contain_text(names[1])
    assert ReviewClaims(line.tables.database).holders(names, line.now) == {}


@pytest.mark.parametrize("role", [Role.VIEWER, Role.RELEASER, None])
def test_who_may_not_label_sees_no_part(line: Line, open_page: Callable[..., Page], role: Role | None) -> None:
    (name,) = line.keep(1)
    page = open_page(f"{line.url}/review", line.sign_in("vic", role) if role else {})
    expect(page.get_by_text("sign in as one of: inspector, engineer, admin")).to_be_visible()
    expect(page.locator(".review-stage")).to_have_count(0)
    assert page.request.get(f"{line.url}/review/image/{name}").status == (403 if role else 401)


def test_a_line_that_breaks_takes_no_keys_and_says_so(line: Line, open_page: Callable[..., Page]) -> None:
    names = line.keep(2)
    page = open_page(
        f"{line.url}/review", line.sign_in("ann"), expected=("WebSocket", "ERR_", "net::", "Failed to load")
    )
    assert shown(page) == names[0]
    page.evaluate("window.socket.io.opts.reconnection = false; window.socket.disconnect()")
    expect(page.locator(".review-offline")).to_be_visible()
    page.keyboard.press("1")
    page.wait_for_timeout(300)
    assert line.truths(names) == [None, None]


def test_the_image_is_moved_and_lit_on_the_display_alone(line: Line, open_page: Callable[..., Page]) -> None:
    (name,) = line.keep(1)
    page = open_page(f"{line.url}/review", line.sign_in("ann"))
    shown(page)
    stage, image = page.locator(".review-stage"), page.locator(".review-stage img")
    page.keyboard.press("+")
    page.keyboard.press("+")
    page.keyboard.press("ArrowRight")
    expect(stage).to_have_attribute("data-zoom", "1.56")
    expect(image).to_have_attribute("style", re.compile(r"translate\(-60px, 0px\) scale\(1\.5625\)"))
    page.get_by_role("slider", name="Brightness").fill("150")
    expect(image).to_have_attribute("style", re.compile(r"brightness\(150%\)"))
    stage.hover()
    page.mouse.wheel(0, 100)
    expect(stage).to_have_attribute("data-zoom", "1.25")
    page.mouse.down()
    page.mouse.move(500, 300)
    page.mouse.up()
    page.keyboard.press("0")
    expect(stage).to_have_attribute("data-zoom", "1.00")
    assert line.truths([name]) == [None]


def test_several_defects_of_one_part_where_labels_do_not_exclude_each_other(
    line: Line, open_page: Callable[..., Page]
) -> None:
    names = line.keep(3)
    line.labels = LabelChoice(("good", "dent", "scratch", "a;b"), frozenset({"good"}), several=True)
    page = open_page(f"{line.url}/review", line.sign_in("ann"))
    shown(page)
    page.keyboard.press("3")
    expect(page.get_by_role("button", name="scratch")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("2")
    expect(page.get_by_role("button", name="dent")).to_have_attribute("aria-pressed", "true")
    assert press(page, "Enter") == names[1]
    expect(page.get_by_role("button", name="dent")).to_have_attribute("aria-pressed", "false")
    press(page, "1")
    page.keyboard.press("4")
    expect(page.get_by_role("button", name="a;b")).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="dent").click()  # Enter does not press again what the mouse pressed
    expect(page.get_by_role("button", name="dent")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("Enter")
    expect(page.get_by_text("No part waits for you.")).to_be_visible()
    assert line.truths(names) == ["dent;scratch", "good", 'dent;"a;b"'], "a name that holds a semicolon is one label"


def test_an_engineer_settles_a_part_with_several_defects(line: Line, open_page: Callable[..., Page]) -> None:
    (name,) = line.keep(1)
    line.labels = LabelChoice(("good", "dent", "scratch", "a;b"), frozenset({"good"}), several=True)
    line.samples.label(name, "dent", "ann", line.now)
    line.samples.label(name, "scratch", "bob", line.now)
    page = open_page(f"{line.url}/review/disagreements", line.sign_in("eva", Role.ENGINEER))
    page.get_by_role("button", name="Settle it").click()
    expect(page.locator(".dispute-notice")).to_contain_text("Choose first what it is.")
    for label in ("a;b", "dent"):
        page.get_by_role("group", name="It is").get_by_role("checkbox", name=label).click()
    page.get_by_role("button", name="Settle it").click()
    page.get_by_label("Reason").fill("both are there")
    page.get_by_role("button", name="Settle", exact=True).click()
    expect(page.locator(".dispute-notice")).to_contain_text("is dent, a;b.")
    assert line.truths([name]) == ['dent;"a;b"']


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True])
def test_the_page_is_accessible_and_hostile_names_are_text(
    line: Line, open_page: Callable[..., Page], assert_accessible: Callable[[Page], None], dark: bool
) -> None:
    (name,) = line.keep(1, part=EVIL)
    page = open_page(f"{line.url}/review", line.sign_in(f"ann {EVIL}"[:100]), dark=dark)
    shown(page)
    expect(page.locator(".review-facts")).to_contain_text(EVIL)
    assert_accessible(page)
    page.keyboard.press("4")
    expect(page.get_by_text("No part waits for you.")).to_be_visible()
    assert line.truths([name]) == [EVIL[:60]] and "owned" not in page.title()
    assert page.locator("img[src='x']").count() == 0


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True])
def test_an_engineer_sees_what_people_disagree_on_and_settles_it_with_a_reason(
    line: Line, open_page: Callable[..., Page], assert_accessible: Callable[[Page], None], dark: bool
) -> None:
    (name,) = line.keep(1, part=EVIL)
    line.samples.label(name, "good", "ann", line.now)
    line.samples.label(name, "scratch", EVIL[:100], line.now)
    inspector = open_page(f"{line.url}/review/disagreements", line.sign_in("ian"))
    expect(inspector.get_by_text("sign in as one of: engineer, admin")).to_be_visible()
    page = open_page(f"{line.url}/review/disagreements", line.sign_in("eva", Role.ENGINEER), dark=dark)
    expect(page.get_by_text("ann says good")).to_be_visible()
    expect(page.get_by_text(f"{EVIL[:100]} says scratch")).to_be_visible()
    expect(page.locator(".agreement")).to_contain_text("labelled by two people")
    assert_accessible(page)
    choose(page, page.get_by_role("combobox", name="It is"), "scratch")
    page.get_by_role("button", name="Settle it").click()
    page.get_by_label("Reason").fill("=it is a scratch")
    page.get_by_role("button", name="Settle", exact=True).click()
    expect(page.locator(".dispute-notice")).to_contain_text("is scratch.")
    expect(page.get_by_text("Nobody disagrees.")).to_be_visible()
    found = line.samples.get(name)
    assert (found.truth, found.labeller) == ("scratch", "eva")
    assert line.tables.audit.entries()[-1].detail == f"{name}: scratch (=it is a scratch)"


def test_what_somebody_said_meanwhile_is_not_settled_unseen(
    line: Line, open_page: Callable[..., Page], tmp_path: Path
) -> None:
    (name,) = line.keep(1)
    line.samples.label(name, "good", "ann", line.now)
    line.samples.label(name, "scratch", "bob", line.now)
    page = open_page(f"{line.url}/review/disagreements", line.sign_in("eva", Role.ENGINEER))
    choose(page, page.get_by_role("combobox", name="It is"), "scratch")
    page.get_by_role("button", name="Settle it").click()
    page.get_by_label("Reason").fill("I see it")
    line.samples.label(name, "good", "ian", line.now + 1)
    page.get_by_role("button", name="Settle", exact=True).click()
    expect(page.locator(".dispute-notice")).to_contain_text("Somebody said more of part")
    assert line.truths([name]) == ["good"] and not any(a.kind.value == "resolve" for a in line.samples.labels.of(name))


@pytest.mark.slow
def test_who_lost_the_right_meanwhile_settles_nothing(line: Line, open_page: Callable[..., Page]) -> None:
    (name,) = line.keep(1)
    line.samples.label(name, "good", "ann", line.now)
    line.samples.label(name, "scratch", "bob", line.now)
    page = open_page(f"{line.url}/review/disagreements", line.sign_in("eva", Role.ENGINEER))
    choose(page, page.get_by_role("combobox", name="It is"), "scratch")
    page.get_by_role("button", name="Settle it").click()
    page.get_by_label("Reason").fill("too late")
    line.sign_in("eva", Role.INSPECTOR)
    page.get_by_role("button", name="Settle", exact=True).click()
    expect(page.locator(".dispute-notice")).to_contain_text("sign in again. Nothing was stored.")
    assert not any(act.kind.value == "resolve" for act in line.samples.labels.of(name))
