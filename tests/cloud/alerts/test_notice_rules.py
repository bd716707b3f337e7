"""Who is told of what, and when: laws over any coming and going of needs."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.alerts.message import Links
from cloud.needs import Found
from cloud.notice_rules import Event, NoticeRules
from cloud.notices import NoticesLoop
from cloud.ports.needs import Need, Severity
from cloud.store.notices import Notices
from tests.fakes.cloud_tables import T0, Tables, open_tables
from tests.fakes.notices import Told, told_by

RULES = NoticeRules(cooldown_s=100.0, repeat_s=1000.0, settle_s=10.0, storm_most=5, storm_s=60.0, group_s=20.0)


def need(key: str = "a", severity: Severity = Severity.TICKET, *members: str) -> Need:
    return Need(key, "kind", severity, f"{key} needs somebody", "/fleet", "silent-station", members)


class Desk:
    """The real loop over real tables; `at` moves the clock and looks."""

    def __init__(self, tables: Tables, rules: NoticeRules = RULES) -> None:
        self.now, self.found, self.rules = T0, Found(), rules
        self.tables, self.notices = tables, Notices(tables.database)
        self.restart()

    def restart(self) -> None:
        self.loop = NoticesLoop(
            self.notices,
            lambda: self.found,
            ["chat"],
            Links("https://plant", "https://runbooks"),
            self.rules,
            lambda: self.now,
        )

    def at(self, later: float, *needs: Need, hidden: frozenset[str] = frozenset()) -> list[Told]:
        """Return what was told newly."""
        before = len(self.told())
        self.now, self.found = self.now + later, Found(needs, hidden)
        self.loop.tick()
        return self.told()[before:]

    def told(self) -> list[Told]:
        return told_by(self.notices, "chat")


def events(told: list[Told]) -> list[str]:
    return [each["event"] for each in told]


def test_told_once_again_after_a_while_and_when_it_is_over(tables: Tables) -> None:
    desk = Desk(tables)
    (opened,) = desk.at(0, need())
    assert (opened["event"], opened["link"], opened["runbook"]) == (
        "opened", "https://plant/fleet", "https://runbooks#silent-station",
    )  # fmt: skip
    assert desk.at(5, need()) == [] and desk.at(900, need()) == []
    assert events(desk.at(100, need())) == ["repeated"]
    assert desk.at(5) == [], "it may have been away for a moment"
    (over,) = desk.at(10)
    assert over["event"] == "resolved" and over["what"].startswith("Over: ") and over["id"].endswith("r")
    assert desk.notices.open() == [] and desk.at(1000) == []


def test_info_is_for_who_looks_anyway(tables: Tables) -> None:
    desk = Desk(tables)
    assert desk.at(0, need("a", Severity.INFO)) == [] and desk.notices.open() == []


def test_what_comes_and_goes_is_told_once_in_the_cooldown(tables: Tables) -> None:
    desk = Desk(tables)
    told = desk.at(0, need())
    for _ in range(4):
        told += desk.at(11) + desk.at(10, need())
    assert events(told) == ["opened", "resolved"], "the rest was within 100 s"
    assert events(desk.at(20, need())) == ["opened"], "it still is when that is over"


def test_worse_is_told_at_once_and_joining_stations_after_the_cooldown(tables: Tables) -> None:
    desk = Desk(tables)
    desk.at(0, need("a", Severity.TICKET, "s1"))
    assert desk.at(10, need("a", Severity.TICKET, "s1", "s2")) == []
    (more,) = desk.at(95, need("a", Severity.TICKET, "s1", "s2"))
    assert (more["event"], more["members"], more["member_count"]) == ("more", ["s1", "s2"], 2)
    assert events(desk.at(1, need("a", Severity.PAGE, "s2"))) == ["worse"]
    assert desk.at(150, need("a", Severity.TICKET, "s1")) == [], "told of already, and less urgent"
    assert desk.at(10, need("a", Severity.PAGE, "s1")) == [], "it was said to be a page before"


def test_what_is_hidden_is_not_over(tables: Tables) -> None:
    desk = Desk(tables)
    desk.at(0, need())
    assert desk.at(500, hidden=frozenset({"a"})) == []
    assert desk.at(5, need()) == [] and len(desk.notices.open()) == 1


def test_a_restart_tells_nothing_twice_and_nothing_is_over_before_it_was_looked_for(tables: Tables) -> None:
    desk = Desk(tables)
    desk.at(0, need())
    desk.now += 300
    desk.restart()
    assert desk.at(1) == [], "the needs of a server that has just started are not complete"
    assert desk.at(5, need()) == []
    desk.restart()
    assert desk.at(5) == [] and events(desk.at(20)) == ["resolved"]


def test_a_storm_is_one_message_that_counts_and_names_the_worst(tables: Tables) -> None:
    desk = Desk(tables)
    many = [need(f"k{n}", Severity.PAGE if n == 7 else Severity.TICKET) for n in range(30)]
    (storm,) = desk.at(0, *many)
    assert (storm["event"], storm["severity"], storm["part_count"]) == ("storm", "page", 30)
    assert storm["what"] == "30 things need somebody: 30 kind." and storm["parts"][0]["key"] == "k7"
    assert desk.at(5, *many, need("late")) == [], "the next one waits for others"
    assert events(desk.at(20, *many, need("late"))) == ["storm"]
    (over,) = desk.at(100) + desk.at(11)
    assert over["what"] == "31 are over." and desk.notices.open() == []


def test_what_is_over_one_by_one_is_a_storm_as_well(tables: Tables) -> None:
    desk = Desk(tables)
    many = [need(f"k{n:03}") for n in range(200)]
    desk.at(0, *many)
    told = []
    for left in range(198, -1, -2):
        told += desk.at(2, *many[:left])
    told += desk.at(30) + desk.at(60)
    assert desk.notices.open() == [] and len(told) <= 25, f"{len(told)} messages"
    assert sum(each["part_count"] or 1 for each in told if each["event"] in ("storm", "resolved")) == 200


@pytest.mark.slow
def test_who_flaps_for_an_hour_is_told_of_ever_more_seldom_and_a_new_storm_at_once(tables: Tables) -> None:
    desk = Desk(tables)
    told = []
    for turn in range(300):
        told += desk.at(12, *(need(f"k{n:03}") for n in range(100) if n % 10 != turn % 10))
    assert len(told) <= 3600 / RULES.storm_s + 5, f"{len(told)} messages in an hour"
    desk.at(500)
    desk.at(200)
    assert events(desk.at(500, *(need(f"n{n}") for n in range(9)))) == ["storm"]
    assert events(desk.at(20, *(need(f"n{n}") for n in range(10)))) == ["storm"]


def test_a_clock_that_was_set_back_keeps_nothing_quiet(tables: Tables) -> None:
    desk = Desk(tables)
    desk.at(0, need())
    assert events(desk.at(-5000, need())) == ["repeated"]
    assert desk.at(5, need()) == []


def test_a_key_longer_than_the_table_takes_is_one_notice(tables: Tables) -> None:
    desk = Desk(tables)
    assert len(desk.at(0, need("x" * 500))) == 1 and desk.at(5, need("x" * 500)) == []


steps = st.lists(
    st.tuples(
        st.floats(1.0, 60.0),
        st.dictionaries(st.sampled_from("abcdefgh"), st.sampled_from(list(Severity)), max_size=8),
        st.booleans(),
    ),
    min_size=1,
    max_size=40,
)


@settings(max_examples=40)
@given(steps)
def test_laws_of_telling(tmp_path_factory: object, drawn: list[tuple[float, dict[str, Severity], bool]]) -> None:
    folder: Path = tmp_path_factory.mktemp("laws")  # type: ignore[attr-defined]
    tables = open_tables(folder / "cloud.db")
    desk = Desk(tables)
    said: list[tuple[float, str, str, Severity]] = []
    present_since: dict[str, float] = {}
    for later, wanted, restarts in drawn:
        if restarts:
            desk.restart()
        for told in desk.at(later, *(need(key, severity) for key, severity in wanted.items())):
            parts = told["parts"] or [told]
            said += [(desk.now, each["event"], each["key"], Severity(each["severity"])) for each in parts]
        keys = [notice.need.key for notice in desk.notices.open()]
        assert len(keys) == len(set(keys)), "one open notice a key"
        for key, severity in wanted.items():
            if severity is not Severity.INFO:
                present_since.setdefault(key, desk.now)
        for key in list(present_since):
            if wanted.get(key, Severity.INFO) is Severity.INFO:
                del present_since[key]
        messages = Counter(str(each["at"]) for each in desk.told())
        assert all(count <= 2 * RULES.storm_most for count in messages.values())
    by_key: dict[str, list[tuple[float, str, Severity]]] = {}
    for at, event, key, severity in said:
        by_key.setdefault(key, []).append((at, event, severity))
    for key, mine in by_key.items():
        opened = [(at, severity) for at, event, severity in mine if event == Event.OPENED.value]
        for (first, before), (second, after) in pairwise(opened):
            escalated = before is Severity.TICKET and after is Severity.PAGE
            assert second - first >= RULES.cooldown_s or escalated, f"{key} was told too often: {mine}"
        ends = [event for _, event, _ in mine if event in ("opened", "resolved")]
        assert all(a != b for a, b in pairwise(ends)), f"{key}: {ends}"
        assert ends[0] == "opened"
    for key, since in present_since.items():
        if desk.now - since > RULES.cooldown_s + RULES.storm_s + 60.0:
            mine = by_key.get(key, [])
            assert mine and mine[-1][1] != "resolved", f"{key} is so since {since} and nobody was told"
    tables.database.close()
