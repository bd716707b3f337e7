"""What `plumbline-cloud train` is told about a folder of images it refuses where it reads none."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloud.__main__ import main


@pytest.mark.parametrize(
    "given", [("--calibration", "0.4"), ("--holdout", "0"), ("--good", "ok"), ("--skip-unreadable",)]
)
@pytest.mark.parametrize(
    ("whose", "hint"),
    [("--dataset", "give it to 'plumbline-cloud dataset make'"), ("--parent", "or give the folder with --data")],
)
def test_shares_of_a_folder_are_refused_where_the_splits_are_made(
    whose: str, hint: str, given: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", whose, str(tmp_path / "some"), *given, "--out", str(tmp_path / "run")]) == 1
    said = capsys.readouterr().err
    assert (
        f"{given[0]} is for images of --data; those of {whose} are split and labelled already" in said and hint in said
    )
    assert not (tmp_path / "run").exists()


def test_with_a_folder_beside_the_parent_they_are_heard(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "--data", str(tmp_path / "no"), "--parent", str(tmp_path / "run"), "--calibration", "0.4"]
    assert main([*words, "--out", str(tmp_path / "next")]) == 1
    assert "run.json is not there" in capsys.readouterr().err
