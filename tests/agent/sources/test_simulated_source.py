"""The simulated station, and the controls file that upsets it while it runs."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from agent.ports.source import Frame
from agent.sources.camera_model import CameraSettings, box_blur
from agent.sources.controls import Controls, read_controls, write_controls
from agent.sources.simulated import SimulatedSource
from agent.sources.surface import surface, truth_of
from contract.errors import BadImage, CameraFault, InvalidConfig


def station(clock: Any, **options: Any) -> SimulatedSource:
    return SimulatedSource(clock, **{"seed": 7, "fps": None, "controls": None, "scene": None, **options})


def must_read(source: SimulatedSource) -> Frame:
    frame = source.read()
    assert frame is not None
    return frame


def scene_folder(folder: Path, count: int) -> Path:
    folder.mkdir()
    for level in range(count):
        Image.fromarray(np.full((10, 12, 3), level, np.uint8)).save(folder / f"{level:02}.png")
    return folder


def test_generated_parts_come_in_order_with_a_truth_that_is_known_by_their_id(clock: Any) -> None:
    source = station(clock)
    assert source.simulated is True and not source.exhausted()
    for index in range(5):
        frame = must_read(source)
        pixels, label = surface(7, index)
        assert frame.part == f"7-{index}"
        assert truth_of(frame.part) == label
        np.testing.assert_array_equal(frame.pixels, pixels)


def test_a_station_may_begin_at_a_later_part(clock: Any) -> None:
    assert must_read(station(clock, first=40)).part == "7-40"


def test_parts_pass_at_the_line_rate(clock: Any) -> None:
    source, times = station(clock, fps=5, height=32, width=32), []
    while len(times) < 11:
        frame = source.read()
        if frame is not None:
            times.append(frame.captured_monotonic)
    assert np.diff(times) == pytest.approx([0.2] * 10)


def test_no_read_waits_longer_than_about_a_second(clock: Any) -> None:
    source = station(clock, fps=0.1)
    for _ in range(30):
        before = clock.monotonic()
        source.read()
        assert clock.monotonic() - before <= 1.0


def test_a_scene_of_real_images_is_seen_through_the_camera_and_shuffled_each_lap(tmp_path: Path, clock: Any) -> None:
    folder = scene_folder(tmp_path / "scene", 12)
    (tmp_path / "c.json").write_text('{"gain": 2.0}')
    source = station(clock, scene=folder, controls=tmp_path / "c.json")
    laps = [[must_read(source) for _ in range(12)] for _ in range(2)]
    orders = [[frame.part for frame in lap] for lap in laps]
    assert sorted(orders[0]) == sorted(orders[1]) == [f"{level:02}.png" for level in range(12)]
    assert orders[0] != orders[1]
    for frame in laps[0]:
        assert frame.pixels.shape == (10, 12, 3)
        assert (frame.pixels == 2 * int(frame.part[:2])).all()
        assert truth_of(frame.part) is None
    again = station(clock, scene=folder)
    assert [must_read(again).part for _ in range(24)] == orders[0] + orders[1]


def test_an_unreadable_scene_file_is_reported_and_the_line_goes_on(tmp_path: Path, clock: Any) -> None:
    folder = scene_folder(tmp_path / "scene", 1)
    (folder / "bad.png").write_bytes(b"no image")
    source = station(clock, scene=folder)
    outcomes = []
    for _ in range(4):
        try:
            outcomes.append(must_read(source).part)
        except BadImage as error:
            outcomes.append(error.message.split()[0])
    assert sorted(outcomes) == ["00.png", "00.png", "bad.png", "bad.png"]


def test_an_unplugged_camera_does_not_even_look_at_the_scene(tmp_path: Path, clock: Any) -> None:
    folder = scene_folder(tmp_path / "scene", 0)
    (folder / "bad.png").write_bytes(b"no image")
    write_controls(tmp_path / "c.json", CameraSettings(unplugged=True))
    with pytest.raises(CameraFault):
        station(clock, scene=folder, controls=tmp_path / "c.json").read()


def test_an_emptied_scene_folder_is_a_camera_fault(tmp_path: Path, clock: Any) -> None:
    folder = scene_folder(tmp_path / "scene", 1)
    source = station(clock, scene=folder)
    must_read(source)
    (folder / "00.png").unlink()
    with pytest.raises(CameraFault, match="empty"):
        source.read()


def test_the_camera_follows_its_controls_file_while_it_runs(tmp_path: Path, clock: Any) -> None:
    controls = tmp_path / "c.json"
    write_controls(controls, CameraSettings())
    source = station(clock, controls=controls, fps=10)
    np.testing.assert_array_equal(must_read(source).pixels, surface(7, 0)[0])
    write_controls(controls, CameraSettings(defocus_px=1))
    np.testing.assert_array_equal(must_read(source).pixels, box_blur(surface(7, 1)[0], 1))
    write_controls(controls, CameraSettings())
    np.testing.assert_array_equal(must_read(source).pixels, surface(7, 2)[0])


def test_an_unplugged_camera_misses_its_part_and_a_frozen_one_repeats_an_image(tmp_path: Path, clock: Any) -> None:
    controls = tmp_path / "c.json"
    source = station(clock, controls=controls, fps=10)
    last = must_read(source)
    write_controls(controls, CameraSettings(unplugged=True))
    with pytest.raises(CameraFault):
        source.read()
    write_controls(controls, CameraSettings(frozen=True))
    frozen = must_read(source)
    assert frozen.part == "7-2"
    np.testing.assert_array_equal(frozen.pixels, last.pixels)


def test_a_half_written_or_wrong_controls_file_keeps_the_settings_and_is_reported_once(
    tmp_path: Path, clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "c.json"
    path.write_text('{"gain": 2}')
    controls = Controls(path, clock)
    for text in ('{"gain": 3', '{"gian": 3}', '{"gain": -3}'):
        caplog.clear()
        path.write_text(text)
        with caplog.at_level(logging.WARNING):
            for _ in range(5):
                clock.seconds += 0.1
                assert controls.settings() == CameraSettings(gain=2)
        assert len(caplog.records) == 1
        assert "keeps its settings" in caplog.text
    path.write_text('{"gain": 4}')
    clock.seconds += 0.1
    assert controls.settings() == CameraSettings(gain=4)


def test_a_controls_file_that_goes_away_keeps_the_settings(tmp_path: Path, clock: Any) -> None:
    path = tmp_path / "c.json"
    write_controls(path, CameraSettings(gain=2))
    controls = Controls(path, clock)
    path.unlink()
    clock.seconds += 0.1
    assert controls.settings() == CameraSettings(gain=2)


def test_controls_may_appear_later_and_are_looked_at_every_50_ms_at_most(tmp_path: Path, clock: Any) -> None:
    path = tmp_path / "c.json"
    controls = Controls(path, clock)
    write_controls(path, CameraSettings(gain=2))
    clock.seconds += 0.049
    assert controls.settings() == CameraSettings()
    clock.seconds += 0.002
    assert controls.settings() == CameraSettings(gain=2)


def test_controls_survive_writing_and_leave_no_other_file(tmp_path: Path) -> None:
    wanted = CameraSettings(gain=0.5, dust=0.25, black=True)
    write_controls(tmp_path / "c.json", wanted)
    assert read_controls(tmp_path / "c.json") == wanted
    assert [path.name for path in tmp_path.iterdir()] == ["c.json"]


def test_a_station_that_cannot_work_is_refused_at_the_start(tmp_path: Path, clock: Any) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.json").write_text('{"gian": 1}')
    (tmp_path / "huge.json").write_bytes(b" " * 70_000)
    for options in (
        {"seed": -1},
        {"first": -1},
        {"fps": -3.0},
        {"height": 8},
        {"scene": tmp_path / "missing"},
        {"scene": tmp_path / "empty"},
        {"controls": tmp_path / "bad.json"},
        {"controls": tmp_path / "huge.json"},
        {"controls": tmp_path / "empty"},
    ):
        with pytest.raises(InvalidConfig) as caught:
            station(clock, **options)
        assert caught.value.hint
