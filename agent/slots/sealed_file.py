"""Sealed values read from files: what is torn is absent (OTA-5), what the disk does not give just now is not.

A passing read error that passed for "absent" would be written back: bans forgotten, floors fallen, for good.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec

from agent.slots.disk import read_kept
from agent.update.sealed import unseal

S = TypeVar("S", bound=msgspec.Struct)


def read_sealed(path: Path, kind: type[S]) -> S | None:
    """Return the value of type `kind` in the file at `path`; None when it is missing or torn.

    Raises:
        TransientError: the disk failed.
    """
    data = read_kept(path)
    return None if data is None else unseal(data, kind)
