"""One training at a time in a run folder: two would write the same checkpoint, each over the other's."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from contract.errors import TransientError


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold `folder`; the kernel lets go of it however the process ends.

    Raises:
        TransientError: another process trains there, such as a worker that outlived a launcher which was killed.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise TransientError(
                f"another process trains in {folder}", hint="wait for it to end, or choose another --out"
            ) from error
        except OSError:
            # Some network storage locks no folders: there it is as it was before.
            pass
        yield
    finally:
        os.close(handle)
