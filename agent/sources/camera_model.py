"""The simulated camera: what stands between a scene and the pixels, each effect adjustable while the station runs.

In the order of the light: lens out of focus (box blur), dust on the cover glass, vignetting, exposure, sensor noise.
"""

from __future__ import annotations

import difflib
import math

import msgspec
import numpy as np
from numpy.typing import NDArray

from contract.errors import CameraFault, InvalidConfig

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]

_MAX_SPECKS = 40


class CameraSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A camera's state. The default is a clean camera, which shows the scene as it is.

    gain: exposure, a factor, 0..16.
    vignetting: share of light lost in the corners, 0..1.
    defocus_px: radius r of the blur, 0..32; each pixel becomes the mean of (2r+1) x (2r+1).
    noise_sd: sensor noise, grey levels, 0..128.
    dust: how much dust sits on the cover glass, 0..1; a speck never moves.
    frozen: the last image is repeated. black: no light. unplugged: no image at all.
    """

    gain: float = 1.0
    vignetting: float = 0.0
    defocus_px: int = 0
    noise_sd: float = 0.0
    dust: float = 0.0
    frozen: bool = False
    black: bool = False
    unplugged: bool = False


CLEAN = CameraSettings()

_RANGES: dict[str, tuple[float, float]] = {
    "gain": (0, 16),
    "vignetting": (0, 1),
    "defocus_px": (0, 32),
    "noise_sd": (0, 128),
    "dust": (0, 1),
}


def check_settings(settings: CameraSettings, where: str = "") -> CameraSettings:
    """Return `settings`, which come from the file `where` if any, when each lies in its range.

    Raises:
        InvalidConfig: one does not; the message names it and its range.
    """
    for key, (low, high) in _RANGES.items():
        value = getattr(settings, key)
        if not (math.isfinite(value) and low <= value <= high):
            place = f"{where}: " if where else ""
            raise InvalidConfig(f"{place}camera setting '{key}' is {value}", hint=f"it must be {low:g} to {high:g}")
    return settings


def decode_settings(payload: bytes, where: str) -> CameraSettings:
    """Return the settings in the JSON `payload`; absent keys keep a clean camera's value.

    Raises:
        InvalidConfig: it is no JSON object of camera settings; the message names `where`, and the nearest key for a mistyped one.
    """
    try:
        keys = msgspec.json.decode(payload)
        if not isinstance(keys, dict):
            raise InvalidConfig(f"{where}: camera settings must be a JSON object", hint='for example {"defocus_px": 1}')
        for key in keys:
            if key not in CameraSettings.__struct_fields__:
                raise InvalidConfig(f"{where}: there is no camera setting '{key}'", hint=_nearest(key))
        return check_settings(msgspec.convert(keys, CameraSettings), where)
    except msgspec.ValidationError as error:
        raise InvalidConfig(f"{where}: {error}", hint="see plumbline-agent simulate set --help") from error
    except (msgspec.DecodeError, ValueError) as error:
        raise InvalidConfig(f"{where} is no JSON: {error}", hint='for example {"defocus_px": 1}') from error


def encode_settings(settings: CameraSettings) -> bytes:
    """Return `settings` as indented JSON with a final newline."""
    return msgspec.json.format(msgspec.json.encode(settings), indent=2) + b"\n"


def _nearest(key: str) -> str:
    fields = CameraSettings.__struct_fields__
    close = difflib.get_close_matches(key, fields, n=1, cutoff=0.4)
    return f"did you mean '{close[0]}'?" if close else f"the keys are {', '.join(fields)}"


class CameraModel:
    """One camera. Its dust and its noise follow from `seed`; it remembers its last image for `frozen`."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._noise = np.random.default_rng((seed, 1))
        self._last: U8 | None = None
        self._mask: F32 | None = None
        self._mask_of: tuple[int, int, float, float] | None = None

    def capture(self, scene: U8, settings: CameraSettings) -> U8:
        """Return the image of `scene`, u8[H,W] or u8[H,W,3], in the same shape; a clean camera returns an equal copy.

        Raises:
            CameraFault: the camera is unplugged.
        """
        if settings.unplugged:
            raise CameraFault("the simulated camera is unplugged", hint="set 'unplugged' to false in its controls file")
        if settings.frozen and self._last is not None and self._last.shape == scene.shape:
            return self._last.copy()
        self._last = np.zeros_like(scene) if settings.black else self._expose(scene, settings)
        return self._last.copy()

    def _expose(self, scene: U8, settings: CameraSettings) -> U8:
        image = box_blur(scene, settings.defocus_px)
        dim = settings.vignetting > 0 or settings.dust > 0
        if not dim and settings.gain == 1.0 and settings.noise_sd == 0:
            return image
        light = image.astype(np.float32)
        if dim:
            mask = self._light_mask(scene.shape[0], scene.shape[1], settings)
            light *= mask if scene.ndim == 2 else mask[:, :, None]
        light *= np.float32(settings.gain)
        if settings.noise_sd > 0:
            light += self._noise.standard_normal(light.shape, np.float32) * np.float32(settings.noise_sd)
        return np.clip(np.rint(light), 0, 255).astype(np.uint8)

    def _light_mask(self, height: int, width: int, settings: CameraSettings) -> F32:
        """Return the share of light f32[H,W] that passes vignetting and dust; remade only when either changes."""
        wanted = (height, width, settings.vignetting, settings.dust)
        if self._mask is None or self._mask_of != wanted:
            y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
            mask = 1 - settings.vignetting * (y * y + x * x) / 2
            self._mask = (mask * self._dust_mask(height, width, settings.dust)).astype(np.float32)
            self._mask_of = wanted
        return self._mask

    def _dust_mask(self, height: int, width: int, dust: float) -> F32:
        # Each speck is drawn from its own place in one seeded stream: more dust adds specks and never moves one.
        specks = np.random.default_rng((self._seed, 2)).random((_MAX_SPECKS, 4))[: round(dust * _MAX_SPECKS)]
        y, x = np.ogrid[0:height, 0:width]
        mask = np.ones((height, width), np.float32)
        for down, right, size, depth in specks:
            radius = (0.012 + 0.04 * size * size) * min(height, width)
            far = np.hypot(y - down * height, x - right * width)
            mask *= (1 - (0.25 + 0.5 * depth) * np.clip(1.5 - far / radius, 0, 1)).astype(np.float32)
        return mask


def box_blur(image: U8, radius: int) -> U8:
    """Return the mean of (2*radius+1) x (2*radius+1) around each pixel, rounded; the border pixels are repeated outwards."""
    if radius == 0:
        return image.copy()
    height, width = image.shape[:2]
    size = 2 * radius + 1
    sides = ((radius, radius), (radius, radius)) + ((0, 0),) * (image.ndim - 2)
    padded = np.pad(image, sides, "edge").astype(np.int32)
    rows = padded[:height].copy()
    for offset in range(1, size):
        rows += padded[offset : offset + height]
    total = rows[:, :width].copy()
    for offset in range(1, size):
        total += rows[:, offset : offset + width]
    return ((total + size * size // 2) // (size * size)).astype(np.uint8)
