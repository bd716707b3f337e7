"""plumbline-cloud why: from a verdict to the people whose labels the model learnt, with every hash taken again."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import sqlite_utils

from agent.api.provenance import Manifests, provenance
from agent.store.migrations import migrations
from cloud.__main__ import main
from cloud.clock import SystemClock
from cloud.gate.scorecard import GateCheck, GateReport, GateRules, Scorecard, SliceFigures
from cloud.ports.alarms import Opened
from cloud.ports.records import Cursor
from cloud.registry.bundle import open_bundle
from cloud.registry.keys import init_keys
from cloud.registry.release import Registry
from cloud.retrain.judged_files import judged_files
from cloud.retrain.release_run import RunReleaser
from cloud.retrain.run_folder import RunFolder
from cloud.retrain.run_records import (
    ArtefactFigures,
    DatasetEntry,
    DatasetManifest,
    QuantizeReport,
    Recipe,
    RunFigures,
    RunInfo,
    Split,
)
from contract.manifest import Thresholds
from tests.fakes.cloud_tables import T0, note, open_tables, received, summary
from tests.tiny_bundle import LABELS, SPEC, model_bytes

PIXELS = hashlib.sha256(b"pixels of x1").hexdigest()
BASE = tuple(
    DatasetEntry(f"{n}.png", 0, f"{n:064x}", label, "folder", "base", split, f"base/{n}")
    for n, (label, split) in enumerate(
        [("good", Split.TRAIN)] * 3 + [("scratch", Split.TRAIN)] * 2 + [("good", Split.HOLDOUT)]
    )
)
REVIEWED = DatasetEntry(
    "x1.png", 1, PIXELS, "scratch", "ann", "reviewed:s1", Split.TRAIN, "part of x1", True, 0.5, (), T0 + 10
)  # fmt: skip


def write_run(folder: Path, entries: tuple[DatasetEntry, ...], parent: Path | None, gain: float) -> Path:
    """Write a trained, quantized and gated run by hand: training one would take seconds and tell no more."""
    folder.mkdir(parents=True)
    run = RunFolder(folder)
    run.fp32.write_bytes(model_bytes(gain=gain))
    pixels = np.stack([np.full((8, 8), level, np.uint8) for level in (0, 255)])
    run.save_golden(pixels, np.array([[-gain / 2, gain / 2], [gain / 2, -gain / 2]], np.float32))
    artefact = ArtefactFigures("fp32.onnx", "fp32", "as trained", 1.0, None, 1.0, 1, 0.1)
    run.save_quantize_report(QuantizeReport((artefact,), "fp32.onnx", Thresholds(0.9, 0.6, "conformal"), (), 0.1, 1.0))
    card = Scorecard("fp32.onnx", SliceFigures(10, 9), None, (), (), 5, 0, 0.01, 0.0, 0.1, None, None, 0.1, 1)
    check = GateCheck("accuracy", True, "9 of 10 are right, and 8 would do")
    run.save_dataset(DatasetManifest(("images",), entries))
    figures = RunFigures(1.0, 40, 100, "cpu", 1, len(entries), 1, 1.0, None, 1.0, None)
    sha256 = hashlib.sha256(msgspec.json.encode(entries)).hexdigest()
    code = "plumbline-edge 0.1"
    run.save_info(RunInfo(Recipe(epochs=7), 3, LABELS, SPEC, str(parent or ""), sha256, code, figures))
    run.save_gate_report(GateReport("c", "", (check,), True, GateRules(), card, judged=judged_files(run)))
    return folder


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """v1, a base model that a person released; v1.r1, which a retrain made of it after an alarm; x1 taught it, x2 did not."""
    home = tmp_path_factory.mktemp("plant") / "home"
    home.mkdir()
    (home / "cloud.toml").write_text("")
    keys = init_keys(home / "keys")
    first = write_run(home.parent / "made" / "v1", BASE, None, 20.0)
    words = ["release", str(first), "--version", "v1", "--actor", "ian", "--config", str(home / "cloud.toml")]
    assert main(words) == 0
    releaser = RunReleaser(Registry(home / "registry"), keys, home / "runs", lambda: T0 + 50, lambda _content: 1.0)
    second = write_run(home.parent / "made" / "v1.r1", (*BASE, REVIEWED), releaser.run_of("v1"), 30.0)
    digest = releaser.release(second, "v1.r1").digest
    tables = open_tables(home / "cloud.db")
    tables.alarms.commit(Cursor(0, 1, 1), {}, [Opened("s1", T0, T0, "lens", "lens: out of focus")], [])
    retrain = tables.alarms.start_retrain(tables.alarms.open()[0], "accuracy 0.4 on 60 random parts", T0 + 20)
    tables.alarms.update_retrain(retrain, state="released", version="v1.r1", ended_at=T0 + 50)
    notes = tuple(note(f"x{n}", at=T0 + n) for n in (1, 2))
    said = summary("s1", 1, samples=notes)
    header = msgspec.structs.replace(said.header, bundle=digest)
    tables.summaries.commit(received(msgspec.structs.replace(said, header=header)), [])
    tables.samples.mark_requested(["x1", "x2"], 1, T0)
    tables.samples.mark_received("x1", "s1", PIXELS, T0 + 5)
    tables.samples.label("x1", "scratch", "ann", T0 + 10)
    tables.samples.label("x1", "scratch", "bob", T0 + 11)
    tables.database.close()
    return home


@pytest.fixture
def home(plant: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(plant, tmp_path / "home"))


Why = Callable[..., tuple[int, str]]


@pytest.fixture
def why(capsys: pytest.CaptureFixture[str]) -> Why:
    """Return what runs the command: exit code, and what was said."""

    def run(home: Path, *words: object) -> tuple[int, str]:
        code = main(["why", *map(str, words), "--config", str(home / "cloud.toml")])
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


def registered(home: Path, version: str) -> Any:
    return Registry(home / "registry").catalog.get(version)


def test_a_kept_frames_verdict_leads_to_the_people_who_taught_its_model(plant: Path, why: Why) -> None:
    code, said = why(plant, "x1")
    assert code == 0 and len(said.splitlines()) <= 60
    for sentence in (
        "decision x1 of s1 at 2026-11-20 18:40:01Z, part part of x1",
        "PASS: good, confidence 0.500",
        "people say: scratch; ann scratch (label, 2026-11-20 18:40:10Z), bob scratch",
        f"bundle {registered(plant, 'v1.r1').digest[:12]}",
        "release v1.r1, released 2026-11-20 18:40:50Z, release counter 0",
        "artefact fp32.onnx, fp32",
        "thresholds: pass at 0.9, reject at 0.6 (conformal)",
        "gate: passed, 1 checks",
        "held: 9 of 10 are right, and 8 would do",
        "trained in v1.r1: 40 steps, seed 3, by plumbline-edge 0.1",
        "made by retrain 1 (drift): accuracy 0.4 on 60 random parts",
        "answers alarm 1 of 2026-11-20 18:40:00Z: lens: lens: out of focus",
        "7 images, 1 reviewed",
        "train good 3, scratch 3",
        "labelled by folder 6, ann 1 (2026-11-20 18:40:10Z to 2026-11-20 18:40:10Z)",
        "this very image was learnt from as scratch, labelled by ann",
        "parent v1: 40 steps, seed 3, by plumbline-edge 0.1, a base model",
        "this part is not in it",
        "verified: 18 of 18 hashes",
    ):
        assert sentence in said, f"{sentence!r} is not in\n{said}"


def test_the_whole_chain_is_in_json(plant: Path, why: Why) -> None:
    told = json.loads(why(plant, "x1", "--json")[1])
    assert [run["run"] for run in told["runs"]] == ["v1.r1", "v1"] and told["gaps"] == []
    assert [(a["labeller"], a["label"]) for a in told["sample"]["acts"]] == [("ann", "scratch"), ("bob", "scratch")]
    (reviewed,) = told["runs"][0]["reviewed"]
    assert (reviewed["sha256"], reviewed["labeller"], reviewed["labelled_at"]) == (PIXELS, "ann", T0 + 10)
    assert told["runs"][0]["alarm"]["cause"] == "lens" and told["runs"][1]["retrain"] is None
    assert told["bundle"]["lineage"]["dataset"] == told["runs"][0]["info"]["dataset_sha256"]
    checked = {check["what"] for check in told["checks"]}
    assert checked >= {"bundle", "gate report", "recipe", "v1: dataset of v1", "fp32.onnx of the run"}
    assert told["overruled"] == []


def test_a_part_that_the_model_never_saw_is_said_to_be_none(plant: Path, why: Why) -> None:
    code, said = why(plant, "x2")
    assert code == 0 and "nobody labelled it" in said and said.count("this part is not in it") == 2


def test_a_version_or_a_bundle_is_traced_without_a_decision(plant: Path, why: Why) -> None:
    code, said = why(plant, "--version", "v1")
    assert code == 0 and "release by ian: v1: bundle" in said and "a base model" in said and "decision" not in said
    assert why(plant, "--bundle", registered(plant, "v1").digest[:10]) == (0, said)
    unknown = why(plant, "--bundle", "f" * 64)
    assert unknown[0] == 0 and "not known: the bundle is in no release of this registry" in unknown[1]


def decided(bundle: str, **more: Any) -> dict[str, Any]:
    """Return a row of a station's results."""
    row = {"window": 1, "captured_at": T0 + 1, "part": "part of x1", "verdict": "PASS", "cause": "", "label": "good"}
    return row | {"confidence": 0.5, "latency_ms": 1.0, "bundle": bundle, "asked_cloud": 0, "cloud_answer": 0} | more


def test_any_verdict_in_a_stations_database_is_traced(plant: Path, why: Why, tmp_path: Path) -> None:
    database = sqlite_utils.Database(tmp_path / "agent.sqlite")
    migrations.apply(database)
    digest = registered(plant, "v1.r1").digest
    rows = [
        decided(digest),
        decided(digest, captured_at=T0 + 7, part="p7"),
        decided("", verdict="REVIEW", cause="late", label=""),
    ]
    database["results"].insert_all(rows)
    database.close()
    (tmp_path / "manifests").mkdir()
    loads = [{"artefact": "fp32.onnx", "at": T0}, {"artefact": "int8.onnx", "at": 4e9}]
    (tmp_path / "manifests" / f"{registered(plant, 'v1.r1').digest}.json").write_text(json.dumps({"loads": loads}))
    asked = lambda number: why(plant, number, "--station-db", tmp_path / "agent.sqlite", "--station", "s1")  # noqa: E731
    code, said = asked(1)
    assert code == 0 and "decision 1 of s1" in said and "this very image was learnt from" in said, "it was kept as x1"
    code, said = asked(2)
    assert code == 0 and "the cloud did not keep this frame" in said and "trained in v1.r1" in said
    told = json.loads(why(plant, 2, "--station-db", tmp_path / "agent.sqlite", "--json")[1])
    assert told["decision"]["artefact"] == "fp32.onnx", "what it had loaded by then"
    code, said = asked(3)
    assert code == 0 and "REVIEW: no label, late" in said and "no model decided this" in said
    assert asked(9)[0] == 1 and "keeps no decision 9" in asked(9)[1]
    assert asked("x")[0] == 1 and why(plant, 1, "--station-db", plant / "cloud.toml")[0] == 1


def test_what_an_agent_tells_of_a_decision_is_traced(plant: Path, why: Why, tmp_path: Path) -> None:
    release = registered(plant, "v1")
    manifest, _ = open_bundle(Registry(plant / "registry").blobs.path(release.digest))
    manifests = Manifests(tmp_path / "manifests", SystemClock())
    manifests.keep(release.digest, manifest, "fp32.onnx")
    row = {"id": 17, **decided(release.digest, captured_at=T0 + 9)}
    file = tmp_path / "decision.json"
    file.write_text(json.dumps({"station": "s1", **provenance(row, manifests), "second_opinion": None}))
    told = json.loads(why(plant, "--decision", file, "--json")[1])
    assert told["decision"]["id"] == "17" and told["bundle"]["release"]["version"] == "v1" and told["sample"] is None
    changed = json.loads(file.read_text())
    changed["model"]["lineage"]["dataset"] = "0" * 64
    file.write_text(json.dumps(changed))
    code, said = why(plant, "--decision", file)
    assert code == 3 and "DOES NOT MATCH: the station's lineage" in said
    file.write_text("{}")
    assert why(plant, "--decision", file)[0] == 1


def damage_dataset(home: Path) -> None:
    file = home / "runs" / "v1.r1" / "dataset.json"
    file.write_text(file.read_text().replace('"ann"', '"eva"'))


def damage_gate(home: Path) -> None:
    file = home / "runs" / "v1.r1" / "gate.json"
    file.write_text(file.read_text() + "\n")


def damage_artefact(home: Path) -> None:
    (home / "runs" / "v1.r1" / "fp32.onnx").write_bytes(model_bytes(gain=1.0))


def damage_recipe(home: Path) -> None:
    file = home / "runs" / "v1.r1" / "run.json"
    file.write_text(file.read_text().replace('"epochs": 7', '"epochs": 8'))


def damage_code(home: Path) -> None:
    file = home / "runs" / "v1.r1" / "run.json"
    file.write_text(file.read_text().replace("plumbline-edge 0.1", "plumbline-edge 0.2"))


def damage_parent(home: Path) -> None:
    top = RunFolder(home / "runs" / "v1.r1")
    top.save_info(msgspec.structs.replace(top.info(), parent=f"{home}/elsewhere"))


def damage_labels(home: Path) -> None:
    with closing(sqlite3.connect(home / "cloud.db")) as connection, connection:
        connection.execute("UPDATE labels SET label = 'good' WHERE sample = 'x1'")


def damage_bundle(home: Path) -> None:
    digest = registered(home, "v1.r1").digest
    path = Registry(home / "registry").blobs.path(digest)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"9 of 10 are right", b"10 of 10 are good"[:17]))


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (damage_dataset, "dataset of v1.r1"),
        (damage_gate, "gate.json of the run"),
        (damage_artefact, "fp32.onnx of the run"),
        (damage_recipe, "recipe"),
        (damage_code, "code of the run"),
        (damage_parent, "parent of the run"),
        (damage_labels, "what people say of the frame"),
    ],
)
def test_what_was_changed_since_does_not_match_and_is_named(
    home: Path, why: Why, damage: Callable[[Path], None], what: str
) -> None:
    damage(home)
    code, said = why(home, "x1")
    assert code == 3 and f"DOES NOT MATCH: {what}: on record" in said and said.count("DOES NOT MATCH") == 1


def test_a_parent_is_held_against_its_own_bundle(home: Path, why: Why) -> None:
    top, parent = RunFolder(home / "runs" / "v1.r1"), RunFolder(home / "runs" / "v1")
    top.save_info(msgspec.structs.replace(top.info(), parent=str(parent.root)))
    forged = tuple(msgspec.structs.replace(e, labeller="nobody") for e in parent.dataset().entries)
    parent.save_dataset(msgspec.structs.replace(parent.dataset(), entries=forged))
    digest = hashlib.sha256(msgspec.json.encode(forged)).hexdigest()
    parent.save_info(msgspec.structs.replace(parent.info(), dataset_sha256=digest))
    code, said = why(home, "--version", "v1.r1")
    assert code == 3 and "DOES NOT MATCH: v1: dataset of the bundle" in said


def test_a_damaged_bundle_does_not_match_and_the_run_is_told_all_the_same(home: Path, why: Why) -> None:
    damage_bundle(home)
    code, said = why(home, "x1")
    assert code == 3 and "DOES NOT MATCH: bundle: on record" in said and "this very image was learnt from" in said


def test_a_long_story_is_told_in_sixty_lines(home: Path, why: Why) -> None:
    top = RunFolder(home / "runs" / "v1.r1")
    for number in range(9):
        folder = write_run(home / "runs" / f"p{number}", BASE, home / "runs" / f"p{number + 1}", 20.0)
        (folder / "dataset.json").unlink()
    write_run(home / "runs" / "p9", (*BASE, REVIEWED), None, 20.0)
    top.save_info(msgspec.structs.replace(top.info(), parent=str(home / "runs" / "p0"), seed=4, recipe=Recipe()))
    top.save_dataset(DatasetManifest(("images",), tuple(REVIEWED for _ in range(20))))
    (top.root / "gate.json").write_text("{}")
    code, said = why(home, "x1")
    assert code == 3 and len(said.splitlines()) <= 60
    assert "trained in v1.r1" in said and "and 8 more between (--json)" in said and "parent p9" in said
    assert said.count("this very image was learnt from") == 3 and "not known: 6 more (--json)" in said


def test_labels_that_people_have_overruled_since_are_named(home: Path, why: Why) -> None:
    tables = open_tables(home / "cloud.db")
    tables.samples.label("x1", "good", "ian", T0 + 90, resolve=True)
    tables.database.close()
    code, said = why(home, "x1")
    assert code == 0 and "1 of its reviewed labels no longer stand: x1 scratch, now good" in said


def test_where_the_chain_breaks_is_said_and_the_rest_is_told(home: Path, why: Why) -> None:
    shutil.rmtree(home / "runs" / "v1")
    parent = home.parent / "moved"
    code, said = why(home, "x1")
    # The run names its parent where the plant's first home was, which is still there.
    assert code == 0 and "parent v1" in said
    run = RunFolder(home / "runs" / "v1.r1")
    run.save_info(msgspec.structs.replace(run.info(), parent=str(parent)))
    code, said = why(home, "x1")
    assert (
        code == 3
        and "DOES NOT MATCH: parent of the run" in said
        and f"not known: moved: the run folder is gone: {parent}" in said
        and "parent moved: its run is gone" in said
    )
    shutil.rmtree(home / "runs")
    digest = registered(home, "v1.r1").digest
    (home / "registry" / "blobs" / digest[:2] / digest).unlink()
    code, said = why(home, "x1")
    assert code == 0 and "not known: the bundle's archive is gone" in said and "the run folder is gone" in said
    assert "release v1.r1" in said and "people say: scratch" in said


def test_wrong_usage_is_one_line(plant: Path, why: Why) -> None:
    for words in (
        (),
        ("x1", "--version", "v1"),
        ("--version", "v1", "--station-db", "a.db"),
        ("x9",),
        ("--version", "v9"),
    ):
        code, said = why(plant, *words)
        assert code == 1 and len(said.splitlines()) == 1, said
    assert "--station-db FILE" in why(plant, "17")[1]
