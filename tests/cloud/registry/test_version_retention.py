"""What is deleted, what stays and why, and that a break at any step leaves a repository that clients accept."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from cloud.ports.rollouts import StandingOrder
from cloud.ports.versions import AliasOf, BundleUse, StageOf
from cloud.registry.catalog import ReleasedVersion, ReleaseState
from cloud.registry.keys import init_keys, load_keys
from cloud.registry.lineage import bundle_link
from cloud.registry.release import Registry, publish_pending, release
from cloud.registry.retention import Freed, RetentionRules, files_of, plan_retention, prune
from cloud.rollout.rollout_states import MemberEvent, RolloutEvent, RolloutState
from cloud.rollout.version_states import VersionStage
from cloud.store.versions import Versions
from contract.errors import PlumblineError, RefusedError
from contract.ids import bundle_target
from contract.messages import ReportedState
from tests.cloud.registry.test_tuf_crash import _FINE, run_killed
from tests.cloud.registry.tuf_plant import DAY, NOW, Client, content, served
from tests.fakes.cloud_tables import Tables, open_tables

LATER = NOW + 60 * DAY
RULES = RetentionRules(champions=1, days=30.0)


def version(name: str, age_days: float = 60.0, digest: str = "", **more: object) -> ReleasedVersion:
    made = ReleasedVersion(name, "tiles", digest or (name[-1] * 64), 10, LATER - age_days * DAY)
    return type(made)(**{**{f: getattr(made, f) for f in made.__struct_fields__}, **more})


def stage(name: str, stands: VersionStage, age_days: float = 60.0) -> StageOf:
    return StageOf(name, stands, "anna", "", LATER - age_days * DAY)


OLD = [version("vd"), version("vc", 61), version("vb", 62), version("va", 63)]
ALL_FORMER = {each.version: stage(each.version, VersionStage.CANDIDATE) for each in OLD}


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"uses": [BundleUse("a" * 64, "s1: may go back to it", False)]}, "s1: may go back to it"),
        ({"aliases": [AliasOf("line-3", "va", "anna", 0.0)]}, "it is 'line-3'"),
        ({"stages": {**ALL_FORMER, "va": stage("va", VersionStage.CHAMPION)}}, "it is the champion"),
        ({"stages": {**ALL_FORMER, "va": stage("va", VersionStage.RETIRED, 5)}}, "it was retired less than 30 days ago"),
        ({"stages": {k: v for k, v in ALL_FORMER.items() if k != "va"}}, "it has no stage yet"),
        ({"staged": {"a" * 64}}, "it waits for signatures"),
        ({"versions": [*OLD[:3], version("va", 29)]}, "it was released 29 days ago, less than 30"),
        (
            {"versions": [*OLD, version("ve", 70, "a" * 64)], "stages": {**ALL_FORMER, "ve": stage("ve", VersionStage.CHAMPION)}},
            "another version is the same bundle",
        ),
    ],
)  # fmt: skip
def test_each_reason_keeps_a_version_and_is_said(more: dict, why: str) -> None:
    facts = {"versions": OLD, "stages": ALL_FORMER, "aliases": [], "uses": [], "staged": set()}
    bare = plan_retention(**facts, rules=RULES, now=LATER)
    assert set(bare.gone) == {"va", "vb", "vc"} and bare.kept == {"vd": ("it is the newest release",)}
    plan = plan_retention(**{**facts, **more}, rules=RULES, now=LATER)
    assert plan.kept["va"] == (why,) and {"vb", "vc"} <= set(plan.gone)


def test_the_last_champions_stay() -> None:
    stages = {
        "va": stage("va", VersionStage.CHAMPION, 90),
        "vb": stage("vb", VersionStage.FORMER, 40),
        "vc": stage("vc", VersionStage.FORMER, 50),
        "vd": stage("vd", VersionStage.CANDIDATE),
    }
    plan = plan_retention(OLD, stages, [], [], set(), RetentionRules(2, 30.0), LATER)
    assert plan.gone == ("vc",) and plan.kept["vb"] == ("it is among the last 2 champions",)


class Plant:
    """A registry, its keys and its database in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.registry = folder, Registry(folder / "registry")

    def open(self) -> tuple[Tables, Versions]:
        tables = open_tables(self.folder / "cloud.db")
        return tables, Versions(tables.database)

    def release(self, name: str, data: str = "", now: float = NOW, **more: Path) -> ReleasedVersion:
        made = content(self.folder / "content" / (data or name), name)
        return release(made, self.registry, load_keys(self.folder / "keys", self.folder / "stick"), now, **more)

    def bundles(self) -> dict[str, str]:
        return {each.version: each.digest for each in self.registry.catalog.all()}

    def prune(
        self, versions: Versions, now: float = LATER, *, stick: bool = True, rules: RetentionRules = RULES
    ) -> Freed:
        folders = [self.folder / "keys", *([self.folder / "stick"] if stick else [])]
        stands = versions.stages(), versions.aliases(), versions.uses(self.bundles(), now)
        plan = plan_retention(self.registry.catalog.all(), *stands, set(), rules, now)
        mark = lambda choose: versions.prune(choose, self.bundles(), "anna", "room", now)  # noqa: E731
        return prune(self.registry, load_keys(*folders), set(plan.gone), mark, rules, now)

    def targets(self) -> set[str]:
        return {path.stem for path in (self.registry.tuf_folder / "targets" / "bundles").glob("*.plb")}


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    keys = init_keys(tmp_path / "keys")
    stick = tmp_path / "stick"
    stick.mkdir()
    made = Plant(tmp_path)
    for name in ("v1", "v2", "v3"):
        made.release(name)
    for name in ("root.pem", "targets.pem"):
        shutil.move(keys.folder / name, stick / name)
    tables, versions = made.open()
    versions.adopt({each.version: each.created_at for each in made.registry.catalog.all()}, NOW)
    versions.rolled_out("v3", "plumbline", NOW)
    tables.database.close()
    return made


def test_what_goes_is_gone_everywhere_and_what_is_known_of_it_stays(plant: Plant) -> None:
    tables, versions = plant.open()
    before = plant.bundles()
    deltas = set((plant.registry.tuf_folder / "targets" / "deltas").glob("*"))
    size = sum(plant.registry.catalog.get(name).size_bytes for name in ("v1", "v2"))
    told = files_of(plant.registry, load_keys(plant.folder / "keys"), {"v1", "v2"})
    freed = plant.prune(versions)
    assert set(freed.versions) == {"v1", "v2"} and freed.size_bytes == sum(told.values()) >= size
    assert plant.targets() == {before["v3"]}
    keys = load_keys(plant.folder / "keys")
    assert plant.registry.tuf(keys).digests() == (before["v3"],)
    assert not deltas or not set((plant.registry.tuf_folder / "targets" / "deltas").glob("*")) & deltas
    for name in ("v1", "v2"):
        link = bundle_link(plant.registry, before[name])
        assert link.manifest is not None and link.manifest.version == name
        assert [check.what for check in link.checks if not check.holds] == []
        assert "what it said of itself was kept" in link.gaps[0]
        with pytest.raises(RefusedError, match="retired and its files deleted by anna: room"):
            versions.check_usable(name)
    assert plant.prune(versions).versions == ()
    assert tables.audit.first_broken() is None


def test_a_pruned_version_released_again_is_there_again(plant: Plant) -> None:
    _, versions = plant.open()
    plant.prune(versions)
    again = plant.release("v1", now=LATER)
    versions.note_released("v1", "anna", LATER)
    assert again.state is ReleaseState.RELEASED and again.digest in plant.targets()
    versions.check_usable("v1")
    assert plant.registry.blobs.path(again.digest).is_file()


def test_a_full_precision_model_that_another_version_has_too_stays(plant: Plant, tmp_path: Path) -> None:
    model = tmp_path / "fp32.onnx"
    model.write_bytes(b"thirty-two bits")
    for name in ("v4", "v5", "v6"):
        plant.release(name, full_precision=model)
    _, versions = plant.open()
    versions.adopt({each.version: each.created_at for each in plant.registry.catalog.all()}, NOW)
    freed = plant.prune(versions)
    assert {"v4", "v5"} <= set(freed.versions)
    assert plant.registry.blobs.path(plant.registry.catalog.get("v6").full_precision).read_bytes() == model.read_bytes()


def test_without_the_targets_key_files_stay_until_the_signed_list_is_published(plant: Plant) -> None:
    _, versions = plant.open()
    there = plant.targets()
    freed = plant.prune(versions, stick=False)
    assert set(freed.waiting) == {"v1", "v2"} and freed.versions == () and plant.targets() == there
    publish_pending(plant.registry, load_keys(plant.folder / "keys", plant.folder / "stick"), [], LATER)
    assert plant.targets() == there
    assert set(plant.prune(versions, stick=False).versions) == {"v1", "v2"}
    assert plant.targets() == {plant.bundles()["v3"]}


def test_released_again_while_its_withdrawal_waits_it_stays_listed(plant: Plant) -> None:
    _, versions = plant.open()
    plant.prune(versions, stick=False)
    plant.release("v1", now=LATER)
    versions.note_released("v1", "anna", LATER)
    keys = load_keys(plant.folder / "keys", plant.folder / "stick")
    assert plant.bundles()["v1"] in plant.registry.tuf(keys).digests()
    assert set(plant.prune(versions).versions) == {"v2"}
    assert plant.bundles()["v1"] in plant.targets()


@pytest.mark.slow
def test_killed_before_any_step_clients_accept_what_is_there_and_a_repetition_ends_it(plant: Plant) -> None:
    digests = plant.bundles()
    root = plant.registry.tuf(load_keys(plant.folder / "keys")).root()
    step = 0
    while True:
        folder = plant.folder.with_name(f"killed-{step}")
        shutil.copytree(plant.folder, folder)
        there = Plant(folder)

        def command(there: Plant = there) -> None:
            tables, versions = there.open()
            there.prune(versions, NOW + DAY, rules=RetentionRules(1, 0.5))
            tables.database.close()

        died = run_killed(command, folder / "registry", step, _FINE)
        with served(folder / "registry" / "tuf") as url:
            client = Client(folder / "client", url, root).refresh(NOW + DAY)
            for digest in digests.values():
                info = client.get_targetinfo(bundle_target(digest))
                assert info is None or (digest in there.targets()), f"step {step}: listed, and gone"
            assert client.get_targetinfo(bundle_target(digests["v3"])) is not None
        command()
        assert there.targets() == {digests["v3"]}, f"step {step}"
        assert not there.registry.blobs.size_of(digests["v1"])
        assert bundle_link(there.registry, digests["v1"]).manifest is not None
        shutil.rmtree(folder)
        if not died:
            break
        step += 1
    assert step > 12


class Station:
    """A station that takes its standing order when it pleases, and may be away while others come."""

    def __init__(self, name: str) -> None:
        self.name, self.runs, self.former, self.seq = name, "", "", 0

    def take(self, tables: Tables) -> str | None:
        """Take the standing order; return the bundle it fetches."""
        order = tables.rollouts.standing(self.name)
        if order is None or not order.envelope or order.desired_seq <= self.seq:
            return None
        self.seq = order.desired_seq
        if order.bundle != self.runs:
            self.former, self.runs = self.runs, order.bundle
            return order.bundle
        return None

    def say(self, tables: Tables, now: float, deployment: str) -> None:
        tables.stations.commit(
            [],
            [ReportedState(self.name, "b1", now, self.runs, "COMMITTED", deployment=deployment, desired_seq=self.seq)],
            now,
        )


# Whole rollouts come often: "roll" ends well, "halt" is stopped; how many stations take its order, and say so, is in the number.
ACTS = st.sampled_from(
    ["release", "roll", "roll", "halt", "start", "order", "take", "say", "abort", "retire", "prune", "prune"]
)


@settings(
    max_examples=15,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(acts=st.lists(st.tuples(ACTS, st.integers(0, 63)), min_size=8, max_size=30))
def test_whatever_is_done_no_station_has_a_bundle_or_a_way_back_that_is_not_in_the_repository(
    tmp_path_factory: pytest.TempPathFactory, acts: list[tuple[str, int]]
) -> None:
    fleet = Fleet(tmp_path_factory.mktemp("fleet"))
    for act, which in acts:
        fleet.act(act, which)
        fleet.check()
    fleet.tables.database.close()


class Fleet:
    """Three stations, and everything that a plant does to its versions, in any order; what is refused is skipped."""

    def __init__(self, folder: Path) -> None:
        init_keys(folder / "keys")
        (folder / "stick").mkdir()
        self.plant, self.now, self.deployments = Plant(folder), NOW, dict[str, str]()
        self.tables, self.versions = self.plant.open()
        self.stations = [Station(f"s{n}") for n in range(3)]
        self.tables.add_online(*(each.name for each in self.stations), now=NOW)

    def act(self, act: str, which: int) -> None:
        self.now += 1.0
        with contextlib.suppress(PlumblineError):
            getattr(self, f"do_{act}")(which)

    def check(self) -> None:
        there, blobs = self.plant.targets(), self.plant.registry.blobs
        listed = set(self.plant.registry.tuf(load_keys(self.plant.folder / "keys")).digests()) if there else set()
        needed = {b for s in self.stations for b in (s.runs, s.former if self.trying(s) else "")} - {""}
        needed |= {order.bundle for order in self.tables.rollouts.all_standing()} - {""}
        for rollout in self.under_way():
            needed |= {rollout.bundle, *(m.previous_bundle for m in self.tables.rollouts.members(rollout.id))} - {""}
        for station in self.stations:
            needed |= {self.tables.rollouts.former_bundle(station.name, station.runs)} - {""}
        assert needed <= there and needed <= listed, "a station needs what is gone"
        assert all(blobs.size_of(digest) for digest in needed)

    def trying(self, station: Station) -> bool:
        return any(m.station == station.name for r in self.under_way() for m in self.tables.rollouts.members(r.id))

    def under_way(self) -> list:
        over = (RolloutState.DONE, RolloutState.ABORTED)
        return [each for each in self.tables.rollouts.all() if each.state not in over]

    def members(self) -> Iterable:
        return [m for r in self.under_way() for m in self.tables.rollouts.members(r.id)]

    def do_release(self, _: int) -> None:
        name = f"v{len(self.plant.registry.catalog.all())}"
        self.plant.release(name, "same", self.now)
        self.versions.note_released(name, "anna", self.now)

    def do_start(self, which: int) -> None:
        versions = self.plant.registry.catalog.all()
        chosen = versions[which % len(versions)] if versions else None
        if chosen is not None:
            self.versions.check_usable(chosen.version)
            waves = [[each.name for each in self.stations]]
            self.tables.rollouts.create(chosen.version, chosen.digest, waves, (), "anna", self.now)

    def do_order(self, which: int) -> None:
        for member in list(self.members())[which % 3 : which % 3 + 1]:
            bundle = self.tables.rollouts.get(member.rollout).bundle
            former = next(s.bundle for s in self.tables.stations.status() if s.station == member.station)
            if former == bundle:
                former = self.tables.rollouts.former_bundle(member.station, former) or former
            seq = self.tables.rollouts.next_seq(member.station)
            self.tables.rollouts.order(
                member, MemberEvent.ORDER, StandingOrder(member.station, seq, bundle, "{}", True), former, self.now
            )
            self.deployments[f"{member.station} {seq}"] = member.deployment

    def do_take(self, which: int) -> None:
        fetched = self.stations[which % 3].take(self.tables)
        assert not fetched or fetched in self.plant.targets()

    def do_say(self, which: int) -> None:
        station = self.stations[which % 3]
        station.say(self.tables, self.now, self.deployments.get(f"{station.name} {station.seq}", ""))

    def do_roll(self, which: int) -> None:
        self.do_release(0)
        self._bring(which)
        for rollout in self.under_way():
            self.tables.rollouts.step(rollout, RolloutEvent.ALL_WAVES_COMMITTED, "plumbline", "", self.now)
            self.versions.rolled_out(rollout.version, "plumbline", self.now)

    def do_halt(self, which: int) -> None:
        self.do_release(0)
        self._bring(which)
        self.do_abort(0)
        for member in range(3):
            self.do_recall(member)
        self.do_abort(0)

    def _bring(self, which: int) -> None:
        self.do_start(0)
        for number in range(3):
            self.do_order(number)
            if which >> number & 1:
                self.do_take(number)
            if which >> number & 8:
                self.do_say(number)

    def do_abort(self, _: int) -> None:
        for rollout in self.under_way():
            event = RolloutEvent.ABORT if rollout.state is RolloutState.RUNNING else RolloutEvent.ALL_BACK
            self.tables.rollouts.step(rollout, event, "anna", "bad", self.now)

    def do_recall(self, which: int) -> None:
        for member in list(self.members())[which % 3 : which % 3 + 1]:
            seq = self.tables.rollouts.next_seq(member.station)
            back = member.previous_bundle
            order = StandingOrder(member.station, seq, back, "{}", True)
            self.tables.rollouts.recall(member, order, back, "bad", self.now)

    def do_retire(self, which: int) -> None:
        versions = self.plant.registry.catalog.all()
        if versions:
            chosen = versions[which % len(versions)].version
            self.versions.retire(chosen, self.plant.bundles(), "anna", "old", self.now)

    def do_prune(self, _: int) -> None:
        self.plant.prune(self.versions, self.now, rules=RetentionRules(1, 0.0))
