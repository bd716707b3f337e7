"""Two clicks while the server takes its time: one rollout is started, and one act is on record."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.test_rollouts_page import _choose, _dialog
from tests.browser.test_rollouts_page import fleet as fleet  # the fixture
from tests.browser.test_rollouts_page import releaser as releaser  # the fixture
from tests.browser.test_rollouts_page import served as served  # the fixture
from tests.fakes.rollout_fleet import RolloutFleet

pytestmark = pytest.mark.browser


class Slow:
    """A method that answers only once it may; `calls` are those that began."""

    def __init__(self, owner: object, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.may_answer, self._real = threading.Event(), getattr(owner, name)
        monkeypatch.setattr(owner, name, self)

    def __call__(self, *args: Any, **named: Any) -> Any:
        self.calls.append(args)
        assert self.may_answer.wait(30)
        return self._real(*args, **named)


def _twice(button: Locator) -> None:
    """Click twice before the page can answer the first: both clicks are on their way to the server."""
    expect(button).to_be_enabled()
    button.evaluate("button => { button.click(); button.click() }")


@pytest.mark.slow
def test_two_clicks_on_start_begin_one_rollout_however_long_it_takes(
    releaser: Page, fleet: RolloutFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow(fleet.loop, "start", monkeypatch)
    begin = releaser.get_by_role("button", name="Start a rollout")
    _twice(begin)
    expect(_dialog(releaser)).to_have_count(1)
    _choose(releaser, "v2", "twice")
    _twice(_dialog(releaser).get_by_role("button", name="Start", exact=True))
    expect(_dialog(releaser)).to_have_count(0)
    # It is still being started: no other can be begun from this page, and none is told to be under way.
    _twice(begin)
    releaser.wait_for_timeout(500)
    expect(_dialog(releaser)).to_have_count(0)
    expect(releaser.locator(".rollout-title")).not_to_be_visible()
    slow.may_answer.set()
    expect(releaser.locator(".rollout-title")).to_have_text("v2 · rollout 1 · release")
    releaser.wait_for_timeout(500)
    assert len(slow.calls) == 1, "asked for once: the database need not refuse the second"
    assert len(fleet.tables.rollouts.all()) == 1
    assert [e.act for e in fleet.tables.audit.entries() if e.actor == "releaser anna"] == ["rollout"]
    expect(releaser.get_by_text("Nothing was done")).to_have_count(0)


def test_two_clicks_on_abort_stop_it_once(releaser: Page, fleet: RolloutFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet.loop.start("v2", (), "bert")
    slow = Slow(fleet.loop, "abort", monkeypatch)
    _twice(releaser.get_by_role("button", name="Abort"))
    expect(_dialog(releaser)).to_have_count(1)
    _dialog(releaser).get_by_label("Reason").fill("wrong lamp")
    _twice(_dialog(releaser).get_by_role("button", name="Abort", exact=True))
    slow.may_answer.set()
    expect(releaser.locator(".rollout-state")).to_contain_text("ABORTING")
    releaser.wait_for_timeout(500)
    assert len(slow.calls) == 1
    expect(releaser.get_by_text("Nothing was done")).to_have_count(0)
