"""plumbline-cloud dead: what a person does with messages that could not be stored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cloud.__main__ import main
from cloud.ports.batch import Batch
from contract.codec import encode_summary
from contract.topics import Channel, topic
from tests.fakes.cloud_tables import T0, commit_batch, open_tables, summary

TOPIC = topic("s1", Channel.SUMMARY)
GOOD = encode_summary(summary("s1", 1))
NEWER = encode_summary(
    msgspec.structs.replace(summary("s1", 2), header=msgspec.structs.replace(summary("s1", 2).header, v=2))
)
LONG = encode_summary(msgspec.structs.replace(summary("s1", 3), note="x" * 9000))


class Desk:
    """A home with dead letters, and the command."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.config = folder / "cloud.toml"
        self.config.write_text("")
        self._database, self._capsys = folder / "cloud.db", capsys

    def bury(self, *payloads: bytes, name: str = TOPIC) -> None:
        tables = open_tables(self._database)
        commit_batch(tables, Batch(dead=[(name, "a reason\x1b[2J", payload) for payload in payloads]), T0)
        tables.database.close()

    def run(self, *words: str) -> tuple[int, str]:
        """Return the exit code, and what was said."""
        code = main(["dead", *words, "--config", str(self.config)])
        said = self._capsys.readouterr()
        return code, said.out + said.err

    def json(self, *words: str) -> tuple[int, Any]:
        code, said = self.run(*words, "--json")
        return code, json.loads(said)

    def stored(self) -> int:
        tables = open_tables(self._database)
        count = sum(t.summaries for t in tables.summaries.totals())
        tables.database.close()
        return count


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(tmp_path, capsys)


def test_they_are_listed_newest_first_and_shown_with_what_can_be_read(desk: Desk, tmp_path: Path) -> None:
    desk.bury(b"rotten", GOOD)
    code, said = desk.run("list")
    assert code == 0 and said.index("\n2 ") < said.index("\n1 ") and TOPIC in said and "\x1b" not in said
    code, listed = desk.json("list", "--limit", "1")
    assert (code, listed["count"], [each["id"] for each in listed["letters"]]) == (0, 2, [2])
    code, said = desk.run("show", "2", "--out", str(tmp_path / "payload"))
    assert code == 0 and '"station": "s1"' in said and (tmp_path / "payload").read_bytes() == GOOD
    code, shown = desk.json("show", "1")
    assert (shown["begins"], shown["content"], shown["size"]) == (b"rotten".hex(), None, 6)


def test_what_can_be_read_now_is_stored_and_leaves_the_list(desk: Desk) -> None:
    desk.bury(GOOD, NEWER, LONG[:4096], LONG, GOOD)
    code, ends = desk.json("replay", "--all")
    assert code == 3 and [(e["id"], e["end"]) for e in ends] == [
        (1, "stored"), (2, "still dead"), (3, "still dead"), (4, "stored"), (5, "was stored already"),
    ]  # fmt: skip
    assert "update this side first" in ends[1]["why"] and ends[2]["why"] == "it was cut when it was stored"
    assert desk.stored() == 2 and [e["id"] for e in desk.json("list")[1]["letters"]] == [3, 2]
    code, said = desk.run("replay", "3")
    assert code == 3 and said == "3: still dead: it was cut when it was stored\n"


def test_some_are_dropped_and_a_mistyped_number_drops_none(desk: Desk) -> None:
    desk.bury(b"one", b"two", b"three")
    code, said = desk.run("drop", "1", "99")
    assert code == 1 and "there is no dead letter 99" in said and desk.json("list")[1]["count"] == 3
    assert desk.run("drop", "1", "1") == (0, "1 dropped\n")
    assert desk.json("drop", "--all") == (0, {"dropped": 2}) and desk.json("list")[1]["count"] == 0


@pytest.mark.parametrize("words", [("drop",), ("replay",), ("drop", "--all", "1"), ("list", "--limit", "0")])
def test_what_is_not_meant_is_refused(desk: Desk, words: tuple[str, ...]) -> None:
    assert desk.run(*words)[0] == 1


def test_help_gives_examples_and_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["dead", "--help"], ["dead", "replay", "--help"], ["ingest", "--help"]):
        with pytest.raises(SystemExit) as end:
            main(words)
        assert end.value.code == 0 and "examples:" in capsys.readouterr().out
