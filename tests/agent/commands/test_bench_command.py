"""`plumbline-agent bench`: every step is timed, what ran is said, and what is wrong is one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from agent.__main__ import main
from tests.fakes.agent_line import image
from tests.tiny_bundle import write_bundle

STEPS = ("features", "preprocess", "run", "decide", "sketch")


def bench(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main(["bench", *map(str, arguments)])
    shown = capsys.readouterr()
    return code, shown.out, shown.err


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_bundle(tmp_path / "tiny.plb")
    (tmp_path / "parts").mkdir()
    for n in range(3):
        Image.fromarray(image(200, n)).save(tmp_path / f"parts/{n}.png")
    return tmp_path


def test_every_step_of_real_images_is_timed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = bench(
        capsys, "--bundle", folder / "tiny.plb", "--images", folder / "parts", "--seconds", "0.05", "--json"
    )
    shown = json.loads(out)
    assert code == 0
    assert (shown["artefact"], shown["provider"]) == ("model.onnx", "CPUExecutionProvider")
    assert shown["frames"] >= 20
    for step in ("read", *STEPS):
        assert 0 < shown[f"{step}_p50_us"] <= shown[f"{step}_p99_us"]
    # The steps are what a whole frame is made of, and frames what the time is made of.
    assert max(shown[f"{step}_p50_us"] for step in STEPS) <= shown["whole_p99_us"]
    assert shown["frames_per_s"] == pytest.approx(shown["frames"] / shown["seconds"], rel=0.2)


def test_without_images_simulated_surfaces_are_used_and_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = bench(capsys, "--bundle", folder / "tiny.plb", "--seconds", "0.05")
    assert code == 0
    assert "SIMULATED" in out
    assert [line.split()[0] for line in out.splitlines()[2:-1]] == [*STEPS, "whole"]
    assert "frames/s" in out


def test_more_frames_than_a_window_holds_are_no_trouble(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = bench(capsys, "--bundle", folder / "tiny.plb", "--seconds", "2", "--json")
    assert code == 0
    assert json.loads(out)["frames"] > 256


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--bundle", "none.plb"), 1, "none.plb"),
        (("--bundle", "tiny.plb", "--images", "nowhere"), 2, "nowhere"),
        (("--bundle", "tiny.plb", "--images", "empty"), 2, "holds no image"),
        (("--bundle", "tiny.plb", "--seconds", "0"), 2, "--seconds"),
    ],
)
def test_what_is_wrong_is_one_line(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    code: int,
    said: str,
) -> None:
    monkeypatch.chdir(folder)
    (folder / "empty").mkdir()
    found, out, err = bench(capsys, *arguments)
    assert (found, out) == (code, "")
    assert err.startswith("error: ") and said in err and len(err.splitlines()) == 1


def test_help_shows_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["bench", "--help"])
    assert ended.value.code == 0
    assert "plumbline-agent bench --bundle" in capsys.readouterr().out
