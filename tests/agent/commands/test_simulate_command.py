"""`plumbline-agent simulate export` and `simulate set`."""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from agent.commands import simulate
from agent.sources.camera_model import CameraSettings, box_blur
from agent.sources.controls import read_controls
from agent.sources.image_file import read_image
from agent.sources.surface import surface, truth_of
from contract.errors import InvalidConfig


def call(*arguments: object) -> int:
    parser = argparse.ArgumentParser()
    simulate.register(parser.add_subparsers())
    args = parser.parse_args(["simulate", *map(str, arguments)])
    return int(args.run(args))


def hashes(folder: Path) -> dict[str, str]:
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*.png")}


def test_export_writes_each_part_into_the_folder_of_its_label(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("export", "--out", tmp_path / "parts", "--count", 25, "--seed", 3, "--first", 5, "--json") == 0
    files = sorted((tmp_path / "parts").rglob("*.png"))
    assert len(files) == 25
    for path in files:
        assert path.parent.name == truth_of(path.stem)
        np.testing.assert_array_equal(read_image(path.read_bytes(), "x"), surface(3, int(path.stem.split("-")[1]))[0])
    output = capsys.readouterr()
    summary = json.loads(output.out)
    assert summary["simulated"] is True and sum(summary["labels"].values()) == summary["images"] == 25
    assert "simulated" in output.err


def test_export_sees_the_parts_through_the_camera_and_repeats_itself(tmp_path: Path) -> None:
    arguments = ("--count", 6, "--seed", 1, "--size", 64)
    for out, extra in (("a", ()), ("b", ()), ("blurred", ("--defocus-px", 1))):
        assert call("export", "--out", tmp_path / out, *arguments, *extra) == 0
    assert hashes(tmp_path / "a") == hashes(tmp_path / "b") != hashes(tmp_path / "blurred")
    path = next((tmp_path / "blurred").rglob("1-4.png"))
    np.testing.assert_array_equal(read_image(path.read_bytes(), "x"), box_blur(surface(1, 4, 64, 64)[0], 1))


def test_export_says_in_words_and_in_each_file_that_it_is_simulated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call("export", "--out", tmp_path, "--count", 1, "--seed", 1)
    assert "SIMULATED" in capsys.readouterr().out
    assert b"simulated by Plumbline" in next(tmp_path.rglob("*.png")).read_bytes()


@pytest.mark.parametrize(
    "extra",
    (
        ("--count", 0),
        ("--count", 10_000_000),
        ("--seed", -1),
        ("--first", -1),
        ("--size", 5),
        ("--gain", "nan"),
        ("--defocus-px", 99),
    ),
)
def test_export_refuses_arguments_out_of_range_and_writes_nothing(tmp_path: Path, extra: tuple[object, ...]) -> None:
    with pytest.raises(InvalidConfig) as caught:
        call("export", "--out", tmp_path / "parts", "--count", 3, "--seed", 1, *extra)
    assert caught.value.hint
    assert not (tmp_path / "parts").exists()


def test_export_into_a_file_is_refused_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidConfig, match="file"):
        call("export", "--out", tmp_path / "file", "--count", 1, "--seed", 1)


def test_set_changes_what_is_named_and_keeps_the_rest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "c.json"
    assert call("set", path, "--defocus-px", 1, "--frozen") == 0
    assert call("set", path, "--gain", 1.5, "--no-frozen", "--json") == 0
    assert read_controls(path) == CameraSettings(defocus_px=1, gain=1.5)
    first, second = capsys.readouterr().out.splitlines()
    assert "simulated" in first
    assert json.loads(second)["camera"]["gain"] == 1.5
    assert call("set", path, "--reset", "--black") == 0
    assert read_controls(path) == CameraSettings(black=True)


def test_set_refuses_nonsense_and_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_text('{"gain": 2}')
    for arguments in (("--defocus-px", 99), ("--dust", 2), ()):
        with pytest.raises(InvalidConfig):
            call("set", path, *arguments)
    assert path.read_text() == '{"gain": 2}'
    with pytest.raises(InvalidConfig, match="cannot be written"):
        call("set", tmp_path / "missing" / "c.json", "--reset")


def test_set_names_a_damaged_file_and_mends_it_only_when_asked_to_reset(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_text("{")
    with pytest.raises(InvalidConfig, match=r"c\.json"):
        call("set", path, "--gain", 2)
    assert call("set", path, "--reset", "--gain", 2) == 0
    assert read_controls(path) == CameraSettings(gain=2)


@pytest.mark.parametrize("arguments", (("export", "--help"), ("set", "--help"), ("--help",)))
def test_help_says_that_images_are_simulated_and_shows_an_example(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        call(*arguments)
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert "SIMULATED" in text and "plumbline-agent simulate" in text
