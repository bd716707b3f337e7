"""What can go wrong with an image repository, in our errors and in words for a person."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

from tuf.api.exceptions import (
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    ExpiredMetadataError,
    RepositoryError,
)

from contract.errors import BadBundle, LinkDown, NotFound, StorageFull, TransientError

_LAST = 253_402_300_799.0  # the last second that a datetime can say


@contextmanager
def as_ours(where: str, folder: Path, now: float, authenticated_at: float | None) -> Iterator[None]:
    """Turn python-tuf's errors, raised inside, into ours.

    Args:
        where: names the repository, as the beginning of a sentence does in its middle.
        folder: the cache.
        now: what expiry was judged by, Unix seconds.
        authenticated_at: the last authenticated time, Unix seconds; None when it is not known.
    Raises:
        LinkDown: it was not reached, or too slow.
        TransientError: its metadata is expired: the clock may be wrong, or it is not yet signed again.
        BadBundle: its metadata does not hold.
        NotFound: there is no repository, or a part of it is missing.
        StorageFull: the cache cannot be written.
    """
    try:
        yield
    except DownloadHTTPError as error:
        if error.status_code in (403, 404, 410):
            raise NotFound(f"{where} lacks a part: {error}", hint="check the URL") from error
        raise LinkDown(f"{where} does not serve: {error}", hint=_hint(error.status_code)) from error
    except DownloadLengthMismatchError as error:
        raise BadBundle(
            f"{where} sends more than it may: {error}", hint="check what answers at that address"
        ) from error
    except DownloadError as error:
        raise LinkDown(f"{where} was not reached: {error}") from error
    except ExpiredMetadataError as error:
        raise _expired(where, error, now, authenticated_at) from error
    except RepositoryError as error:
        cause = f" ({str(error.__cause__)[:200]})" if error.__cause__ is not None else ""
        raise BadBundle(
            f"{where} does not hold: {error}{cause}",
            hint="its metadata must descend from the pinned root and fit together",
        ) from error
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise StorageFull(
            f"'{folder}' cannot be written: {error.strerror or error}",
            hint="free space on this disk" if full else "check the disk and its mount",
        ) from error


def moment(at: float) -> datetime:
    """Return Unix seconds as a datetime, held within what one can say: a clock or a message may say anything."""
    return datetime.fromtimestamp(min(max(at, 0.0), _LAST), tz=timezone.utc)


def _expired(where: str, error: Exception, now: float, authenticated_at: float | None) -> TransientError:
    # Transient, since both causes mend by themselves, and a refusal would ban the bundle for a clock's fault (OTA-1).
    said = f"{where} has expired metadata ({error}) by a time of {_text(now)}"
    if authenticated_at is None:
        pass
    elif now > authenticated_at:
        ahead_days = (moment(now) - moment(authenticated_at)).total_seconds() / 86400
        said += f", {ahead_days:,.1f} days after the last authenticated time, {_text(authenticated_at)}"
    else:
        said += ", the last authenticated time: this station's clock stands there or before"
    return TransientError(
        said,
        hint="check this station's clock; when it is right, the repository must be signed again, or is an old copy",
    )


def _text(at: float) -> str:
    return f"{moment(at):%Y-%m-%d %H:%M} UTC"


def _hint(status: int) -> str:
    if 300 <= status < 400:
        return "redirects are not followed: is there a captive portal, or did the repository move"
    return "check the station's token" if status == 401 else ""
