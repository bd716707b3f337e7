"""The simulated camera: laws that hold for all settings, and each effect by itself."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.sources.camera_model import (
    CLEAN,
    CameraModel,
    CameraSettings,
    box_blur,
    check_settings,
    decode_settings,
    encode_settings,
)
from contract.errors import CameraFault, InvalidConfig

any_settings = st.builds(
    CameraSettings,
    gain=st.floats(0, 16),
    vignetting=st.floats(0, 1),
    defocus_px=st.integers(0, 32),
    noise_sd=st.floats(0, 128),
    dust=st.floats(0, 1),
    frozen=st.booleans(),
    black=st.booleans(),
)
shapes = st.one_of(
    st.tuples(st.integers(1, 40), st.integers(1, 40)), st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3))
)


def scene_of(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


FLAT = np.full((64, 64), 100, np.uint8)


@settings(max_examples=80, deadline=None)
@given(any_settings, shapes)
def test_captures_keep_shape_and_dtype_and_leave_the_scene_alone(
    camera: CameraSettings, shape: tuple[int, ...]
) -> None:
    scene = scene_of(shape)
    before = scene.copy()
    image = CameraModel(1).capture(scene, camera)
    assert image.shape == shape and image.dtype == np.uint8
    assert not np.shares_memory(image, scene)
    np.testing.assert_array_equal(scene, before)


@settings(max_examples=40, deadline=None)
@given(any_settings)
def test_the_same_seed_and_the_same_history_give_the_same_images(camera: CameraSettings) -> None:
    one, two = CameraModel(4), CameraModel(4)
    for seed in range(3):
        scene = scene_of((30, 40), seed)
        np.testing.assert_array_equal(one.capture(scene, camera), two.capture(scene, camera))


@settings(max_examples=60, deadline=None)
@given(any_settings)
def test_settings_survive_their_json(camera: CameraSettings) -> None:
    assert decode_settings(encode_settings(camera), "x") == camera


def test_a_clean_camera_shows_the_scene_as_it_is() -> None:
    for shape in ((20, 30), (20, 30, 3)):
        np.testing.assert_array_equal(CameraModel(0).capture(scene_of(shape), CLEAN), scene_of(shape))


@settings(max_examples=40, deadline=None)
@given(shapes, st.integers(0, 6))
def test_box_blur_is_the_plain_mean_with_repeated_borders(shape: tuple[int, ...], radius: int) -> None:
    image, size = scene_of(shape), 2 * radius + 1
    sides = ((radius, radius), (radius, radius), (0, 0))[: image.ndim]
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(image, sides, "edge"), (size, size), axis=(0, 1))
    assert np.abs(box_blur(image, radius) - windows.mean((-1, -2))).max() <= 0.5


def test_gain_scales_and_saturates() -> None:
    assert (CameraModel(0).capture(FLAT, CameraSettings(gain=1.5)) == 150).all()
    assert (CameraModel(0).capture(FLAT, CameraSettings(gain=4)) == 255).all()


def test_vignetting_darkens_corners_and_spares_the_middle() -> None:
    image = CameraModel(0).capture(FLAT, CameraSettings(vignetting=0.6))
    assert image[32, 32] >= 99
    assert image[0, 0] == image[-1, -1] == 40


def test_noise_has_the_spread_asked_for_and_changes_from_image_to_image() -> None:
    camera = CameraModel(0)
    one, two = (camera.capture(FLAT, CameraSettings(noise_sd=6)).astype(float) for _ in range(2))
    assert one.std() == pytest.approx(6, rel=0.1)
    assert (one != two).any()


def test_dust_only_darkens_stays_in_place_and_adds_up() -> None:
    camera = CameraModel(3)
    little, little_again, much = (camera.capture(FLAT, CameraSettings(dust=d)) for d in (0.2, 0.2, 0.9))
    np.testing.assert_array_equal(little, little_again)
    assert (little <= 100).all() and (little < 100).any()
    assert (much <= little).all() and (much < little).any()
    assert (CameraModel(4).capture(FLAT, CameraSettings(dust=0.2)) != little).any()


def test_a_frozen_camera_repeats_its_last_image_until_it_thaws() -> None:
    camera, frozen = CameraModel(0), CameraSettings(frozen=True, noise_sd=5)
    first = camera.capture(scene_of((9, 9), 0), CLEAN)
    for seed in (1, 2):
        np.testing.assert_array_equal(camera.capture(scene_of((9, 9), seed), frozen), first)
    assert (camera.capture(scene_of((9, 9), 1), CLEAN) != first).any()


def test_a_caller_that_writes_into_a_frame_does_not_change_the_frozen_one() -> None:
    camera = CameraModel(0)
    camera.capture(FLAT, CLEAN)[:] = 0
    for _ in range(2):
        frozen = camera.capture(FLAT, CameraSettings(frozen=True))
        assert (frozen == 100).all()
        frozen[:] = 0


def test_black_is_black_and_unplugged_is_a_camera_fault() -> None:
    assert not CameraModel(0).capture(FLAT, CameraSettings(black=True)).any()
    with pytest.raises(CameraFault, match="unplugged"):
        CameraModel(0).capture(FLAT, CameraSettings(unplugged=True))


@pytest.mark.parametrize(
    ("payload", "message"),
    (
        (b"", "no JSON"),
        (b'{"gain": 1.', "no JSON"),
        (b"\xff\xfe", "no JSON"),
        (b"[1]", "JSON object"),
        (b"null", "JSON object"),
        (b'{"gain": "high"}', "gain"),
        (b'{"gain": -1}', "'gain' is -1"),
        (b'{"gain": 1e999}', "cam.json"),
        (b'{"defocus_px": 1.5}', "defocus_px"),
        (b'{"defocus_px": 33}', "'defocus_px' is 33"),
        (b'{"frozen": 1}', "frozen"),
        (b'{"defocus": 1}', "no camera setting 'defocus'"),
    ),
)
def test_settings_that_are_none_are_refused_and_name_the_file(payload: bytes, message: str) -> None:
    with pytest.raises(InvalidConfig, match=message) as caught:
        decode_settings(payload, "cam.json")
    assert "cam.json" in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("typed", "meant"), (("defocus", "defocus_px"), ("noise", "noise_sd"), ("vigneting", "vignetting"))
)
def test_a_mistyped_key_is_answered_with_the_nearest_one(typed: str, meant: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        decode_settings(f'{{"{typed}": 1}}'.encode(), "cam.json")
    assert caught.value.hint == f"did you mean '{meant}'?"


@pytest.mark.parametrize(
    "camera", (CameraSettings(gain=float("nan")), CameraSettings(dust=1.01), CameraSettings(defocus_px=-1))
)
def test_values_out_of_range_are_refused(camera: CameraSettings) -> None:
    with pytest.raises(InvalidConfig, match="camera setting"):
        check_settings(camera)
