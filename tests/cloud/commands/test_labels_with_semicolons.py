"""`review import` and `review resolve` where a part has several defects, and where a label's own name holds a semicolon."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cloud.__main__ import main
from cloud.ports.samples import Sample
from cloud.registry.blobs import Blobs
from cloud.registry.catalog import Catalog, ReleasedVersion
from cloud.review.label_choice import is_right, said_labels
from contract.archive import archive_chunks
from contract.manifest import Artefact, Label, LabelKind, OutputKind, RuntimeKind, encode_manifest
from tests.fakes.cloud_tables import T0, note, open_tables, received, summary
from tests.tiny_bundle import manifest_of, model_bytes

LABELS = ("good", "a;b", "dent", "scratch")


class Desk:
    """A home with x0 to x4 kept, a model of `LABELS`, and the command; `several`: its labels do not exclude each other."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str], *, several: bool) -> None:
        self.folder, self.config, self._capsys = folder, folder / "cloud.toml", capsys
        self.config.write_text("")
        model = model_bytes(outputs=len(LABELS))
        kind = OutputKind.INDEPENDENT if several else OutputKind.LOGITS
        manifest = msgspec.structs.replace(
            manifest_of(model),
            labels=tuple(Label(each, LabelKind.GOOD if each == "good" else LabelKind.DEFECT) for each in LABELS),
            artefacts=(Artefact("model.onnx", RuntimeKind.ONNX, "fp32", kind),),
        )
        content = [(manifest.files[0], [model])]
        digest = Blobs(folder / "registry" / "blobs").put(b"".join(archive_chunks(encode_manifest(manifest), content)))
        Catalog(folder / "registry" / "catalog").add(ReleasedVersion("v1", "tiny", digest, 1, T0))
        tables = open_tables(folder / "cloud.db")
        notes = tuple(note(f"x{n}", at=T0 + n) for n in range(5))
        tables.summaries.commit(received(summary("s1", 1, samples=notes)), [])
        tables.samples.mark_requested([f"x{n}" for n in range(5)], None, T0)
        tables.database.close()

    def run(self, *words: object) -> tuple[int, str]:
        """Return the exit code, and what was said."""
        code = main(["review", *map(str, words), "--config", str(self.config)])
        said = self._capsys.readouterr()
        return code, said.out + said.err

    def take(self, *lines: dict[str, Any]) -> tuple[int, str]:
        """Import lines of JSON."""
        file = self.folder / "labels.jsonl"
        file.write_text("".join(f"{json.dumps(each)}\n" for each in lines))
        return self.run("import", file, "--format", "jsonl", "--json")

    def sample(self, name: str) -> Sample:
        tables = open_tables(self.folder / "cloud.db")
        try:
            return tables.samples.get(name)
        finally:
            tables.database.close()


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setattr("cloud.commands.review._now", lambda: T0 + 1e6)
    return Desk(tmp_path, capsys, several=True)


@pytest.fixture
def strict(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setattr("cloud.commands.review._now", lambda: T0 + 1e6)
    return Desk(tmp_path, capsys, several=False)


def line(sample: str, label: Any, labeller: str = "bob") -> dict[str, Any]:
    return {"sample": sample, "label": label, "labeller": labeller, "labelled_at": T0 + 5}


def test_an_import_takes_several_defects_and_names_that_hold_a_semicolon(desk: Desk) -> None:
    lines = [
        line("x0", "scratch;dent"),
        line("x1", ["scratch", "dent"]),
        line("x2", "a;b"),
        line("x3", ["dent", "a;b"]),
        line("x4", 'dent;"a;b"'),
    ]
    for new, known in ((5, 0), (0, 5)):
        assert json.loads(desk.take(*lines)[1]) == {"new": new, "known": known, "disputed": 0}, "twice is once"
    assert [said_labels(desk.sample(f"x{n}").truth or "") for n in range(5)] == [
        ("dent", "scratch"), ("dent", "scratch"), ("a;b",), ("a;b", "dent"), ("a;b", "dent"),
    ]  # fmt: skip
    assert is_right("a;b", desk.sample("x2").truth) and not is_right("b", desk.sample("x2").truth)


def test_two_people_who_say_the_same_in_another_order_agree(desk: Desk) -> None:
    desk.take(line("x0", ["a;b", "dent"], "ann"))
    code, said = desk.take(line("x0", 'dent;"a;b"', "bob"))
    assert (code, json.loads(said)["disputed"]) == (0, 0)


@pytest.mark.parametrize(
    ("given", "truth"),
    [
        (["--label", "a;b"], ("a;b",)),
        (["--label", "scratch", "--label", "dent"], ("dent", "scratch")),
        (["--label", "scratch", "--label", "a;b"], ("a;b", "scratch")),
        (["--label", "dent;scratch"], ("dent", "scratch")),
    ],
)
def test_to_settle_a_part_names_each_of_its_defects(desk: Desk, given: list[str], truth: tuple[str, ...]) -> None:
    code, said = desk.run("resolve", "x0", *given, "--labeller", "eva")
    assert (code, said_labels(desk.sample("x0").truth or "")) == (0, truth), said


def test_a_model_of_one_label_takes_its_own_name_and_no_two(strict: Desk) -> None:
    assert strict.run("resolve", "x0", "--label", "a;b", "--labeller", "eva")[0] == 0
    assert said_labels(strict.sample("x0").truth or "") == ("a;b",)
    for given in (["--label", "dent;scratch"], ["--label", "dent", "--label", "scratch"]):
        code, said = strict.run("resolve", "x1", *given, "--labeller", "eva")
        assert code == 1 and ("use one of" in said or "a part has one label" in said), said
    code, said = strict.take(line("x2", "good"), line("x1", ["dent", "scratch"]))
    assert code == 1 and "line 2" in said and "a part has one label of this model" in said
    assert strict.sample("x2").truth is None, "all or none"


def test_what_does_not_go_together_is_refused_with_its_line(desk: Desk) -> None:
    for label, why in (
        (["good", "dent"], "is good and has a defect"),
        ("a;rust", "'a' is no label"),
        ([], "has 1 to 120 characters"),
        (["dent", "rust\n"], "cannot be shown"),
    ):
        code, said = desk.take(line("x0", "dent"), line("x1", label))
        assert code == 1 and "line 2" in said and why in said, said
    assert desk.sample("x0").truth is None


def test_label_studio_offers_several_choices_where_a_part_may_have_them_and_they_come_back(desk: Desk) -> None:
    assert desk.run("export", "--out", desk.folder / "out")[0] == 0
    told = (desk.folder / "out" / "label_config.xml").read_text()
    assert 'choice="multiple"' in told and '<Choice value="a;b"/>' in told
    when = "2026-11-20T10:00:00Z"
    result = [{"type": "choices", "value": {"choices": ["scratch", "a;b"]}}]
    done = {"completed_by": 3, "result": result, "created_at": when, "updated_at": when}
    file = desk.folder / "project.json"
    file.write_text(json.dumps([{"id": 7, "data": {"sample": "x0"}, "annotations": [done]}]))
    assert desk.run("import", file, "--format", "labelstudio")[0] == 0
    assert said_labels(desk.sample("x0").truth or "") == ("a;b", "scratch")


def test_the_help_says_how_to_write_them(capsys: pytest.CaptureFixture[str]) -> None:
    for action in ("import", "resolve"):
        with pytest.raises(SystemExit):
            main(["review", action, "--help"])
        told = capsys.readouterr().out
        for how in ('"label": ["dent", "scratch"]', "--label dent --label scratch", r'"label": "\"a;b\";dent"'):
            assert how in told
