"""Names of stations, bundles and samples, and what they may look like."""

from __future__ import annotations

import re

from contract.errors import InvalidConfig

# A station id becomes an MQTT topic level, a certificate's CN and a folder name: nothing any of the three treats specially.
_STATION = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
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


def is_digest(text: str) -> bool:
    """Return whether `text` is a lower-case hex SHA-256."""
    return _DIGEST.fullmatch(text) is not None


def bundle_target(digest: str) -> str:
    """Return the TUF target path of the bundle archive with this SHA-256."""
    return f"bundles/{digest}{BUNDLE_SUFFIX}"
