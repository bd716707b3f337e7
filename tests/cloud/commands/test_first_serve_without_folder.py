"""A first `serve` whose database's folder is missing: once the folder is there it serves, and asks for nothing to be deleted."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloud.__main__ import main
from cloud.outage_book import FILE, OutageBook
from cloud.settings import CloudSettings, load_settings
from cloud.store.database import CannotOpen
from cloud.store_wiring import missing_file, open_database
from tests.fakes.cloud_plant import CloudPlant
from tests.fakes.cloud_tables import T0


@pytest.fixture
def plant(tmp_path: Path) -> CloudPlant:
    """Its database is to be on a disk that is not mounted yet."""
    made = CloudPlant(tmp_path)
    config = made.home / "cloud.toml"
    config.write_text(f'database = "sqlite:///{tmp_path}/disk/cloud.db"\n' + config.read_text())
    return made


def settings_of(plant: CloudPlant) -> CloudSettings:
    return load_settings(plant.home / "cloud.toml")


@pytest.mark.usefixtures("logging_as_before")
def test_it_serves_once_the_folder_is_there_and_asks_for_nothing(
    plant: CloudPlant, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        assert main(["serve", "--config", str(plant.home / "cloud.toml")]) == 1
        said = capsys.readouterr().err
        assert "cannot open the database" in said and FILE not in said
    (tmp_path / "disk").mkdir()
    open_database(settings_of(plant)).close()
    assert (tmp_path / "disk" / "cloud.db").exists()


def test_one_that_was_there_before_is_asked_for_though_its_folder_is_missing_too(
    plant: CloudPlant, tmp_path: Path
) -> None:
    """The disk is mounted no more: an empty database in its place would be taken for it."""
    book = OutageBook(plant.home / FILE)
    book.note_away(None)  # what a server does that has its database
    found = settings_of(plant)
    assert missing_file(found) == tmp_path / "disk" / "cloud.db"
    OutageBook(plant.home / FILE).note_away(T0, made=False)  # what the next one does that has it not
    (tmp_path / "disk").mkdir()
    with pytest.raises(CannotOpen, match="moved away or deleted"):
        open_database(found)


def test_what_lay_there_and_was_no_database_is_asked_for_once_it_is_gone(plant: CloudPlant, tmp_path: Path) -> None:
    OutageBook(plant.home / FILE).note_away(T0, made=False)
    assert OutageBook(plant.home / FILE).lost_since is None
    OutageBook(plant.home / FILE).note_away(T0 + 1.0, made=True)
    book = OutageBook(plant.home / FILE)
    assert (book.lost_since, book.away_since) == (T0, T0)
    OutageBook(plant.home / FILE).note_away(T0 + 2.0, made=False)
    assert OutageBook(plant.home / FILE).lost_since == T0
    book = OutageBook(plant.home / FILE)
    book.note_away(None)
    assert (book.lost_since, book.away_since) == (None, None)


def test_a_book_of_an_older_version_says_of_what_is_away_that_it_was_there(plant: CloudPlant, tmp_path: Path) -> None:
    (plant.home / FILE).write_text(f'{{"next_id":1,"recorded":0,"away_since":{T0},"notices":[],"posts":[]}}')
    OutageBook(plant.home / FILE).note_away(T0 + 5.0, made=False)
    assert OutageBook(plant.home / FILE).lost_since == T0


@pytest.mark.usefixtures("logging_as_before")
def test_one_that_cannot_be_looked_for_is_not_taken_for_gone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its folder is another user's: it does not open, people are told so, and nobody is asked to delete anything."""
    plant = CloudPlant(tmp_path)
    config = plant.home / "cloud.toml"
    # A name that is too long fails as a folder does that may not be looked into, also where the tests are root's.
    config.write_text(f'database = "sqlite:///{tmp_path}/{"x" * 300}/cloud.db"\n' + config.read_text())
    for _ in range(2):
        assert main(["serve", "--config", str(config)]) == 1
        said = capsys.readouterr().err
        assert "cannot open the database" in said and FILE not in said
    assert OutageBook(plant.home / FILE).away_since is not None
