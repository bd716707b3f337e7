"""plumbline-cloud review: labels to Label Studio and back, what people disagree on, and how often they agree."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from cloud.__main__ import main
from cloud.ports.samples import Sample
from cloud.registry.blobs import Blobs
from cloud.registry.catalog import Catalog, ReleasedVersion
from contract.activation_map import PNG_KEYWORD
from tests.cloud.retrain.pictures import picture, write_prefix
from tests.fakes.cloud_tables import T0, note, open_tables, received, summary
from tests.tiny_bundle import write_bundle

WHEN = "2026-11-20T10:00:00.000000Z"


def frame(number: int) -> bytes:
    """Return a frame as a station sends it: it tells where the model looked, and for what label."""
    words = PngImagePlugin.PngInfo()
    words.add_text(PNG_KEYWORD, '{"label":"scratch","rows":1,"columns":1,"values":"/w=="}')
    file = io.BytesIO()
    Image.fromarray(picture("good", 100 + number)).save(file, "PNG", pnginfo=words)
    return file.getvalue()


class Desk:
    """A home with x0, x1 and x2 waiting, x3 without pixels, and the labels good and scratch; and the command."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> None:
        self.folder, self.config, self._capsys = folder, folder / "cloud.toml", capsys
        self.config.write_text("")
        # Whatever this machine's clock says: labels that are yet to come are refused.
        patch.setattr("cloud.commands.review._now", lambda: T0 + 1e6)
        blobs = Blobs(folder / "registry" / "blobs")
        digest = blobs.put_file(write_bundle(folder / "tiny.plb"))
        Catalog(folder / "registry" / "catalog").add(ReleasedVersion("v1", "tiny", digest, 1, T0))
        self.pixels = [blobs.put(frame(number)) for number in range(3)]
        tables = open_tables(folder / "cloud.db")
        notes = tuple(note(f"x{n}", at=T0 + n) for n in range(4))
        tables.summaries.commit(received(summary("s1", 1, samples=notes)), [])
        tables.samples.mark_requested([f"x{n}" for n in range(4)], None, T0)
        for number, digest in enumerate(self.pixels):
            tables.samples.mark_received(f"x{number}", "s1", digest, T0)
        tables.database.close()

    def run(self, *words: object) -> tuple[int, str]:
        """Return the exit code, and what was said."""
        code = main(["review", *map(str, words), "--config", str(self.config)])
        said = self._capsys.readouterr()
        return code, said.out + said.err

    def json(self, *words: object) -> Any:
        code, said = self.run(*words, "--json")
        assert code == 0, said
        return json.loads(said)

    def label(self, sample: str, label: str, who: str, at: float = T0 + 10) -> None:
        tables = open_tables(self.folder / "cloud.db")
        tables.samples.label(sample, label, who, at)
        tables.database.close()

    def sample(self, name: str) -> Sample:
        tables = open_tables(self.folder / "cloud.db")
        try:
            return tables.samples.get(name)
        finally:
            tables.database.close()

    def file(self, name: str, content: Any) -> Path:
        path = self.folder / name
        lines = name.endswith("jsonl")
        path.write_text("".join(f"{json.dumps(each)}\n" for each in content) if lines else json.dumps(content))
        return path


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(tmp_path, capsys, monkeypatch)


def annotated(task: dict[str, Any], label: str, by: Any = 3, **more: Any) -> dict[str, Any]:
    """Return a task as Label Studio exports it once somebody chose a label."""
    result = [{"from_name": "label", "to_name": "image", "type": "choices", "value": {"choices": [label]}}]
    done = {"id": 9, "completed_by": by, "result": result, "was_cancelled": False, "ground_truth": False}
    return {
        "id": 7,
        **task,
        "annotations": [{**done, "created_at": WHEN, "updated_at": WHEN, "lead_time": 2.5, **more}],
    }


def test_what_waits_goes_to_label_studio_and_comes_back_as_labels(desk: Desk) -> None:
    out = desk.folder / "to label"
    assert desk.json("export", "--out", out)["tasks"] == 3
    tasks = json.loads((out / "tasks.json").read_text())
    assert [task["data"]["sample"] for task in tasks] == ["x0", "x1", "x2"]
    first = tasks[0]["data"]
    assert first["image"] == f"/data/local-files/?d=to%20label/images/{desk.pixels[0]}.png"
    shown = (out / "images" / f"{desk.pixels[0]}.png").read_bytes()
    assert (np.asarray(Image.open(io.BytesIO(shown))) == picture("good", 100)).all()
    assert "confidence" not in first and "label" not in first, "what the model said stays untold"
    assert b"scratch" in frame(0) and b"scratch" not in shown, "nor does the image tell"
    assert '<Choice value="scratch"/>' in (out / "label_config.xml").read_text()
    by_mail = annotated(tasks[1], "good", {"id": 4, "email": "bob@plant", "first_name": ""})
    skipped = annotated(tasks[2], "good", was_cancelled=True)
    export = desk.file("project.json", [annotated(tasks[0], "scratch"), by_mail, skipped])
    for new, known in ((2, 0), (0, 2)):
        assert desk.json("import", export, "--format", "labelstudio", "--labeller", "3=eva") == {
            "new": new, "known": known, "disputed": 0,
        }  # fmt: skip
    found = desk.sample("x0")
    assert (found.truth, found.labeller, found.labelled_at) == ("scratch", "eva", 1795168800.0)
    assert desk.sample("x1").labeller == "bob@plant" and desk.sample("x2").truth is None


def test_an_export_leaves_a_folder_that_is_not_empty_alone_and_names_lost_pixels(desk: Desk) -> None:
    digest = desk.pixels[1]
    (desk.folder / "registry" / "blobs" / digest[:2] / digest).unlink()
    found = desk.json("export", "--out", desk.folder / "out", "--prefix", "http://files/")
    assert (found["tasks"], found["without_image"]) == (2, ["x1"])
    code, said = desk.run("export", "--out", desk.folder / "out")
    assert code == 1 and "is there and not empty" in said


def line(sample: str = "x0", label: str = "good", labeller: str = "bob", at: Any = T0) -> dict[str, Any]:
    return {"sample": sample, "label": label, "labeller": labeller, "labelled_at": at}


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (line("y9"), "no sample 'y9'"),
        (line(label="dent"), "line 2: 'dent' is no label of the running model"),
        (line(label=""), "line 2: a label has 1 to 120 characters"),
        (line(labeller="e" * 121), "line 2: a labeller has 1 to 120"),
        (line(at=-1.0), "line 2: -1 is no time"),
        (line(at="yesterday"), "line 2 is no label"),
        ({"sample": "x0"}, "line 2 is no label"),
        ([], "line 2 is no label"),
    ],
)
def test_an_import_with_one_bad_line_changes_nothing(desk: Desk, bad: Any, said: str) -> None:
    code, answer = desk.run("import", desk.file("labels.jsonl", [line("x1"), bad]), "--format", "jsonl")
    assert code == 1 and said in answer and len(answer.splitlines()) == 1
    assert desk.sample("x1").truth is None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"no": "list"}, "is no JSON export of Label Studio"),
        ([{"id": 1, "image": "x", "label": "good"}], "not JSON-MIN"),
        ([annotated({"data": {}}, "good")], "task 7 names no sample"),
        ([annotated({"data": {"sample": "x0"}}, "good", None)], "does not say who"),
        ([annotated({"data": {"sample": "x0"}}, "good", updated_at=None, created_at=None)], "not say when"),
    ],
)
def test_what_is_no_export_of_label_studio_is_refused(desk: Desk, content: Any, said: str) -> None:
    code, answer = desk.run("import", desk.file("p.json", content), "--format", "labelstudio")
    assert code == 1 and said in answer and len(answer.splitlines()) == 1


def test_lines_of_json_carry_labeller_and_time_and_disagreement_comes_back(desk: Desk) -> None:
    desk.label("x0", "scratch", "ann")
    file = desk.file("labels.jsonl", [line(at=T0 + 5), line("x1", at="2026-11-20T10:00:00+01:00")])
    assert desk.json("import", file, "--format", "jsonl") == {"new": 2, "known": 0, "disputed": 1}
    assert desk.sample("x0").truth is None and desk.sample("x1").labelled_at == 1795165200.0
    code, said = desk.run("resolve", "x0", "--label", "scratch", "--labeller", "eva")
    assert (code, said) == (0, "x0 is scratch\n") and desk.sample("x0").truth == "scratch"
    code, said = desk.run("resolve", "x0", "--label", "dent", "--labeller", "eva")
    assert code == 1 and "'dent' is no label of the running model" in said and "use one of: good, scratch" in said


def test_what_a_dataset_disagrees_on_waits_again_once(desk: Desk) -> None:
    desk.label("x0", "good", "ann")
    said = [
        {"labels": ["good"], "labeller": "ann", "labelled_at": T0 + 10},
        {"labels": ["scratch"], "labeller": "folder"},
    ]
    lines = [
        {"file": f"{n}.png", "sha256": digest, "labels": said} for n, digest in enumerate([desk.pixels[0], "f" * 64])
    ]
    file = desk.file("disagreements.jsonl", lines)
    found = desk.json("return", file)
    assert (found["held"], found["not_held"], found["waiting_before"], found["waiting"]) == (1, ["f" * 64], 2, 3)
    assert desk.sample("x0").truth is None
    desk.label("x0", "good", "bob", T0 + 20)
    assert desk.json("return", file)["new_acts"] == 0 and desk.sample("x0").truth == "good"
    code, answer = desk.run("return", desk.file("x.jsonl", [{"file": "a"}]))
    assert code == 1 and "line 1 is no disagreement" in answer


def test_what_two_people_said_in_a_dataset_comes_back_with_their_words(desk: Desk) -> None:
    assert desk.json("export", "--out", desk.folder / "out")["tasks"] == 3
    write_prefix(desk.folder / "more")
    lines = [f"../more/{f.name},{f.name.split('_')[0]},," for f in sorted((desk.folder / "more").iterdir())]
    shutil.move(desk.folder / "more", desk.folder / "out" / "more")
    seen = f"images/{desk.pixels[0]}.png"
    lines = [each.removeprefix("../") for each in lines]
    lines += [f"{seen},good,ann,{T0 + 10}", f"{seen},scratch,bob,{T0 + 20}", f"{seen},good;scratch,eva,{T0 + 30}"]
    (desk.folder / "out" / "labels.csv").write_text("\n".join(["file,label,labeller,labelled_at", *lines]))
    made = desk.folder / "datasets"
    assert main(["dataset", "make", f"{desk.folder}/out", "--layout", "csv", "--name", "d", "--out", str(made)]) == 0
    file = made / "d" / "disagreements.jsonl"
    desk.run("agreement")
    assert desk.json("return", file)["held"] == 1
    assert desk.json("agreement")["images"] == 1, "ann and bob both labelled it"
    desk.label("x0", "good", "cleo", T0 + 2e6)
    assert desk.sample("x0").truth == "good", "two of three"
    assert desk.json("return", file)["new_acts"] == 0


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (line(at=T0 + 2e6), "is yet to come"),
        (line(labeller="eva\0"), "cannot be shown"),
        (line(label="good\n"), "cannot be shown"),
        ("[" * 100_000, "line 1 is no label"),
    ],
)
def test_labels_of_the_future_or_that_cannot_be_shown_are_refused(desk: Desk, changed: Any, said: str) -> None:
    file = desk.file("labels.jsonl", [changed])
    if isinstance(changed, str):
        file.write_text('{"sample":' + changed)
    code, answer = desk.run("import", file, "--format", "jsonl")
    assert code == 1 and said in answer
    code, answer = desk.run("return", file)
    assert code == 1 and "is no disagreement" in answer


def test_a_file_may_begin_with_a_byte_order_mark(desk: Desk) -> None:
    file = desk.file("labels.jsonl", [line()])
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert desk.json("import", file, "--format", "jsonl")["new"] == 1


def test_agreement_is_a_table_or_json(desk: Desk) -> None:
    assert desk.run("agreement") == (0, "0 images labelled by two people: agreed -, kappa -\n")
    for sample, label, who in (
        ("x0", "good", "ann"),
        ("x0", "good", "bob"),
        ("x1", "good", "ann"),
        ("x1", "scratch", "bob"),
    ):
        desk.label(sample, label, who)
    assert desk.run("agreement")[1].startswith("2 images labelled by two people: agreed 0.50, kappa 0.00\n")
    found = desk.json("agreement")
    assert (found["raw"], [each["labeller"] for each in found["labellers"]]) == (0.5, ["ann", "bob"])
