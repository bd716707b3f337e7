"""The server saw its database go: no command makes an empty one in its place, which the next server would take for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloud.__main__ import main
from cloud.outage_book import FILE, OutageBook
from tests.fakes.cloud_plant import CloudPlant
from tests.fakes.cloud_tables import T0


def test_who_types_commands_in_an_outage_makes_no_empty_database(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plant = CloudPlant(tmp_path)
    OutageBook(plant.home / FILE).note_away(T0)
    config = ["--config", str(plant.home / "cloud.toml")]
    for words in (
        ["alerts", "list"],
        ["dead", "list"],
        ["review", "agreement"],
        ["database", "upgrade"],
        ["station", "add", "s1", "--out", str(tmp_path / "s1")],
    ):
        assert main([*words, *config]) == 1, words
        assert "moved away or deleted" in capsys.readouterr().err, words
    assert not (plant.home / "cloud.db").exists() and not (tmp_path / "s1").exists()
    (plant.home / FILE).unlink()  # as the hint says, to begin with an empty one
    assert main(["database", "upgrade", *config]) == 0


def test_a_database_that_is_named_wrongly_is_one_line_though_none_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plant = CloudPlant(tmp_path)
    config = plant.home / "cloud.toml"
    config.write_text('database = "no url"\n' + config.read_text())
    for _ in range(2):
        assert main(["database", "upgrade", "--config", str(config)]) == 1
        assert "is no database that can be used" in capsys.readouterr().err
        OutageBook(plant.home / FILE).note_away(T0)
