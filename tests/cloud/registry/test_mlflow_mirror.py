"""The registry's mirror in MLflow (its embedded SQLite store): complete, repeatable, and never in a release's way."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cloud.__main__ import main
from cloud.commands.mirror import mirror_beside
from cloud.mirror_wiring import mirror_now, mirror_or_tell
from cloud.ports.rollouts import Rollout
from cloud.registry.catalog import ReleaseState
from cloud.registry.keys import Keys, init_keys, load_keys
from cloud.registry.mirror_releases import mirror_releases
from cloud.registry.mlflow_mirror import MlflowMirror, open_mirror
from cloud.registry.release import Registry, release, release_archive
from cloud.rollout.rollout_states import RolloutState
from cloud.settings import load_settings
from cloud.settings_scale import MlflowSettings
from contract.errors import InvalidConfig, TransientError
from contract.manifest import Lineage
from tests.cloud.registry.test_registry import content
from tests.fixtures_broker import free_port
from tests.tiny_bundle import write_bundle

NOW = 1_795_200_000.0
# MLflow 3.17 uses a loader strategy that SQLAlchemy 2.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")
GATE = {
    "candidate": "c", "incumbent": "", "passed": True, "rules": {},
    "checks": [{"name": "accuracy", "passed": True, "sentence": "held"}],
    "card": {
        "artefact": "m.onnx", "base": {"images": 200, "correct": 190}, "drift": {"images": 50, "correct": 40},
        "classes": [], "corruptions": [], "passed": 100, "missed_defects": 1, "calibration_error": 0.03,
        "golden_error": None, "golden_tolerance": 0.01, "fp32_correct": None, "fp32_agrees": None,
        "median_ms": 1.5, "size_bytes": 100,
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    pytest.importorskip("mlflow", reason="MLflow is not installed: pip install -e '.[mlflow]'")
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


@pytest.fixture
def mirror(uri: str, request: pytest.FixtureRequest) -> Iterator[MlflowMirror]:
    # One database, a model of its own per test: making the tables takes a second.
    yield open_mirror(uri, request.node.name.split("[")[0][:80])


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return init_keys(tmp_path / "keys")


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "registry")


def put(registry: Registry, keys: Keys, version: str, tmp_path: Path, **more: Any) -> str:
    folder = tmp_path / version
    made = content(folder, version, version.encode(), **more)
    (folder / "model_card.md").write_text(f"# steel {version}\n")
    (folder / "gate.json").write_bytes(msgspec.json.encode(GATE))
    files = {**made.files, "model_card.md": folder / "model_card.md", "gate.json": folder / "gate.json"}
    facts: dict[str, Any] = {"files": files, "model_card": "model_card.md", "gate_report": "gate.json"}
    made = content(folder, version, version.encode(), **(facts | more))
    return release(made, registry, keys, NOW + len(registry.catalog.all())).digest


def versions(mirror: MlflowMirror) -> dict[str, Any]:
    found = mirror.client.search_model_versions(f"name='{mirror.model}'")
    assert len({each.tags["plumbline.version"] for each in found}) == len(found)
    return {each.tags["plumbline.version"]: each for each in found}


def promoted(mirror: MlflowMirror) -> str | None:
    aliases = mirror.client.get_registered_model(mirror.model).aliases
    for each in versions(mirror).values():
        if aliases.get("promoted") == each.version:
            return str(each.tags["plumbline.version"])
    return None


def test_every_version_is_shown_with_its_tags_and_files(
    mirror: MlflowMirror, registry: Registry, keys: Keys, tmp_path: Path
) -> None:
    digest = put(registry, keys, "v1", tmp_path, lineage=Lineage(dataset="d" * 64, code="c"), release_counter=2)
    put(registry, keys, "v2", tmp_path, release_counter=2)
    report = mirror_releases(registry, mirror, "")
    assert report.shown == ("v1", "v2") and not report.failed
    shown = versions(mirror)
    assert int(shown["v1"].version) < int(shown["v2"].version)
    tags = {name.removeprefix("plumbline."): value for name, value in shown["v1"].tags.items()}
    assert tags == {
        "version": "v1", "digest": digest, "release_counter": "2", "simulated": "false", "state": "released",
        "size_bytes": str(registry.blobs.path(digest).stat().st_size), "lineage.dataset": "d" * 64, "lineage.code": "c",
        "gate.passed": "1", "gate.failed_checks": "0", "gate.accuracy": "0.95", "gate.accuracy_drift": "0.8",
        "gate.images": "200", "gate.missed_defects": "1", "gate.calibration_error": "0.03", "gate.median_ms": "1.5",
    }  # fmt: skip
    run = mirror.client.get_run(shown["v1"].run_id)
    assert run.info.status == "FINISHED" and run.data.metrics["accuracy"] == 0.95
    place = Path(mirror.client.download_artifacts(run.info.run_id, "", str(tmp_path)))
    assert sorted(path.name for path in place.iterdir() if path.suffix in (".md", ".json")) == [
        "gate.json", "manifest.json", "model_card.md",
    ]  # fmt: skip
    assert msgspec.json.decode((place / "manifest.json").read_bytes())["version"] == "v1"
    assert (place / "model_card.md").read_text() == "# steel v1\n"


def test_promotion_withdrawal_and_retirement_are_followed_and_repeating_changes_nothing(
    mirror: MlflowMirror, registry: Registry, keys: Keys, tmp_path: Path
) -> None:
    for version, counter in (("v1", 1), ("v2", 1), ("v3", 2)):
        put(registry, keys, version, tmp_path, release_counter=counter)

    def states() -> dict[str, str]:
        return {name: each.tags["plumbline.state"] for name, each in versions(mirror).items()}

    mirror_releases(registry, mirror, "v1")
    assert promoted(mirror) == "v1"
    registry.catalog.set_state("v1", ReleaseState.WITHDRAWN)
    assert mirror_releases(registry, mirror, "v2").shown == ("v1", "v2")
    assert states() == {"v1": "withdrawn", "v2": "promoted", "v3": "released"} and promoted(mirror) == "v2"
    assert mirror_releases(registry, mirror, "v3").shown == ("v2", "v3")
    assert states() == {"v1": "withdrawn", "v2": "retired", "v3": "promoted"} and promoted(mirror) == "v3"
    again = mirror_releases(registry, mirror, "v3")
    assert (again.shown, again.unchanged, again.failed) == ((), 3, {})
    mirror_releases(registry, mirror, "")
    assert promoted(mirror) is None


STEPS = (
    "create_experiment", "create_run", "log_artifact", "log_metric", "set_terminated", "create_registered_model",
    "create_model_version", "set_registered_model_alias", "set_model_version_tag",
)  # fmt: skip


class BreakingClient:
    """MLflow's client, of which one call fails, before or after its effect."""

    def __init__(self, real: Any, step: str, before: bool) -> None:
        self._real, self._step, self._before = real, step, before

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._real, name)
        if name != self._step:
            return real

        def call(*words: Any, **more: Any) -> None:
            if not self._before:
                real(*words, **more)
            raise OSError("the line went dead")

        return call


@pytest.mark.parametrize(
    "breaks",
    [
        [("log_artifact", True), ("create_model_version", False)],
        pytest.param([(step, before) for step in STEPS for before in (True, False)], marks=pytest.mark.long),
    ],
    ids=["some", "all"],
)
def test_mirror_that_broke_anywhere_is_completed_by_the_next(
    mirror: MlflowMirror, registry: Registry, keys: Keys, tmp_path: Path, breaks: list[tuple[str, bool]]
) -> None:
    put(registry, keys, "v1", tmp_path)
    for number, (step, before) in enumerate(breaks):
        whole = replace(mirror, model=f"{mirror.model} {len(breaks)} {number}")
        report = mirror_releases(registry, replace(whole, client=BreakingClient(mirror.client, step, before)), "v1")
        assert list(report.failed) == ["v1"] and "the line went dead" in report.failed["v1"]
        assert not mirror_releases(registry, whole, "v1").failed
        assert versions(whole)["v1"].tags["plumbline.state"] == "promoted" and promoted(whole) == "v1"
        runs = mirror.client.search_runs([mirror.client.get_experiment_by_name(whole.model).experiment_id])
        assert [run.info.status for run in runs] == ["FINISHED"]
        assert len(mirror.client.list_artifacts(runs[0].info.run_id)) == 3


def test_one_version_that_is_damaged_does_not_hold_up_the_others(
    mirror: MlflowMirror, registry: Registry, keys: Keys, tmp_path: Path
) -> None:
    digest = put(registry, keys, "v1", tmp_path)
    put(registry, keys, "v2", tmp_path)
    registry.blobs.path(digest).unlink()
    report = mirror_releases(registry, mirror, "")
    assert report.shown == ("v2",) and "no blob" in report.failed["v1"]


def test_imported_bundles_report_that_is_none_of_ours_is_shown_as_it_is(
    mirror: MlflowMirror, registry: Registry, keys: Keys, tmp_path: Path
) -> None:
    made = content(tmp_path / "v1", "v1")
    (tmp_path / "gate.json").write_text("{}")
    files = {**made.files, "gate.json": tmp_path / "gate.json"}
    release(content(tmp_path / "v1", "v1", files=files, gate_report="gate.json"), registry, keys, NOW)
    assert mirror_releases(registry, mirror, "").shown == ("v1",)
    assert not [name for name in versions(mirror)["v1"].tags if name.startswith("plumbline.gate")]


def test_promoted_is_the_newest_rollout_that_is_done(uri: str, registry: Registry, keys: Keys, tmp_path: Path) -> None:
    for version in ("v1", "v2", "v3"):
        put(registry, keys, version, tmp_path)
    ran = [("v1", RolloutState.DONE), ("v2", RolloutState.DONE), ("v3", RolloutState.ABORTED)]
    rollouts = [
        Rollout(number, version, "", state, 0, NOW, (), "", NOW, NOW) for number, (version, state) in enumerate(ran)
    ]
    settings = MlflowSettings(uri, "by rollouts")
    mirror_now(settings, registry, rollouts)
    assert promoted(open_mirror(uri, "by rollouts")) == "v2"


def test_mlflow_that_is_away_is_told_as_a_thing_to_try_again(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(TransientError, match="cannot be used now") as caught:
        mirror_now(MlflowSettings(f"http://127.0.0.1:{free_port()}"), registry, [])
    assert "plumbline-cloud mirror" in caught.value.hint


@pytest.mark.parametrize("model", ["", "a/b", "a:b", "it's", "x" * 300])
def test_model_name_that_mlflow_would_not_find_again_is_refused(model: str) -> None:
    with pytest.raises(InvalidConfig, match="cannot name a model"):
        open_mirror("sqlite://", model)


def test_uri_that_is_none_is_refused() -> None:
    pytest.importorskip("mlflow")
    with pytest.raises(InvalidConfig, match="no MLflow"):
        open_mirror("gopher://mlflow", "plumbline")


def test_mirror_without_mlflow_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    monkeypatch.setitem(sys.modules, "mlflow.exceptions", None)
    with pytest.raises(InvalidConfig) as caught:
        open_mirror("sqlite:///x.db", "plumbline")
    assert "plumbline-edge[cloud,mlflow]" in caught.value.hint


def test_loop_is_told_of_a_version_that_is_not_mirrored(
    uri: str, registry: Registry, keys: Keys, tmp_path: Path
) -> None:
    digest = put(registry, keys, "v1", tmp_path)
    settings = MlflowSettings(uri, "told to the loop")
    mirror_or_tell(settings, registry, [])
    put(registry, keys, "v2", tmp_path)
    registry.blobs.path(digest).unlink()
    registry.catalog.set_state("v1", ReleaseState.WITHDRAWN)
    with pytest.raises(TransientError, match="first v1: no blob"):
        mirror_or_tell(settings, registry, [])
    assert set(versions(open_mirror(uri, "told to the loop"))) == {"v1", "v2"}


@pytest.fixture
def config(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    home = tmp_path / "plant"
    assert main(["init", "--home", str(home)]) == 0
    bundle = write_bundle(tmp_path / "v1.plb", version="v1")
    release_archive(bundle, Registry(home / "registry"), load_keys(home / "keys"), 1_795_200_000.0)
    capsys.readouterr()
    return home / "cloud.toml"


def test_command_shows_what_is_released_once(config: Path, uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    with config.open("a") as file:
        file.write(f'\n[mlflow]\ntracking_uri = "{uri}"\nmodel = "by command"\n')
    assert main(["mirror", "--config", str(config)]) == 0
    assert capsys.readouterr().out == "1 shown anew (v1), 0 as they were\n"
    assert main(["mirror", "--config", str(config)]) == 0
    assert capsys.readouterr().out == "0 shown anew (none), 1 as they were\n"


def test_release_is_told_of_a_mirror_that_is_away_and_stands(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow", reason="MLflow is not installed: pip install -e '.[mlflow]'")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    mirror_beside(load_settings(config))  # none is set: nothing is said
    assert capsys.readouterr().err == ""
    with config.open("a") as file:
        file.write(f'\n[mlflow]\ntracking_uri = "http://127.0.0.1:{free_port()}"\n')
    mirror_beside(load_settings(config))
    said = capsys.readouterr().err
    assert "warning: released, but not mirrored" in said and "later: plumbline-cloud mirror" in said
    assert main(["mirror", "--config", str(config)]) == 1


def test_mirror_that_is_not_set_says_what_to_write(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mirror", "--config", str(config)]) == 1
    assert "tracking_uri" in capsys.readouterr().err
