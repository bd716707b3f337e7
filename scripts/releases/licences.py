"""Under which licence each package is that an extra installs, and whether it may be there.

Two sources: what a package says of itself (pip-licenses), and the shared libraries that its wheel brings along, which often have a
licence of their own. Nothing of the AGPL or the GPL and nothing unknown passes, unless `ALLOWED` names it with a reason.
"""

from __future__ import annotations

import enum
import json
import re
import subprocess
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import PurePath

from packaging.utils import canonicalize_name


class Kind(enum.IntEnum):
    """What a licence asks for, from least to most; the larger of two holds where both apply."""

    PERMISSIVE = 0
    WEAK = 1
    """Changes of its own files are to be published (MPL, EPL)."""
    LGPL = 2
    GPL = 3
    AGPL = 4
    UNKNOWN = 5

    @property
    def word(self) -> str:
        """Return it as the report says it."""
        return {"WEAK": "MPL or EPL"}.get(self.name, self.name if "GPL" in self.name else self.name.lower())


# Words of their own: "deployment" and "example" have EPL and MPL inside, "permit" MIT.
_KINDS = (
    (re.compile(r"agpl|affero", re.I), Kind.AGPL),
    (re.compile(r"lgpl|lesser general public", re.I), Kind.LGPL),
    (re.compile(r"gpl.*with.*exception|gcc-exception", re.I), Kind.PERMISSIVE),
    (re.compile(r"gpl|gnu general public", re.I), Kind.GPL),
    (re.compile(r"\bmpl|mozilla|\bepl|eclipse", re.I), Kind.WEAK),
    (re.compile(r"\bapache|\bmit\b|\b0?bsd|\bisc\b|\bzlib|\bcc0|public domain|\bunlicense|\bhpnd|\bbsl-1", re.I), Kind.PERMISSIVE),
    (re.compile(r"\bpsf|python software foundation", re.I), Kind.PERMISSIVE),
)  # fmt: skip

# Libraries under the GPL that wheels are known to bring (GCC's own runtime has an exception, and is none).
_GPL_LIBRARIES = ("libx264", "libx265", "libxvidcore", "librubberband", "libreadline", "libgdbm", "libpostproc")


@dataclass(frozen=True, slots=True)
class Licence:
    """What one package is under."""

    package: str
    version: str
    said: str
    kind: Kind
    brings: tuple[str, ...] = ()
    """Libraries under the GPL in its wheel."""

    @property
    def strictest(self) -> Kind:
        """Return the kind with what the wheel brings taken into account."""
        return max(self.kind, Kind.GPL) if self.brings else self.kind


@dataclass(frozen=True, slots=True)
class Allowed:
    """Why a package may be there although its kind may not."""

    upto: Kind
    why: str


ALLOWED: Mapping[str, Allowed] = {
    "av": Allowed(
        Kind.GPL,
        "PyPI's wheel of [camera] brings libx264 and libx265 (PyAV-Org/PyAV#2270, #2408): whoever passes on an image with it does "
        "so under the GPL, or builds av on an FFmpeg without them. Not in [agent], nor in the image by default",
    ),
    "linuxpy": Allowed(
        Kind.GPL, "[v4l2] alone, in nothing that is published: whoever installs it keeps it, or passes all on under the GPL"
    ),
    "docutils": Allowed(Kind.GPL, "the GPL is one Emacs mode's, which is not installed; the rest is BSD or in the public domain"),
}  # fmt: skip


def kind_of(said: str) -> Kind:
    """Return the kind of an SPDX expression, or of the words of a classifier.

    Of several with OR one is chosen; with AND, "," or ";" all of them hold (a list of classifiers does not say which).
    """
    needed = [part for part in re.split(r"\s+AND\s+|[;,](?!\s*[Vv]ersion)", said) if part.strip(" ()")]
    return max((min(map(_kind_of_one, re.split(r"\s+OR\s+", part))) for part in needed), default=Kind.UNKNOWN)


def _kind_of_one(said: str) -> Kind:
    return next((kind for pattern, kind in _KINDS if pattern.search(said)), Kind.UNKNOWN)


def licences_of(names: Collection[str]) -> list[Licence]:
    """Return what each package is under, as it is installed here.

    Raises:
        subprocess.CalledProcessError: pip-licenses failed.
    """
    command = (sys.executable, "-m", "piplicenses", "--from=mixed", "--format=json", "--with-system")
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    said: dict[str, dict[str, str]] = {canonicalize_name(each["Name"]): each for each in json.loads(done.stdout)}
    found = []
    for name in sorted(names):
        words = said[name]["License"] if name in said else ""
        kind = kind_of(words)
        found.append(Licence(name, metadata.version(name), " ".join(words.split()), kind, _brought(name)))
    return found


def _brought(name: str) -> tuple[str, ...]:
    files = [PurePath(str(each)).name for each in metadata.files(name) or ()]
    return tuple(sorted(library for library in _GPL_LIBRARIES if any(file.startswith(library) for file in files)))


def refused(licences: Collection[Licence], allowed: Mapping[str, Allowed] = ALLOWED) -> list[str]:
    """Return a line for each package that may not be there: the LGPL may, for nothing here is linked with what it covers."""
    lines = []
    for licence in licences:
        kind = licence.strictest
        known = allowed.get(licence.package)
        if kind <= Kind.LGPL or (known is not None and kind <= known.upto):
            continue
        brings = f", and brings {', '.join(licence.brings)}" if licence.brings else ""
        lines.append(f"{licence.package} {licence.version}: {kind.word} ('{licence.said or 'nothing said'}'{brings})")
    return lines
