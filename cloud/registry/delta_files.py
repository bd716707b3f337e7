"""Deltas that nobody is told of any more leave the disk: stations only ask for what is listed."""

from __future__ import annotations

import logging
from collections.abc import Container
from pathlib import Path

from contract.delta import delta_ends

_log = logging.getLogger(__name__)


def drop_unlisted_deltas(targets: Path, listed: Container[str]) -> None:
    """Delete the deltas in the folder `targets` whose target paths are not among `listed`.

    Call it when what is listed is published: killed before or amid, the rest goes after the next publication. A station that
    is just fetching one finds it gone, and fetches the whole bundle. What cannot be deleted is only said.
    """
    for file in (targets / "deltas").glob("*"):
        name = f"deltas/{file.name}"
        if delta_ends(name) is not None and name not in listed:
            try:
                file.unlink(missing_ok=True)
            except OSError as error:
                _log.warning("'%s' is listed no more and cannot be deleted: %s", file, error.strerror or error)
