"""plumbline-cloud audit."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from cloud.__main__ import main
from tests.fakes.cloud_tables import T0, Tables, open_tables


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "cloud.toml").write_text("")
    return tmp_path


@pytest.fixture
def tables(home: Path):
    opened = open_tables(home / "cloud.db")
    for number in range(4):
        opened.audit.append(T0 + number, "anna", "abort" if number == 2 else "label", f"=detail {number}")
    yield opened
    opened.database.close()


def ask(home: Path, *words: str) -> int:
    return main(["audit", *words, "--config", str(home / "cloud.toml")])


def test_list_shows_the_newest_first_and_filters(
    home: Path, tables: Tables, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(home, "list", "--limit", "2") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["entry", "at", "who", "act", "detail"] and [line.split()[0] for line in lines[1:]] == [
        "4",
        "3",
    ]
    assert ask(home, "list", "--act", "abort", "--json") == 0
    assert [e["id"] for e in json.loads(capsys.readouterr().out)["entries"]] == [3]


def test_verify_gives_a_head_and_says_3_where_the_chain_is_broken_or_cut_off(
    home: Path, tables: Tables, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(home, "verify", "--json") == 0
    head = json.loads(capsys.readouterr().out)["head"]
    assert ask(home, "verify", "--head", head) == 0
    out = capsys.readouterr().out
    assert "chain intact: 4 entries" in out and f"head: {head}" in out and "is entry 4" in out
    with tables.database.write() as connection:
        connection.exec_driver_sql("DELETE FROM audit WHERE id = 4")
    assert ask(home, "verify") == 0
    capsys.readouterr()
    assert ask(home, "verify", "--head", head) == 3
    assert capsys.readouterr().out.startswith("cut off")
    with tables.database.write() as connection:
        connection.exec_driver_sql("UPDATE audit SET detail = 'nothing' WHERE id = 2")
    assert ask(home, "verify", "--json") == 3
    assert json.loads(capsys.readouterr().out)["first_broken"] == 2


def test_export_is_safe_to_open_and_says_where_it_is(
    home: Path, tables: Tables, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(home, "export", "--out", str(tmp_path / "log.csv")) == 0
    with (tmp_path / "log.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert len(rows) == 5 and rows[1][4] == "'=detail 3"
    capsys.readouterr()
    assert ask(home, "export", "--act", "abort") == 0
    assert capsys.readouterr().out.count("'=detail") == 1


@pytest.mark.parametrize("words", [("verify", "--head", "abc"), ("list", "--limit", "0"), ("list", "--limit", "x")])
def test_wrong_usage_is_2(home: Path, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        ask(home, *words)
    assert stopped.value.code == 2


def test_a_database_that_is_not_there_is_said_and_not_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "cloud.toml").write_text("")
    assert ask(tmp_path, "verify") == 1
    assert "there is no database" in capsys.readouterr().err and not (tmp_path / "cloud.db").exists()
