"""Names of stations, cameras, bundles and samples, and what they may look like."""

from __future__ import annotations

import re

from contract.errors import InvalidConfig

MAX_STATION_CHARS, MAX_CAMERA_CHARS = 63, 32

# A station id becomes an MQTT topic level, a certificate's CN and a folder name: nothing any of the three treats specially.
_STATION = re.compile(rf"[a-z0-9][a-z0-9_-]{{0,{MAX_STATION_CHARS - 1}}}")
# A camera's name stands in a sample's name, in a file's name and after its station's and a "/" (a series).
CAMERA_PATTERN = rf"[a-z0-9-]{{1,{MAX_CAMERA_CHARS}}}"
_CAMERA = re.compile(CAMERA_PATTERN)
_DIGEST = re.compile(r"[0-9a-f]{64}")

BUNDLE_SUFFIX = ".plb"


def check_station_id(text: str) -> str:
    """Return `text` when it is a station id: 1 to 63 of a-z, 0-9, '-' and '_', starting with a letter or digit.

    Raises:
        InvalidConfig: it is not.
    """
    if _STATION.fullmatch(text) is None:
        raise InvalidConfig(
            f"'{text[:80]}' is no station id",
            hint="use 1 to 63 of a-z, 0-9, '-' and '_', starting with a letter or digit, e.g. 'line3-cam1'",
        )
    return text


def check_camera_name(text: str) -> str:
    """Return `text` when it names a camera of a station: "" is its only or first one, others have 1 to 32 of a-z, 0-9 and '-'.

    Raises:
        InvalidConfig: it does not.
    """
    if text and _CAMERA.fullmatch(text) is None:
        raise InvalidConfig(
            f"'{text[:80]}' is no name of a camera",
            hint="use 1 to 32 of a-z, 0-9 and '-', e.g. 'left'",
        )
    return text


def sample_name(boot: str, camera: str, window: int, number: int) -> str:
    """Return the name of a kept frame, unlike any other of any camera: `number` counts frames within the camera's window.

    The last two parts are always numbers, so that no camera's name can make one name mean two frames.
    """
    return f"{boot}-{camera}-{window}-{number}" if camera else f"{boot}-{window}-{number}"


def is_digest(text: str) -> bool:
    """Return whether `text` is a lower-case hex SHA-256."""
    return _DIGEST.fullmatch(text) is not None


def bundle_target(digest: str) -> str:
    """Return the TUF target path of the bundle archive with this SHA-256."""
    return f"bundles/{digest}{BUNDLE_SUFFIX}"
