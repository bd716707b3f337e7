"""plumbline-cloud review export --format csv: every label, for a spreadsheet that must run none of them."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from cloud.__main__ import main
from cloud.retrain.disagreements import Disagreement, Opinion, disagreement_warning
from tests.fakes.cloud_tables import T0, note, open_tables, received, summary


def test_every_act_is_a_line_and_no_cell_is_a_formula(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "cloud.toml"
    config.write_text("")
    tables = open_tables(tmp_path / "cloud.db")
    tables.summaries.commit(received(summary("s1", 1, samples=(note("x0", at=T0, part="@part"),))), [])
    tables.samples.label("x0", "=cmd|'/c calc'!A1", "+ann", T0 + 1)
    tables.samples.labels.take_back("x0", "+ann", T0 + 2)
    tables.samples.label("x0", "-good", "bob", T0 + 3)
    tables.database.close()
    command = ["review", "export", "--format", "csv", "--out", str(tmp_path / "out"), "--config", str(config)]
    assert main(command) == 0 and "3 acts of labellers" in capsys.readouterr().out
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out" / "labels.csv").read_text("utf-8"))))
    assert [(r["act"], r["label"], r["labeller"]) for r in rows] == [
        ("label", "'=cmd|'/c calc'!A1", "'+ann"), ("undo", "'=cmd|'/c calc'!A1", "'+ann"), ("label", "'-good", "bob"),
    ]  # fmt: skip
    assert {(r["part"], r["stands"], r["station"]) for r in rows} == {("'@part", "'-good", "s1")}
    assert rows[0]["at"] == "2026-11-20T18:40:01+00:00"
    assert main(command) != 0, "a folder that is not empty is left alone"


def test_two_lines_of_one_image_are_told_how_to_say_several_defects() -> None:
    def said(*opinions: Opinion) -> str:
        return disagreement_warning([Disagreement("/d", "a.png", "0" * 64, opinions)]) or ""

    lines = [Opinion(("dent",), where="labels.csv line 2"), Opinion(("scratch",), where="labels.csv line 3")]
    assert "are one line, with label 'a;b'" in said(*lines)
    people = [
        Opinion(("dent",), "ann", where="labels.csv line 2"),
        Opinion(("good",), "bob", where="labels.csv line 3"),
    ]
    assert "'a;b'" not in said(*people), "two people do disagree"
    assert "'a;b'" not in said(Opinion(("dent",), where="task 1"), Opinion(("good",), where="task 1"))
