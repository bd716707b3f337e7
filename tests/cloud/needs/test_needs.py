"""What needs a person: grouped, hidden where something else explains it, and worded."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.facts import CertificateFact, DiskFact, Facts, RolloutFact, SigningFact, StationTrouble
from cloud.needs import find_needs, needs
from cloud.ports.alarms import Alarm, Retrain
from cloud.ports.needs import Need, Severity
from cloud.ports.promises import Budget
from cloud.ports.rollouts import Rollout
from cloud.ports.stations import StationStatus
from cloud.rollout.rollout_states import RolloutState
from contract.messages import HealthNote

NOW = 1_800_000_000.0
HOUR = 3600.0


def station(name: str, site: str = "", *, heard_s_ago: float = 5.0, **more: object) -> StationStatus:
    at = NOW - heard_s_ago
    plain = StationStatus(name, site, "b1", True, at, "1", False, "d" * 64, "COMMITTED", "", "", "", 1, at, at)
    return replace(plain, **more)  # type: ignore[arg-type]


def facts(**more: object) -> Facts:
    return replace(Facts(NOW, listening_since=NOW - 30 * HOUR), **more)  # type: ignore[arg-type]


def of(found: list[Need], kind: str) -> list[Need]:
    return [need for need in found if need.kind == kind]


def only(found: list[Need]) -> Need:
    assert len(found) == 1, found
    return found[0]


def rollout(state: RolloutState = RolloutState.RUNNING, **more: object) -> Rollout:
    plain = Rollout(3, "v2", "e" * 64, state, 0, NOW - HOUR, (), "", NOW - HOUR, None)
    return replace(plain, **more)  # type: ignore[arg-type]


def test_a_calm_fleet_needs_nobody() -> None:
    assert needs(facts(stations=[station(f"s{n}") for n in range(50)])) == []


def test_500_silent_stations_of_one_site_are_one_page_that_names_it() -> None:
    silent = [station(f"s{n:03}", "hall & 1", heard_s_ago=2 * HOUR + n) for n in range(500)]
    need = only(needs(facts(stations=[*silent, station("other", "hall 2")])))
    assert need.severity is Severity.PAGE and need.runbook == "silent-station" and len(need.members) == 500
    assert need.what == "500 stations of hall & 1 have not been heard for 2 h or more."
    assert parse_qs(urlsplit(need.link).query) == {"site": ["hall & 1"], "needs": ["yes"]}


def test_a_single_silent_station_of_many_is_a_ticket_that_leads_to_it() -> None:
    need = only(
        needs(facts(stations=[station("s1", "a", heard_s_ago=HOUR), *(station(f"t{n}", "a") for n in range(9))]))
    )
    assert (need.severity, need.link, need.key) == (Severity.TICKET, "/station/s1", "silent:a")
    assert need.what == "s1 has not been heard for 60 min or more."


def test_a_broker_that_is_down_hides_who_cannot_be_heard() -> None:
    silent = [station(f"s{n}", "a", heard_s_ago=9 * HOUR) for n in range(9)]
    down = facts(stations=silent, listening_since=None, deaf_since=NOW - 300)
    assert [need.kind for need in needs(down)] == ["broker down"]
    assert needs(replace(down, deaf_since=NOW - 20)) == [], "it is back within the minute as a rule"
    back = replace(down, listening_since=NOW - 60)
    assert needs(back) == [], "they could not be heard before"
    assert only(needs(replace(back, listening_since=NOW - HOUR))).kind == "silent station"
    # Who was told to be silent before is not told to be over meanwhile.
    known = find_needs(replace(down, known_silent=frozenset(each.station for each in silent)))
    assert [need.kind for need in known.needs] == ["broker down"] and known.hidden == {"silent:a"}


def test_nobody_waits_for_a_station_whose_access_was_taken_away_or_that_never_came() -> None:
    gone = station("gone", heard_s_ago=9 * HOUR)
    never = station("never", state_at=0.0, reported_at=0.0, summary_at=0.0)
    assert needs(facts(stations=[gone, never], retired=frozenset({"gone"}))) == []


def test_what_a_silent_station_said_of_itself_is_old() -> None:
    full = HealthNote(disk_free_mib=10)
    assert [n.kind for n in needs(facts(stations=[station("s", heard_s_ago=HOUR, health=full)]))] == ["silent station"]
    assert only(needs(facts(stations=[station("s", health=full)]))).severity is Severity.PAGE


def test_stations_troubles_each_have_their_kind_and_runbook() -> None:
    found = needs(
        facts(
            stations=[
                station("hot", health=HealthNote(throttled=True, rung=4, disk_free_mib=9999)),
                station("warm", "b", health=HealthNote(throttled=True, rung=1, disk_free_mib=9999)),
                station("back", update_state="ROLLED_BACK", reason="it agreed on 41 %"),
                station("ahead"),
            ],
            troubles=[StationTrouble("ahead", 7200.0, 2), StationTrouble("nobody", 7200.0, 2)],
        )
    )
    assert {(n.kind, n.severity, n.runbook) for n in found} == {
        ("station throttled", Severity.TICKET, "station-throttled"),
        ("station throttled", Severity.INFO, "station-throttled"),
        ("station rolled back", Severity.TICKET, "bad-release"),
        ("clock wrong", Severity.TICKET, "clock-wrong"),
        ("data lost", Severity.TICKET, "data-lost"),
    }
    assert only(of(found, "clock wrong")).what == "The clock of ahead is 2 h ahead."
    assert only(of(found, "station rolled back")).what == "back went back to the bundle before: it agreed on 41 %"


@pytest.mark.parametrize(
    ("worn", "words"),
    [
        ({"a": 0.9}, ["The disk of a is worn to 90%: replace it before it fails."]),
        ({"a": 0.8, "b": 1.1}, ["The disk of a and b is worn to 110% at worst: replace it before it fails."]),
        ({"a": 0.7, "b": None}, []),
    ],
)
def test_a_worn_disk_is_told_before_it_fails(worn: dict[str, float | None], words: list[str]) -> None:
    stations = [station(name, health=HealthNote(disk_free_mib=9999, disk_worn=share)) for name, share in worn.items()]
    found = needs(facts(stations=stations))
    assert [need.what for need in found] == words
    assert {(need.kind, need.severity) for need in found} <= {("station disk worn", Severity.TICKET)}


@pytest.mark.parametrize(
    ("shares", "words"),
    [
        ({"a": 0.43}, ["a refused 43% of a day's frames as unlike what was enrolled."]),
        ({"a": 0.2, "b": 0.9}, ["a and b refused 90% of a day's frames, or fewer, as unlike what was enrolled."]),
        ({"a": 0.19, "b": None}, []),
    ],
)
def test_many_frames_unlike_the_enrolment_are_somebodys_to_look_at(
    shares: dict[str, float | None], words: list[str]
) -> None:
    stations = [station(name, health=HealthNote(disk_free_mib=9999, unfamiliar=each)) for name, each in shares.items()]
    found = needs(facts(stations=stations))
    assert [need.what for need in found] == words
    assert {(each.kind, each.severity, each.runbook) for each in found} <= {
        ("frames unfamiliar", Severity.TICKET, "unfamiliar-frames")
    }


def test_an_alarm_of_a_blind_camera_is_a_page_a_drift_a_ticket_and_a_clock_is_told_once() -> None:
    def alarm(cause: str, series: str) -> Alarm:
        return Alarm(1, series, NOW, NOW, None, cause, f"what {cause} says", "")

    found = needs(
        facts(
            stations=[station("s3")],
            alarms=[alarm("black", "s1"), alarm("covariate_shift", "s2"), alarm("clock", "s3")],
            troubles=[StationTrouble("s3", 9000.0)],
        )
    )
    assert [(n.kind, n.severity) for n in found] == [
        ("camera fault", Severity.PAGE), ("clock wrong", Severity.TICKET), ("drift alarm", Severity.TICKET),
    ]  # fmt: skip
    assert only(of(found, "drift alarm")).what == "s2: what covariate_shift says"


def test_an_alarm_that_many_share_says_once_who_and_leads_to_a_page() -> None:
    said = "hall 1 & 2: a cause shared by 5 of 6 stations; light: brightness +9.0 sd"
    alarm = Alarm(1, "hall 1 & 2", NOW, NOW, None, "covariate_shift", said, "")
    need = only(needs(facts(alarms=[alarm])))
    assert need.what == said and need.link == "/drift?series=hall%201%20%26%202"


def test_nobody_is_told_for_ever_of_the_drift_of_a_station_whose_access_was_taken_away() -> None:
    alarm = Alarm(1, "s1", NOW, NOW, None, "covariate_shift", "the lens is fogged", "", "left")
    assert needs(facts(stations=[station("s1")], alarms=[alarm])) != []
    assert needs(facts(stations=[station("s1")], alarms=[alarm], retired=frozenset({"s1"}))) == []


def test_a_rollout_says_what_it_waits_for_and_why_it_stopped() -> None:
    assert needs(facts(rollouts=[RolloutFact(rollout())])) == []
    approval = only(needs(facts(rollouts=[RolloutFact(rollout(hold="it waits"), approvals=2)])))
    assert "the approval of 2 people" in approval.what and approval.severity is Severity.TICKET
    held = only(needs(facts(rollouts=[RolloutFact(rollout(hold="the maintenance window is closed"))])))
    assert held.severity is Severity.INFO and held.what.endswith("waits: the maintenance window is closed")
    slow = only(needs(facts(rollouts=[RolloutFact(rollout(wave_started_at=NOW - 9 * HOUR), unanswered=2)])))
    assert slow.what == "Rollout 3 of v2: 2 stations of wave 1 have not said for 9 h how it went."
    bad = RolloutFact(rollout(RolloutState.ABORTED, reason="s1: it crashed", ended_at=NOW), by_itself=True)
    assert only(needs(facts(rollouts=[bad]))).severity is Severity.TICKET
    assert only(needs(facts(rollouts=[replace(bad, by_itself=False)]))).severity is Severity.INFO
    stuck = RolloutFact(rollout(RolloutState.ABORTING, wave_started_at=NOW - 9 * HOUR))
    assert only(needs(facts(rollouts=[stuck]))).severity is Severity.PAGE


def test_the_server_tells_of_itself() -> None:
    gib = 1 << 30
    retrain = Retrain(4, 1, "s1", "failed", "enough labels", "", "", "{}", NOW, NOW)
    found = needs(
        facts(
            broken_entry=17,
            disks=[
                DiskFact("home", gib // 2, 500 * gib),
                DiskFact("x", 60 * gib, 4000 * gib),
                DiskFact("y", gib, 4 * gib),
            ],
            dead_letters=3,
            strangers=["eve"],
            signing=SigningFact(True, "Sign it."),
            certificates=[CertificateFact("station", "s1", NOW + 86_400), CertificateFact("server", "b", NOW + 86_400)],
            undelivered={"chat": 2},
            faults={"improve": 1},
            retrains=[retrain],
            disputed=1,
            waiting=3,
        )
    )
    assert {(n.kind, n.severity.value) for n in found} == {
        ("audit log broken", "page"), ("server disk full", "page"), ("signing due", "page"), ("certificate ends", "page"),
        ("certificate ends", "ticket"), ("dead letters", "ticket"), ("stranger", "ticket"),
        ("notices undelivered", "ticket"), ("server fault", "ticket"), ("retrain failed", "ticket"),
        ("labels differ", "ticket"), ("parts to label", "info"),
    }  # fmt: skip
    assert only(of(found, "server disk full")).what == "The disk of home has 0.5 GiB (0%) left."
    assert [n.severity for n in found] == sorted((n.severity for n in found), key=list(Severity).index)


def test_a_budget_that_burns_fast_is_a_page_and_one_that_is_spent_a_ticket() -> None:
    def found(spent: float, *burn: float) -> list[str]:
        budget = Budget("in time", 0.99, 0.98, 100, spent, (burn[0], burn[1]), "0.5 % were late")
        return [need.severity.value for need in needs(facts(budgets=[budget]))]

    assert found(0.1, 20.0, 8.0) == ["page"]
    assert found(0.1, 20.0, 1.0) == [], "it is over within the hour, or has just begun"
    assert found(0.5, 7.0, 7.0) == ["ticket"]
    assert found(1.2, 0.0, 0.0) == ["ticket"]
    assert found(0.9, 1.0, 1.0) == []


def test_a_spent_budget_says_that_releases_wait_only_where_they_do() -> None:
    for holds in (True, False):
        budget = Budget("recovery", 0.9, 0.0, 1, 10.0, (0.0, 0.0), "0 of 1", holds)
        (need,) = needs(facts(budgets=[budget]))
        assert ("releases wait" in need.what) is holds and "is used up" in need.what


names = st.text("abcxyz0123456789-", min_size=1, max_size=8).filter(lambda text: text[0] != "-")


@given(
    st.lists(
        st.tuples(names, st.sampled_from(["", "hall 1", "x&y=<b>"]), st.floats(0, 1e6)),
        max_size=30,
        unique_by=lambda e: e[0],
    ),
    st.permutations(range(30)),
)
def test_needs_do_not_depend_on_order_and_have_one_key_each(
    drawn: list[tuple[str, str, float]], order: list[int]
) -> None:
    stations = [station(name, site, heard_s_ago=ago) for name, site, ago in drawn]
    found = needs(facts(stations=stations))
    shuffled = [stations[n] for n in order if n < len(stations)]
    assert needs(facts(stations=shuffled)) == found
    assert len({need.key for need in found}) == len(found)
    silent = {status.station for status in stations if NOW - status.summary_at >= 1800.0}
    assert {name for need in found for name in need.members} == silent, "each is told of, whatever the grouping"
