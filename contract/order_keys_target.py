"""Where the image repository vouches for a replacement of the order keys (DESIGN 6: both sides must agree)."""

from __future__ import annotations

import re

_TARGET = re.compile(r"order-keys/[1-9][0-9]*\.json")


def order_keys_target(version: int) -> str:
    """Return the TUF target path whose SHA-256 is that of the envelope (text, UTF-8) of the OrderKeys of `version`."""
    return f"order-keys/{version}.json"


def is_order_keys_target(target: str) -> bool:
    """Return whether a target path is one of those."""
    return _TARGET.fullmatch(target) is not None
