"""What a retrain's lesson comes to in the folder it is trained from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from cloud.registry.blobs import Blobs
from cloud.retrain.pipeline import Pipeline
from cloud.review.label_choice import LabelChoice
from tests.fakes.cloud_tables import T0, note, open_tables, received, summary

CHOICE = LabelChoice(("good", "a;b", "dent", "scratch"), frozenset({"good"}), several=True)


def test_a_parts_defects_and_names_with_a_semicolon_are_told_apart(tmp_path: Path) -> None:
    tables, blobs = open_tables(tmp_path / "cloud.db"), Blobs(tmp_path / "blobs")
    said = {"x0": ["a;b"], "x1": ["scratch", "dent"], "x2": ["dent", "a;b"], "x3": ["good"]}
    notes = tuple(note(name, at=T0 + n) for n, name in enumerate(said))
    tables.summaries.commit(received(summary("s1", 1, samples=notes)), [])
    tables.samples.mark_requested(list(said), None, T0)
    for name, labels in said.items():
        tables.samples.mark_received(name, "s1", blobs.put(name.encode()), T0)
        tables.samples.label(name, CHOICE.check_all(labels), "eva", T0)
    none: Any = None
    pipeline = Pipeline(tables.alarms, blobs, none, tmp_path / "work", lambda: T0)
    folder = pipeline._export(tables.samples.labelled("s1", ""), tmp_path / "lesson")
    lines = [msgspec.json.decode(each) for each in (folder / "labels.jsonl").read_bytes().splitlines()]
    assert [(each["label"], each["also"]) for each in lines] == [
        ("a;b", []), ("dent", ["scratch"]), ("a;b", ["dent"]), ("good", []),
    ]  # fmt: skip
    tables.database.close()
