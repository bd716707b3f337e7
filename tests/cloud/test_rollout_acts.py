"""What people do with rollouts, and what holds one: approvals, pauses, windows, budgets, shadow waves, A/B, rollbacks."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
import pytest

from cloud.rollout.evidence import RolloutEvidence, read_evidence
from cloud.rollout.judge import RolloutPolicy
from cloud.rollout.plan import RolloutPlan, read_plan
from cloud.rollout.rollout_states import MemberState, RolloutState
from cloud.rollout_loop import RolloutLoop, RolloutSettings
from contract.errors import IllegalTransition, InvalidConfig, NotFound, RefusedError
from contract.messages import StationState
from tests.fakes.agent_clock import HandClock
from tests.fakes.cloud_fleet import FakeRelease, FakeReleases, ObedientFleet, PlainSigner
from tests.fakes.cloud_tables import Tables
from tests.fakes.link import RecordingLink

OLD, NEW = "a" * 64, "b" * 64
STATIONS = tuple(f"s{n}" for n in range(1, 7))
PLANNED, ORDERED, COMMITTED = MemberState.PLANNED, MemberState.ORDERED, MemberState.COMMITTED


@dataclass
class FakeStages:
    """`cloud.ports.registry.VersionStages`: one alias, and who is retired."""

    champion: str = ""
    retired: set[str] = field(default_factory=set)
    told: list[tuple[str, str]] = field(default_factory=list)

    def check_usable(self, version: str) -> None:
        if version in self.retired:
            raise RefusedError(f"version '{version}' was retired by eva: it passes cracked parts")

    def resolve(self, name: str) -> str:
        if name == "champion":
            if not self.champion:
                raise NotFound("no version has the alias 'champion'")
            return self.champion
        return name

    def rolled_out(self, version: str, actor: str, now: float) -> None:
        self.champion = version
        self.told.append((version, actor))


@dataclass
class Plant:
    """Six stations that run OLD, in two sites, and the loop."""

    tables: Tables
    clock: HandClock
    link: RecordingLink
    fleet: ObedientFleet
    releases: FakeReleases
    stages: FakeStages
    held: list[str]
    settings: RolloutSettings
    loop: RolloutLoop

    def restart(self, **changes: object) -> None:
        if changes:
            self.settings = RolloutSettings(
                wave_shares=(0.5,), policy=RolloutPolicy(silence_s=60.0, offline_wait_s=100.0), **changes
            )  # type: ignore[arg-type]
        self.loop = _loop(self)

    def turns(self, count: int = 12) -> None:
        for _ in range(count):
            self.clock.forward(1.0)
            self.loop.tick()
            self.fleet.obey()

    def ordered(self, bundle: str = NEW) -> list[str]:
        return [order.station for order in self.fleet.orders if order.bundle == bundle]

    def states(self, rollout: int) -> dict[str, MemberState]:
        return {m.station: m.state for m in self.tables.rollouts.members(rollout)}

    def state(self, rollout: int) -> RolloutState:
        return self.tables.rollouts.get(rollout).state

    def hold(self, rollout: int) -> str:
        return self.tables.rollouts.get(rollout).hold

    def evidence(self, rollout: int) -> RolloutEvidence:
        return read_evidence(self.tables.rollouts.get(rollout).evidence)

    def plan(self, **changes: object) -> RolloutPlan:
        return msgspec.structs.replace(self.loop.plan(), **changes)


def _loop(plant: Plant) -> RolloutLoop:
    return RolloutLoop(
        rollouts=plant.tables.rollouts,
        stations=plant.tables.stations,
        releases=plant.releases,
        signer=PlainSigner(),
        link=plant.link,
        settings=plant.settings,
        now=plant.clock.now,
        stages=plant.stages,
        why_held=lambda: plant.held[0] if plant.held else "",
    )


@pytest.fixture
def plant(tables: Tables) -> Plant:
    clock, link = HandClock(), RecordingLink()
    for n, name in enumerate(STATIONS):
        tables.stations.add(name, f"token of {name}", f"hall {n % 2}", clock.now())
    births = [StationState(name, "b1", True, clock.now(), agent_version="0.2.0") for name in STATIONS]
    tables.stations.commit(births, [], clock.now())
    releases = FakeReleases(FakeRelease("v1", OLD, release_counter=3), FakeRelease("v2", NEW, 2000, release_counter=3))
    fleet = ObedientFleet(tables, link, clock.now)
    fleet.install(OLD, *STATIONS)
    settings = RolloutSettings(wave_shares=(0.5,), policy=RolloutPolicy(silence_s=60.0, offline_wait_s=100.0))
    plant = Plant(tables, clock, link, fleet, releases, FakeStages(), [], settings, None)  # type: ignore[arg-type]
    plant.restart()
    return plant


def test_a_rollout_that_takes_approvals_waits_for_people_other_than_who_asked(plant: Plant) -> None:
    plant.restart(approvals=2)
    rollout = plant.loop.start("v2", (), "rosa", reason="mends the lamp")
    plant.turns(3)
    assert plant.state(rollout) is RolloutState.PROPOSED and plant.hold(rollout) == "waits for approval: 0 of 2"
    with pytest.raises(RefusedError, match="asked for rollout 1 and cannot approve it"):
        plant.loop.approve(rollout, "Rosa ", True)
    plant.loop.approve(rollout, "eva", True, "looked at the gate")
    with pytest.raises(RefusedError, match="'Eva' has approved rollout 1 before"):
        plant.loop.approve(rollout, "Eva", True)
    plant.turns(3)
    assert plant.hold(rollout) == "waits for approval: 1 of 2 (eva)" and plant.ordered() == []
    plant.loop.approve(rollout, "tom", False, "not on a friday")
    plant.loop.approve(rollout, "ida", True)
    plant.turns(3)
    assert plant.hold(rollout) == "declined by tom: not on a friday" and plant.ordered() == []
    plant.loop.approve(rollout, "tom", True, "it is monday")
    plant.turns(14)
    assert plant.state(rollout) is RolloutState.DONE and plant.hold(rollout) == ""
    acts = [(e.actor, e.act) for e in plant.tables.audit.entries()]
    assert {
        ("rosa", "rollout"),
        ("eva", "approve rollout"),
        ("tom", "decline rollout"),
        ("plumbline", "approved"),
    } <= set(acts)
    with pytest.raises(RefusedError, match="waits for no approval"):
        plant.loop.approve(rollout, "uwe", True)
    assert plant.tables.audit.first_broken() is None


def test_a_proposed_rollout_can_be_withdrawn_and_nobody_was_ordered(plant: Plant) -> None:
    plant.restart(approvals=1)
    rollout = plant.loop.start("v2", (), "rosa")
    with pytest.raises(RefusedError) as refused:
        plant.loop.start("v1", (), "rosa")
    assert "approve it, or abort it" in refused.value.hint
    plant.loop.abort(rollout, "rosa", "the wrong one")
    plant.turns(2)
    assert plant.state(rollout) is RolloutState.ABORTED and plant.fleet.orders == []
    assert set(plant.states(rollout).values()) == {MemberState.SKIPPED}


def test_nobody_can_ask_for_fewer_approvals_than_the_policy_wants(plant: Plant) -> None:
    plant.restart(approvals=1)
    with pytest.raises(RefusedError, match="takes 1 approvals, not 0"):
        plant.loop.start("v2", (), "rosa", plan=plant.plan(approvals=0))


def test_a_paused_rollout_orders_nobody_hears_its_stations_and_may_still_stop(plant: Plant) -> None:
    rollout = plant.loop.start("v2", (), "rosa")
    plant.turns(2)
    plant.loop.pause(rollout, "eva", "the line changes over")
    plant.turns(6)
    assert plant.ordered() == ["s1"] and plant.hold(rollout) == "paused by eva: the line changes over"
    with pytest.raises(IllegalTransition):
        plant.loop.pause(rollout, "eva", "again")
    with pytest.raises(RefusedError) as refused:
        plant.loop.start("v1", (), "rosa")
    assert "resume it, or abort it" in refused.value.hint
    plant.loop.resume(rollout, "eva")
    plant.turns(1)
    assert plant.hold(rollout) == "" and len(plant.ordered()) == 3
    plant.loop.pause(rollout, "eva", "")
    name = next(m.deployment for m in plant.tables.rollouts.members(rollout) if m.station == "s1")
    plant.fleet.leave("s1", OLD, name)
    plant.turns(6)
    assert plant.state(rollout) is RolloutState.ABORTED and set(plant.fleet.running.values()) == {OLD}


def test_a_rollout_begins_not_before_its_day_and_orders_only_in_its_windows(plant: Plant) -> None:
    begin = (plant.clock.now() // 86_400.0 + 3) * 86_400.0
    plan = plant.plan(not_before=begin, windows=("02:00-03:00",))
    rollout = plant.loop.start("v2", (), "rosa", plan=plan)
    plant.turns(2)
    assert plant.hold(rollout).startswith("begins ") and "not before" in plant.hold(rollout)
    plant.clock.forward(begin - plant.clock.now())
    plant.turns(2)
    assert plant.hold(rollout).startswith("outside of its maintenance windows") and plant.fleet.orders == []
    plant.clock.forward(7200.0)
    plant.turns(2)
    assert plant.hold(rollout) == "" and plant.ordered() == ["s1"]
    plant.clock.forward(3600.0)
    plant.fleet.come(*STATIONS)
    plant.turns(5)
    assert "'02:00-03:00' opens" in plant.hold(rollout) and plant.ordered() == ["s1"]
    plant.clock.forward(23 * 3600.0)
    plant.turns(14)
    assert plant.state(rollout) is RolloutState.DONE


def test_a_held_rollout_hears_its_stations_and_stops_by_itself(plant: Plant) -> None:
    begin = (plant.clock.now() // 86_400.0 + 1) * 86_400.0
    plant.clock.forward(begin - plant.clock.now())
    plant.fleet.mute.add("s1")
    rollout = plant.loop.start("v2", (), "rosa", plan=plant.plan(windows=("00:00-00:01",)))
    plant.turns(50)
    assert plant.ordered() == ["s1"]
    plant.turns(20)
    assert plant.state(rollout) is not RolloutState.RUNNING, "it was silent for a minute, in or out of the window"


def test_releases_wait_while_a_budget_is_spent_and_rollbacks_do_not(plant: Plant) -> None:
    plant.held.append("decisions in time: the budget of 28 days is spent")
    rollout = plant.loop.start("v2", (), "rosa")
    plant.turns(4)
    assert plant.hold(rollout) == plant.held[0] and plant.fleet.orders == []
    plant.held.clear()
    plant.turns(14)
    assert plant.state(rollout) is RolloutState.DONE
    plant.held.append("decisions in time: the budget of 28 days is spent")
    back = plant.loop.roll_back("v1", "eva", "v2 passes cracked parts")
    plant.turns(3)
    assert plant.state(back) is RolloutState.DONE and set(plant.fleet.running.values()) == {OLD}
    eager = plant.loop.start("v2", (), "rosa", plan=plant.plan(hold_on_budget=False))
    plant.turns(14)
    assert plant.state(eager) is RolloutState.DONE, "who has reasons may go on all the same"


def test_a_shadow_wave_comes_first_and_its_stations_are_ordered_in_earnest_later(plant: Plant) -> None:
    plant.restart(shadow_stations=2)
    rollout = plant.loop.start("v2", ("s1",), "rosa")
    plant.turns(1)
    first = plant.fleet.orders
    assert [(o.station, o.probation.shadow_only) for o in first] == [("s2", True), ("s3", True)], "one of each hall"
    assert plant.states(rollout)["s2"] is MemberState.SHADOWING
    plant.turns(20)
    assert plant.state(rollout) is RolloutState.DONE and set(plant.fleet.running.values()) == {NEW}
    earnest = [o for o in plant.fleet.orders if o.station == "s2"][-1]
    assert not earnest.probation.shadow_only and earnest.deployment != first[0].deployment
    waves = plant.evidence(rollout).waves
    assert [w.name for w in waves] == ["shadow", "canary", "50 %", "everyone"]
    assert [(w.planned, w.committed) for w in waves] == [(2, 2), (1, 1), (2, 2), (3, 3)]


def test_a_candidate_that_fails_unseen_stops_before_anybody_is_in_its_hands(plant: Plant) -> None:
    plant.restart(shadow_stations=2)
    plant.fleet.refuse.add("s2")
    rollout = plant.loop.start("v2", (), "rosa")
    plant.turns()
    assert plant.state(rollout) is RolloutState.ABORTED
    assert all(o.probation.shadow_only for o in plant.fleet.orders if o.bundle == NEW)
    assert set(plant.fleet.running.values()) == {OLD}


def test_stations_with_an_older_agent_are_left_out_of_the_shadow_wave_and_it_is_said(plant: Plant) -> None:
    plant.restart(shadow_stations=3)
    old = [StationState(s, "b1", True, plant.clock.now(), agent_version="0.1.9") for s in STATIONS[:4]]
    plant.tables.stations.commit(old, [], plant.clock.now())
    rollout = plant.loop.start("v2", (), "rosa")
    plant.turns(1)
    assert [o.station for o in plant.fleet.orders] == ["s5", "s6"]
    notes = plant.evidence(rollout).notes
    assert "4 stations have an agent before 0.2.0" in notes[0] and "has 2 stations, not 3" in notes[1]


def test_a_station_that_puts_a_shadow_bundle_in_charge_has_failed(plant: Plant) -> None:
    plant.restart(shadow_stations=1)
    plant.fleet.mute.add("s1")
    rollout = plant.loop.start("v2", (), "rosa")
    plant.turns(1)
    (member,) = [m for m in plant.tables.rollouts.members(rollout) if m.station == "s1"]
    # An agent that was put back after its order takes no notice of what it says: it commits the bundle as any other.
    birth = StationState("s1", "b1", True, plant.clock.now(), agent_version="0.1.9")
    plant.tables.stations.commit([birth], [], plant.clock.now())
    plant.fleet.running["s1"] = NEW
    plant.fleet.say("s1", "COMMITTED", member.deployment)
    plant.fleet.mute.clear()
    plant.turns(6)
    assert plant.state(rollout) is RolloutState.ABORTED and plant.fleet.running["s1"] == OLD


def test_stations_that_are_away_hold_nothing_back_for_ever_and_are_heard_when_they_come(plant: Plant) -> None:
    plant.fleet.go("s5", "s6")
    plant.fleet.mute.update(("s5", "s6"))
    rollout = plant.loop.start("v2", (), "rosa")
    plant.turns(60)
    assert plant.state(rollout) is RolloutState.RUNNING
    plant.turns(60)
    assert plant.state(rollout) is RolloutState.DONE and plant.states(rollout)["s5"] is ORDERED
    assert plant.evidence(rollout).waves[-1].offline == 2
    plant.fleet.mute.clear()
    plant.fleet.refuse.add("s6")
    plant.fleet.come("s5", "s6")
    plant.link.reconnect()
    plant.turns(40)
    assert (plant.states(rollout)["s5"], plant.states(rollout)["s6"]) == (COMMITTED, MemberState.FAILED)
    assert plant.state(rollout) is RolloutState.DONE, "so late it ends nothing"


def test_no_wave_goes_on_while_all_of_it_is_away(plant: Plant) -> None:
    plant.fleet.go("s1")
    plant.fleet.mute.add("s1")
    rollout = plant.loop.start("v2", (), "rosa")
    plant.turns(300)
    assert plant.ordered() == ["s1"] and "s1 cannot be reached" in plant.hold(rollout)


def test_a_wave_soaks_before_the_next(plant: Plant) -> None:
    rollout = plant.loop.start("v2", (), "rosa", plan=plant.plan(soak_s=30.0))
    plant.turns(25)
    assert plant.ordered() == ["s1"] and "waits a while" in plant.hold(rollout)
    plant.turns(80)
    assert plant.state(rollout) is RolloutState.DONE


def test_a_rollback_brings_an_older_version_to_everybody_at_once_under_new_orders(plant: Plant) -> None:
    with pytest.raises(RefusedError, match="never ran on this fleet"):
        plant.loop.roll_back("v2", "eva", "or not")
    plant.loop.start("v2", (), "rosa")
    plant.turns(14)
    plant.fleet.refuse.add("s6")
    back = plant.loop.roll_back("v1", "eva", "v2 passes cracked parts")
    found = plant.tables.rollouts.get(back)
    assert (found.kind, found.author, found.reason) == ("rollback", "eva", "v2 passes cracked parts")
    plant.turns(1)
    orders = [o for o in plant.fleet.orders if o.bundle == OLD]
    assert sorted(o.station for o in orders) == list(STATIONS) and {o.probation.frames for o in orders} == {0}
    plant.turns(2)
    assert plant.state(back) is RolloutState.DONE, "one that cannot go back keeps no other from it"
    assert plant.states(back)["s6"] is MemberState.FAILED
    assert {plant.fleet.running[s] for s in STATIONS[:5]} == {OLD}
    assert [e.detail for e in plant.tables.audit.entries() if e.act == "rollback"] == [
        f"rollout {back} (v1): to 6 stations in 1 wave; v2 passes cracked parts"
    ]


def test_a_rollback_below_the_release_counter_is_refused(plant: Plant) -> None:
    plant.releases.releases.append(FakeRelease("v3", "3" * 64, release_counter=5))
    plant.loop.start("v3", (), "rosa")
    plant.turns(14)
    with pytest.raises(RefusedError, match="release counter 3, and 5 was rolled out"):
        plant.loop.roll_back("v1", "eva", "")


def test_what_was_retired_or_is_nowhere_is_not_rolled_out(plant: Plant) -> None:
    plant.stages.retired.add("v2")
    for start in (lambda: plant.loop.start("v2", (), "rosa"), lambda: plant.loop.roll_back("v2", "eva", "")):
        with pytest.raises(RefusedError, match="was retired by eva"):
            start()
    plant.stages.champion = "v1"
    rollout = plant.loop.start("champion", (), "rosa")
    assert plant.tables.rollouts.get(rollout).version == "v1"


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"cohort": "dark"}, RefusedError, "cohort 'dark' has no station"),
        ({"cohort": "site:hall 9"}, RefusedError, "cohort 'site:hall 9' has no station"),
        ({"cohort": "nowhere"}, NotFound, "no cohort and no station 'nowhere'"),
        ({"windows": ("fri 25:00-26:00",)}, InvalidConfig, "there is no time 25:00"),
        ({"max_failure": 2.0}, RefusedError, "max_failure = 2.0"),
        ({"confidence": 1.0 - 1e-16}, RefusedError, "confidence = 0.9999999999999999 is not between"),
        ({"confidence": 0.0}, RefusedError, "confidence = 0.0 is not between"),
        ({"wave_shares": (0.0,)}, RefusedError, "wave shares"),
        ({"canary": 0}, RefusedError, "canary"),
        ({"strata": ("mood",)}, RefusedError, "'mood'"),
        ({"soak_s": float("nan")}, RefusedError, "soak_s"),
        ({"silence_s": 0.0}, RefusedError, "silence_s"),
    ],
)
def test_a_plan_that_cannot_be_carried_out_is_refused_in_words(
    plant: Plant, changes: dict[str, object], error: type[Exception], words: str
) -> None:
    plant.restart(cohorts={"dark": ("gone1", "gone2", "gone3/left")})
    with pytest.raises(error, match=words):
        plant.loop.start("v2", (), "rosa", plan=plant.plan(**changes))
    assert plant.tables.rollouts.all() == []


def test_a_rollout_to_a_cohort_reaches_nobody_else_and_makes_no_champion(plant: Plant) -> None:
    plant.restart(cohorts={"dark": ("s2", "s4/left", "s6")})
    rollout = plant.loop.start("v2", (), "rosa", plan=plant.plan(cohort="dark"))
    plant.turns(16)
    assert plant.state(rollout) is RolloutState.DONE and sorted(plant.ordered()) == ["s2", "s4", "s6"]
    assert plant.stages.told == []


def test_the_registry_is_told_once_which_version_reached_everybody(plant: Plant) -> None:
    rollout = plant.loop.start("v2", (), "rosa")
    for _ in range(16):
        plant.restart()
        plant.turns(1)
    assert plant.state(rollout) is RolloutState.DONE and plant.stages.told == [("v2", "rosa")]
    back = plant.loop.roll_back("v1", "eva", "")
    plant.turns(4)
    assert plant.state(back) is RolloutState.DONE and plant.stages.told[1:] == [("v1", "eva")]


def test_two_bundles_are_held_side_by_side_until_the_new_one_is_kept(plant: Plant) -> None:
    until = plant.clock.now() + 3600.0
    rollout = plant.loop.start_ab("v2", 0.5, "rosa", until=until, reason="is it better?")
    plant.turns(12)
    assert plant.state(rollout) is RolloutState.RUNNING and plant.hold(rollout) == "both bundles are held side by side"
    arms = {m.station: m.arm for m in plant.tables.rollouts.members(rollout)}
    assert sorted(arms.values()) == ["a"] * 3 + ["b"] * 3
    assert {s for s, running in plant.fleet.running.items() if running == NEW} == {
        s for s, arm in arms.items() if arm == "b"
    }
    assert read_plan(plant.tables.rollouts.get(rollout).plan).control == "v1"
    with pytest.raises(RefusedError) as refused:
        plant.loop.start("v2", (), "rosa")
    assert "conclude that first" in refused.value.hint
    with pytest.raises(RefusedError, match="keeps 'a' or 'b'"):
        plant.loop.conclude_ab(rollout, "c", "eva", "")
    plant.loop.conclude_ab(rollout, "b", "eva", "fewer reviews")
    with pytest.raises(RefusedError, match="was concluded before: 'b' is kept"):
        plant.loop.conclude_ab(rollout, "a", "eva", "")
    plant.turns(8)
    assert plant.state(rollout) is RolloutState.DONE and set(plant.fleet.running.values()) == {NEW}
    with pytest.raises(RefusedError, match="no A/B rollout under way"):
        plant.loop.conclude_ab(rollout, "a", "eva", "")


def test_a_comparison_becomes_a_rollout_to_everybody_on_a_second_persons_word_where_one_is_needed(plant: Plant) -> None:
    plant.restart(approvals=1)
    rollout = plant.loop.start_ab("v2", 0.5, "rosa", until=plant.clock.now() + 3600.0, reason="is it better?")
    plant.loop.approve(rollout, "eva", True)
    plant.turns(12)
    with pytest.raises(RefusedError, match="'Rosa ' asked for rollout") as refused:
        plant.loop.conclude_ab(rollout, "b", "Rosa ", "it is")
    assert "somebody other" in refused.value.hint and read_plan(plant.tables.rollouts.get(rollout).plan).keep == ""
    plant.loop.conclude_ab(rollout, "b", "eva", "it is")
    plant.turns(8)
    assert plant.state(rollout) is RolloutState.DONE and set(plant.fleet.running.values()) == {NEW}


def test_where_two_must_approve_nobody_alone_gives_a_comparison_to_everybody(plant: Plant) -> None:
    plant.restart(approvals=2)
    rollout = plant.loop.start_ab("v2", 0.5, "rosa", until=plant.clock.now() + 3600.0)
    plant.loop.approve(rollout, "eva", True)
    plant.loop.approve(rollout, "tom", True)
    plant.turns(12)
    with pytest.raises(RefusedError, match="needs the approval of 2 people") as refused:
        plant.loop.conclude_ab(rollout, "b", "eva", "better")
    assert "keep a, then start a rollout of v2" in refused.value.hint
    plant.loop.conclude_ab(rollout, "a", "rosa", "the other way, then")


@pytest.mark.parametrize("by", ["a person", "its time"])
def test_an_ab_rollout_whose_control_is_kept_takes_the_new_bundle_back(plant: Plant, by: str) -> None:
    rollout = plant.loop.start_ab("v2", 0.34, "rosa", until=plant.clock.now() + 3600.0)
    plant.turns(12)
    if by == "a person":
        plant.loop.conclude_ab(rollout, "a", "eva", "more reviews")
    else:
        plant.clock.forward(3600.0)
        plant.fleet.come(*STATIONS)
    plant.turns(5)
    assert plant.state(rollout) is RolloutState.ABORTED and set(plant.fleet.running.values()) == {OLD}
    reason = plant.tables.rollouts.get(rollout).reason
    assert ("v1 is kept" if by == "a person" else "its time is over") in reason


def test_an_ab_rollout_without_two_arms_or_a_way_back_is_refused(plant: Plant) -> None:
    later = plant.clock.now() + 60.0
    for share in (0.0, 1.0, float("nan")):
        with pytest.raises(RefusedError, match="leaves an arm empty"):
            plant.loop.start_ab("v2", share, "rosa", until=later)
    with pytest.raises(RefusedError, match="must end after now"):
        plant.loop.start_ab("v2", 0.5, "rosa", until=plant.clock.now())
    plant.releases.releases.append(FakeRelease("v3", "3" * 64, release_counter=5))
    with pytest.raises(RefusedError, match="no station could go back"):
        plant.loop.start_ab("v3", 0.5, "rosa", until=later)
    plant.fleet.install("f" * 64, *STATIONS)
    with pytest.raises(RefusedError, match="to hold it against"):
        plant.loop.start_ab("v2", 0.5, "rosa", until=later)


def test_a_failure_in_an_ab_rollout_stops_it(plant: Plant) -> None:
    plant.fleet.refuse.add("s1")
    rollout = plant.loop.start_ab("v2", 0.5, "rosa", until=plant.clock.now() + 3600.0)
    plant.turns()
    assert plant.state(rollout) is RolloutState.ABORTED and plant.ordered() == ["s1"]
