"""plumbline-cloud mirror, and a release beside a mirror that is away."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloud.__main__ import main
from cloud.commands.mirror import mirror_beside
from cloud.registry.keys import load_keys
from cloud.registry.release import Registry, release_archive
from cloud.settings import load_settings
from tests.fixtures_broker import free_port
from tests.tiny_bundle import write_bundle

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")


@pytest.fixture
def config(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    home = tmp_path / "plant"
    assert main(["init", "--home", str(home)]) == 0
    bundle = write_bundle(tmp_path / "v1.plb", version="v1")
    release_archive(bundle, Registry(home / "registry"), load_keys(home / "keys"), 1_795_200_000.0)
    capsys.readouterr()
    return home / "cloud.toml"


def test_mirror_shows_what_is_released_once(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("mlflow", reason="MLflow is not installed: pip install -e '.[mlflow]'")
    with config.open("a") as file:
        file.write(f'\n[mlflow]\ntracking_uri = "sqlite:///{tmp_path}/mlflow.db"\n')
    assert main(["mirror", "--config", str(config)]) == 0
    assert capsys.readouterr().out == "1 shown anew (v1), 0 as they were\n"
    assert main(["mirror", "--config", str(config)]) == 0
    assert capsys.readouterr().out == "0 shown anew (none), 1 as they were\n"


def test_release_is_told_of_a_mirror_that_is_away_and_stands(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow", reason="MLflow is not installed: pip install -e '.[mlflow]'")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    mirror_beside(load_settings(config))  # none is set: nothing is said
    assert capsys.readouterr().err == ""
    with config.open("a") as file:
        file.write(f'\n[mlflow]\ntracking_uri = "http://127.0.0.1:{free_port()}"\n')
    mirror_beside(load_settings(config))
    said = capsys.readouterr().err
    assert "warning: released, but not mirrored" in said and "later: plumbline-cloud mirror" in said
    assert main(["mirror", "--config", str(config)]) == 1


def test_mirror_that_is_not_set_says_what_to_write(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mirror", "--config", str(config)]) == 1
    assert "tracking_uri" in capsys.readouterr().err
