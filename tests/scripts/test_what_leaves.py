"""docs/what-leaves.md names every field and every request of a station, and none that is no more."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scripts import list_leaves
from scripts.leaves_words import HTTP, SENT, SPANS, WORDS

AGENT = Path(__file__).resolve().parents[2] / "agent"


def test_the_page_is_fresh() -> None:
    assert list_leaves.missing() == []
    assert list_leaves.main(["--check"]) == 0
    assert set(SENT) == {kind.__name__ for kind in list_leaves.structs()}


def test_a_field_without_words_and_a_stale_page_fail_the_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(list_leaves, "PAGE", tmp_path / "what-leaves.md")
    assert list_leaves.main(["--check"]) == 1 and "stale" in capsys.readouterr().err
    assert list_leaves.main([]) == 0 and list_leaves.main(["--check"]) == 0
    monkeypatch.setattr(list_leaves, "WORDS", {key: text for key, text in WORDS.items() if key != "SampleNote.part"})
    assert list_leaves.main(["--check"]) == 1 and "SampleNote.part" in capsys.readouterr().err


def test_every_path_that_a_station_asks_for_is_listed() -> None:
    # `/v1/fallback/{station}` of an f-string; a name that is put together elsewhere ("{base}/orders/...") counts by its last words.
    text = "\n".join(
        file.read_text() for file in sorted(AGENT.rglob("*.py")) if "api" not in file.relative_to(AGENT).parts[0]
    )
    paths = {found.rstrip("/") for found in re.findall(r"/v1/([a-z]+)", text)} | set(
        re.findall(r"\{base\}/([a-z]+)/", text)
    )
    local = {"infer", "decisions", "status", "models", "health", "healthz", "metrics", "info"}
    listed = {found for key in HTTP for found in re.findall(r"/v1/([a-z]+)", key)}
    assert listed <= paths | {"tuf"} and paths - local <= listed


def test_every_attribute_of_a_span_is_listed() -> None:
    assert set(re.findall(r'"(plumbline\.\w+)":', (AGENT / "telemetry.py").read_text())) == SPANS.keys()
