"""Reading the kernel's small text files, which fail in more ways than files do."""

from __future__ import annotations

import os
from pathlib import Path

_LARGEST = (1 << 64) - 1


def read_attribute(path: Path) -> str:
    """Return the text of a sysfs attribute, stripped; "" where there is none, or none at the moment.

    A zone whose unit is powered down answers EAGAIN, and an Orin Nano has three such for good. On that, `read_text()` raises a
    TypeError, as Python's buffers get None (https://github.com/prometheus/node_exporter/issues/3071 is the same in Go, which
    waits for ever); one plain read(2) raises an OSError.
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(file, 4096).decode("utf-8", "replace").strip()
    except OSError:
        return ""
    finally:
        os.close(file)


def read_number(path: Path, base: int = 10) -> int | None:
    """Return the whole number in a sysfs attribute; None where it holds none, or one that no C program wrote."""
    try:
        number = int(read_attribute(path)[:64], base)
    except ValueError:
        return None
    return number if -_LARGEST <= number <= _LARGEST else None


def entries(folder: Path, prefix: str) -> list[Path]:
    """Return what lies in `folder` under names that begin with `prefix`, in the order of their numbers; none if unreadable."""
    try:
        found = [entry for entry in folder.iterdir() if entry.name.startswith(prefix)]
    except OSError:
        return []
    return sorted(found, key=lambda entry: (len(entry.name), entry.name))
