"""Where versions stand, what aliases mean, and what keeps a version from being retired."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.ports.rollouts import StandingOrder
from cloud.rollout.rollout_states import MemberEvent, RolloutEvent
from cloud.rollout.version_states import STAGE_TABLE, VersionEvent, VersionStage, step_stage
from cloud.store.kit_orders import KitOrders
from cloud.store.versions import Versions
from contract.errors import IllegalTransition, InvalidConfig, NotFound, RefusedError
from contract.messages import ReportedState
from tests.fakes.cloud_tables import T0, Tables

V1, V2, V3 = "a" * 64, "b" * 64, "c" * 64
BUNDLES = {"v1": V1, "v2": V2, "v3": V3}
DAY = 86_400.0


@pytest.fixture
def versions(tables: Tables) -> Versions:
    return Versions(tables.database)


def meant(versions: Versions) -> dict[str, str]:
    return {each.alias: each.version for each in versions.aliases()}


def stages(versions: Versions) -> dict[str, str]:
    return {name: each.stage.value for name, each in versions.stages().items()}


def report(station: str, bundle: str, deployment: str = "", **more: object) -> ReportedState:
    facts = {"update_state": "COMMITTED", "candidate": "", "reason": "", "at": T0, **more}
    return ReportedState(station, boot="b1", bundle=bundle, deployment=deployment, **facts)  # type: ignore[arg-type]


def finish(tables: Tables, version: str, at: float) -> None:
    rollout = tables.rollouts.create(version, BUNDLES[version], [["s1"]], (), "anna", at)
    tables.rollouts.step(tables.rollouts.get(rollout), RolloutEvent.ALL_WAVES_COMMITTED, "plumbline", "", at + 10)


@given(st.sampled_from(VersionStage), st.sampled_from(VersionEvent))
def test_an_event_without_a_row_changes_nothing(stage: VersionStage, event: VersionEvent) -> None:
    if event in STAGE_TABLE[stage]:
        assert step_stage(stage, event) is STAGE_TABLE[stage][event]
    else:
        with pytest.raises(IllegalTransition, match=stage.value):
            step_stage(stage, event)


def test_a_release_is_the_candidate_and_the_champion_once_it_reached_everybody(
    tables: Tables, versions: Versions
) -> None:
    with pytest.raises(NotFound, match="no version is champion yet"):
        versions.resolve("champion")
    versions.note_released("v1", "anna", T0)
    assert versions.resolve("candidate") == "v1"
    versions.rolled_out("v1", "plumbline", T0 + 1)
    versions.note_released("v2", "anna", T0 + 2)
    versions.rolled_out("v2", "plumbline", T0 + 3)
    assert stages(versions) == {"v1": "FORMER", "v2": "CHAMPION"} and meant(versions) == {"champion": "v2"}
    with pytest.raises(NotFound, match="no version is candidate now"):
        versions.resolve("candidate")
    versions.rolled_out("v2", "plumbline", T0 + 4)
    versions.rolled_out("v1", "plumbline", T0 + 5)
    assert stages(versions) == {"v1": "CHAMPION", "v2": "FORMER"}
    last = tables.audit.entries()[-1]
    assert (last.act, last.detail) == ("alias", "champion: v1 (was v2): a rollout of it ended well")
    assert tables.audit.first_broken() is None


def test_a_plant_from_before_stages_gets_them_from_its_rollouts(tables: Tables, versions: Versions) -> None:
    tables.add_online("s1")
    finish(tables, "v1", T0 + 10)
    finish(tables, "v2", T0 + 100)
    aborted = tables.rollouts.create("v3", V3, [["s1"]], (), "anna", T0 + 200)
    tables.rollouts.step(tables.rollouts.get(aborted), RolloutEvent.ABORT, "anna", "bad", T0 + 201)
    known = {"v1": T0, "v2": T0 + 50, "v3": T0 + 150}
    versions.adopt(known, T0 + 300)
    assert stages(versions) == {"v1": "FORMER", "v2": "CHAMPION", "v3": "CANDIDATE"}
    assert meant(versions) == {"champion": "v2", "candidate": "v3"}
    written = len(tables.audit.entries())
    versions.adopt(known, T0 + 400)
    assert len(tables.audit.entries()) == written


def test_without_a_champion_a_rollout_that_ended_makes_one_and_one_by_hand_stays(
    tables: Tables, versions: Versions
) -> None:
    tables.add_online("s1")
    known = {"v1": T0, "v2": T0 + 1}
    versions.adopt(known, T0 + 2)
    finish(tables, "v1", T0 + 10)
    versions.adopt(known, T0 + 30)
    assert versions.resolve("champion") == "v1"
    versions.set_alias("champion", "v2", "anna", "v1 was a mistake", T0 + 40)
    versions.adopt(known, T0 + 50)
    assert versions.resolve("champion") == "v2"


def test_two_who_crown_at_once_leave_one_champion(tables: Tables, versions: Versions) -> None:
    names = [f"v{n}" for n in range(8)]
    threads = [threading.Thread(target=versions.rolled_out, args=(name, "plumbline", T0)) for name in names]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    found = stages(versions)
    champions = [name for name, stage in found.items() if stage == "CHAMPION"]
    assert len(champions) == 1 and [meant(versions)["champion"]] == champions
    assert list(found.values()).count("FORMER") == 7


def test_an_alias_moves_whole_and_never_hides_a_version(tables: Tables, versions: Versions) -> None:
    for version in BUNDLES:
        versions.note_released(version, "anna", T0)
    versions.set_alias("line-3", "v1", "anna", "", T0)
    versions.set_alias("line-3", "v2", "bert", "v1 misses dents", T0 + 1)
    assert versions.resolve("line-3") == "v2" and versions.resolve("v1") == "v1" and versions.resolve("v9") == "v9"
    assert tables.audit.entries()[-1].detail == "line-3: v2 (was v1): v1 misses dents"
    with pytest.raises(RefusedError, match="version's own name"):
        versions.set_alias("v1", "v2", "anna", "", T0)
    with pytest.raises(InvalidConfig, match="no alias"):
        versions.set_alias("Line 3", "v2", "anna", "", T0)
    with pytest.raises(InvalidConfig, match="is an alias"):
        versions.check_no_alias("line-3")
    with pytest.raises(InvalidConfig, match="is an alias"):
        versions.check_no_alias("champion")
    with pytest.raises(RefusedError, match="moves by releases"):
        versions.drop_alias("champion", "anna", "", T0)
    versions.drop_alias("line-3", "anna", "", T0)
    assert versions.resolve("line-3") == "line-3"
    with pytest.raises(NotFound):
        versions.drop_alias("line-3", "anna", "", T0)


def test_a_retired_version_is_refused_with_who_and_why_until_that_is_taken_back(
    tables: Tables, versions: Versions
) -> None:
    tables.add_online("s1")
    versions.note_released("v1", "anna", T0)
    versions.retire("v1", BUNDLES, "bert", "it misses dents", T0)
    with pytest.raises(RefusedError, match="was retired by bert: it misses dents"):
        versions.check_usable("v1")
    with pytest.raises(RefusedError, match="was retired by bert"):
        versions.set_alias("line-3", "v1", "anna", "", T0)
    with pytest.raises(RefusedError, match="was retired by bert"):
        KitOrders(tables.database).reserve(["s1"], "v1", "anna", T0)
    with pytest.raises(NotFound):
        versions.resolve("candidate")
    with pytest.raises(IllegalTransition):
        versions.retire("v1", BUNDLES, "bert", "again", T0)
    versions.unretire("v1", "anna", "v2 misses more", T0)
    versions.check_usable("v1")
    with pytest.raises(IllegalTransition):
        versions.unretire("v1", "anna", "twice", T0)
    with pytest.raises(InvalidConfig, match="for a reason"):
        versions.retire("v1", BUNDLES, "bert", " ", T0)


def test_the_champion_is_not_retired_and_neither_is_what_an_alias_of_people_means(versions: Versions) -> None:
    versions.rolled_out("v1", "plumbline", T0)
    versions.note_released("v2", "anna", T0)
    versions.set_alias("line-3", "v2", "anna", "", T0)
    with pytest.raises(IllegalTransition, match="CHAMPION"):
        versions.retire("v1", BUNDLES, "bert", "no", T0)
    with pytest.raises(RefusedError, match="'line-3' means version 'v2'"):
        versions.retire("v2", BUNDLES, "bert", "no", T0)


@pytest.mark.parametrize("how", ["runs", "standing", "tries", "rollout", "back", "former", "kit", "unheard"])
def test_what_is_needed_is_not_retired_unless_somebody_says_why_that_is_safe(
    tables: Tables, versions: Versions, how: str
) -> None:
    tables.add_online("s1")
    words = {
        "runs": "s1: runs it", "standing": "s1: is told to run it", "tries": "s1: tries it",
        "rollout": "rollout 1 brings it", "back": "s1: may go back to it", "former": "s1: may go back to it",
        "kit": "s1: has a kit with it", "unheard": "s1: may have taken it before it was told otherwise",
    }  # fmt: skip
    if how == "runs":
        tables.stations.commit([], [report("s1", V1)], T0)
    elif how == "standing":
        tables.rollouts.order_apart(StandingOrder("s1", 1, V1, "{}", False), "anna", "order", "why", T0)
    elif how == "tries":
        tables.stations.commit([], [report("s1", V2, update_state="TRIAL", candidate=V1)], T0)
    elif how == "rollout":
        tables.rollouts.create("v1", V1, [["s1"]], (), "anna", T0)
    elif how == "kit":
        KitOrders(tables.database).reserve(["s1"], "v1", "anna", T0, 30.0)
    else:
        brings = V1 if how == "unheard" else V2
        number = tables.rollouts.create("v2", brings, [["s1"]], (), "anna", T0)
        member = tables.rollouts.members(number)[0]
        order = StandingOrder("s1", 1, brings, "{}", False)
        tables.rollouts.order(member, MemberEvent.ORDER, order, V3 if how == "unheard" else V1, T0)
        if how != "back":
            tables.rollouts.step_member(tables.rollouts.members(number)[0], MemberEvent.COMMIT, "", T0)
            rollout = tables.rollouts.get(number)
            tables.rollouts.step(rollout, RolloutEvent.ALL_WAVES_COMMITTED, "plumbline", "", T0)
        if how == "unheard":
            # Another order took its place before the station said anything.
            tables.rollouts.order_apart(StandingOrder("s1", 2, V2, "{}", False), "anna", "order", "why", T0)
    with pytest.raises(RefusedError, match=words[how]):
        versions.retire("v1", BUNDLES, "bert", "it misses dents", T0)
    if how == "rollout":
        return  # that is not safe, whoever says so
    versions.retire("v1", BUNDLES, "bert", "it misses dents", T0, safe="s1 is being taken down")
    assert "s1 is being taken down" in versions.stages()["v1"].reason


def test_a_kit_is_needed_until_it_expires_or_a_later_order_was_followed(tables: Tables, versions: Versions) -> None:
    tables.add_online("s1")
    KitOrders(tables.database).reserve(["s1"], "v1", "anna", T0, 30.0)
    assert [use.bundle for use in versions.uses(BUNDLES, T0 + 29 * DAY)] == [V1]
    assert versions.uses(BUNDLES, T0 + 31 * DAY) == []
    tables.stations.commit([], [report("s1", V2, desired_seq=2)], T0)
    assert [use.bundle for use in versions.uses(BUNDLES, T0)] == [V2]


def test_a_kit_from_before_its_days_were_noted_is_needed_as_long_as_one_can_be(
    tables: Tables, versions: Versions
) -> None:
    tables.audit.append(T0, "anna", "kit", "s1: version v1, desired_seq 4")
    assert [use.bundle for use in versions.uses(BUNDLES, T0 + 3649 * DAY)] == [V1]
    assert versions.uses(BUNDLES, T0 + 3651 * DAY) == []


@pytest.mark.parametrize("proposed", [False, True])
def test_a_version_on_its_way_is_not_retired_however_safe_that_is(
    tables: Tables, versions: Versions, proposed: bool
) -> None:
    versions.adopt(dict.fromkeys(BUNDLES, 1.0), T0)
    rollout = tables.rollouts.create("v2", V2, [["s1"]], (), "anna", T0, proposed=proposed)
    with pytest.raises(RefusedError, match="rollout 1 is bringing version 'v2' to stations") as refused:
        versions.retire("v2", BUNDLES, "bert", "it misses dents", T0, safe="nobody runs it yet")
    assert refused.value.hint == "abort it first: plumbline-cloud rollout abort 1"
    tables.rollouts.step(tables.rollouts.get(rollout), RolloutEvent.ABORT, "bert", "it misses dents", T0)
    versions.retire("v2", BUNDLES, "bert", "it misses dents", T0, safe="nobody runs it yet")
    assert stages(versions)["v2"] == "RETIRED"
