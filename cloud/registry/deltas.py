"""Deltas of a release: made from the bundles that stations are likely to run, and offered where they save enough (OTA-7).

A delta is a target of the image repository under a name made of both ends, `deltas/FROM-TO.pld`. A station asks for the name that
begins with the bundle it has; when the repository lists it, its length and hash are vouched for before a byte of it is
decompressed. Nothing is added to the bundle's own target, so a delta can be listed later, and none has to be.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import zstandard

from cloud.registry.delta_plan import ArchiveBytes, DeltaPlan, pack_noise, plan_delta
from cloud.registry.durable_file import write_durably
from contract.archive import ArchiveReader
from contract.delta import (
    MAX_OPS,
    MAX_WINDOW_LOG,
    DeltaHeader,
    OpKind,
    Section,
    delta_target,
    encode_header,
    encode_ops,
)
from contract.errors import NotFound, PlumblineError, RefusedError
from contract.rebuild import rebuild

if TYPE_CHECKING:  # a release makes deltas
    pass

MOST_OF_FULL = 0.7
"""A larger share of the full bundle is not worth a delta: a station that fails with it downloads both."""
LAST_RELEASES = 3
_TEXT_LEVEL = 19

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DeltaFacts:
    """A delta that was made, and checked by rebuilding the bundle from it.

    `copied`, `subtracted`, `taken_new` count the new bundle's tensors.
    """

    from_digest: str
    to_digest: str
    file: Path
    size_bytes: int
    sha256: str
    full_bytes: int
    copied: int
    subtracted: int
    taken_new: int

    @property
    def share(self) -> float:
        """Its size over the full bundle's."""
        return self.size_bytes / self.full_bytes

    @property
    def target(self) -> str:
        """The TUF target path."""
        return delta_target(self.from_digest, self.to_digest)


def make_delta(from_archive: Path, to_archive: Path, out: Path) -> DeltaFacts:
    """Write the delta that makes `to_archive` of `from_archive` to `out`. The same two always give the same bytes.

    Raises:
        NotFound: an archive is missing.
        BadBundle: one is no whole bundle.
        RefusedError: they have so little in order that a delta is out of reach.
    """
    old, new = _read(from_archive), _read(to_archive)
    from_digest, to_digest = _sha256(old.data), _sha256(new.data)
    plan = plan_delta(old, new)
    if len(plan.ops) > MAX_OPS:
        raise RefusedError(f"a delta of {len(plan.ops)} steps is over {MAX_OPS}", hint="ship the full bundle")
    plan.sections[Section.OPS] += encode_ops(plan.ops)
    packed = {section: _pack(plan, section, old.data) for section in Section}
    header = DeltaHeader(
        from_digest,
        to_digest,
        len(old.data),
        len(new.data),
        len(plan.ops),
        MAX_WINDOW_LOG,
        tuple((len(packed[section]), len(plan.sections[section])) for section in Section),
        plan.prefix,
    )
    delta = encode_header(header) + b"".join(packed.values())
    for _ in rebuild(_Held(delta), _Held(old.data), origin=from_digest, goal=to_digest, size=len(new.data)):
        pass  # what a station would refuse is refused here
    write_durably(out, (delta,))
    return DeltaFacts(
        from_digest,
        to_digest,
        out,
        len(delta),
        _sha256(delta),
        len(new.data),
        copied=plan.tensors[OpKind.COPY],
        subtracted=plan.tensors[OpKind.SUBTRACT],
        taken_new=plan.tensors[OpKind.RAW],
    )


def deltas_for(
    origins: Iterable[str], digest: str, archive_of: Callable[[str], Path], folder: Path
) -> tuple[DeltaFacts, ...]:
    """Return the deltas from the bundles `origins` worth offering to bundle `digest`, made in `folder`.

    A delta that cannot be made, or saves too little, is left out: a release never fails for it.
    """
    found = []
    for origin in dict.fromkeys(origins):
        if origin == digest:
            continue
        out = folder / Path(delta_target(origin, digest)).name
        try:
            facts = make_delta(archive_of(origin), archive_of(digest), out)
        except PlumblineError as error:
            _log.warning("no delta from %s to %s: %s", origin[:12], digest[:12], error.one_line())
            continue
        if facts.share > MOST_OF_FULL:
            out.unlink()
            continue
        found.append(facts)
    return tuple(found)


class _Held:
    """Bytes in memory."""

    def __init__(self, data: bytes) -> None:
        self._data, self.size = data, len(data)

    def read_at(self, offset: int, size: int) -> bytes:
        return self._data[offset : offset + size]


def _read(path: Path) -> ArchiveBytes:
    try:
        with path.open("rb") as file:
            reader = ArchiveReader(file)
            for _, content in reader.files():
                for _ in content:
                    pass
        return ArchiveBytes(path.read_bytes(), reader.manifest, len(reader.manifest_bytes))
    except FileNotFoundError as error:
        raise NotFound(f"no bundle '{path}'", hint="check the path") from error


def _pack(plan: DeltaPlan, section: Section, old: bytes) -> bytes:
    data = bytes(plan.sections[section])
    if section in (Section.BYTES, Section.PLANES):
        # Weights that are new can repeat themselves after all (a mask, a table).
        return min(pack_noise(data), zstandard.ZstdCompressor(level=3).compress(data), key=len)
    raw = b"".join(old[at : at + size] for at, size in plan.prefix) if section is Section.TEXT else b""
    dictionary = zstandard.ZstdCompressionDict(raw, dict_type=zstandard.DICT_TYPE_RAWCONTENT) if raw else None
    parameters = zstandard.ZstdCompressionParameters.from_level(_TEXT_LEVEL, window_log=MAX_WINDOW_LOG)
    return zstandard.ZstdCompressor(compression_params=parameters, dict_data=dictionary).compress(data)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
