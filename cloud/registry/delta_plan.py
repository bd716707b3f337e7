"""How to write the archive of one bundle from that of another: the ops of a delta and what its sections hold (OTA-7).

Each tensor of the new bundle is set beside the old one of its name, type and shape (else beside the one at its place among those
of its type and shape: an export may name tensors afresh), and is copied, subtracted or taken new, whichever is smallest once
compressed. All other bytes are copied where they stand in the old archive, else taken new; small texts (the manifest, reports)
are compressed with those of the old bundle as dictionary instead, which finds what is alike within lines.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

import numpy as np
import zstandard

from cloud.registry.equal_ranges import EqualRanges
from cloud.registry.tensor_table import tensors_in
from contract.archive import BLOCK
from contract.delta import MAX_PREFIX_BYTES, MAX_PREFIX_RANGES, Op, OpKind, Section
from contract.manifest import Manifest, Tensor
from contract.rebuild import split

_TEXT_BYTES = 128 << 10
_LEAST_COPY = 48  # a shorter one costs more as an op than it saves
_WIDTHS = {"float16": 2, "bfloat16": 2, "int16": 2, "uint16": 2, "float32": 4, "int32": 4, "uint32": 4}
_WIDTHS |= {"float64": 8, "int64": 8, "uint64": 8}


@dataclass(frozen=True, slots=True)
class ArchiveBytes:
    """An archive's bytes with what its manifest says of them."""

    data: bytes
    manifest: Manifest
    manifest_bytes: int

    def places(self) -> dict[str, tuple[int, int]]:
        """Return (offset, size) of each file's content, in order."""
        places, at = {}, BLOCK + _whole(self.manifest_bytes)
        for entry in self.manifest.files:
            places[entry.name] = at + BLOCK, entry.size_bytes
            at += BLOCK + _whole(entry.size_bytes)
        return places

    def tensors(self) -> list[tuple[Tensor, int]]:
        """Return the constant tensors with where they lie in the archive, in order; of a manifest without a table too."""
        places, table = self.places(), self.manifest.tensors
        if not table:
            for artefact in self.manifest.artefacts:
                at, size = places[artefact.file]
                table += tensors_in(self.data[at : at + size], artefact.file, artefact.runtime)
        found = {places[tensor.file][0] + tensor.offset: tensor for tensor in table}
        return [(found[at], at) for at in sorted(found)]

    def texts(self) -> list[tuple[int, int]]:
        """Return (offset, size) of the manifest and of other small files that are likely to be text."""
        binary = {artefact.file for artefact in self.manifest.artefacts}
        if self.manifest.golden:
            binary.add(self.manifest.golden.file)
        small = [place for name, place in self.places().items() if name not in binary and place[1] <= _TEXT_BYTES]
        return [(BLOCK, self.manifest_bytes), *(place for place in small if place[1])]


@dataclass(slots=True)
class DeltaPlan:
    """The ops, the sections they read, the dictionary's ranges in the old archive, and how many tensors went which way."""

    ops: list[Op] = field(default_factory=list)
    sections: dict[Section, bytearray] = field(default_factory=lambda: {each: bytearray() for each in Section})
    prefix: tuple[tuple[int, int], ...] = ()
    tensors: Counter[OpKind] = field(default_factory=Counter)

    def copy(self, base: int, size: int) -> None:
        """Copy bytes of the old archive; what follows on the last copy continues it."""
        last = self.ops[-1] if self.ops else None
        if last is not None and last.kind is OpKind.COPY and last.base + last.size == base:
            self.ops[-1] = Op(OpKind.COPY, last.size + size, last.base)
        else:
            self.ops.append(Op(OpKind.COPY, size, base))

    def text(self, data: bytes) -> None:
        """Take bytes new."""
        last = self.ops[-1] if self.ops else None
        if last is not None and last.kind is OpKind.TEXT:
            self.ops[-1] = Op(OpKind.TEXT, last.size + len(data))
        elif data:
            self.ops.append(Op(OpKind.TEXT, len(data)))
        self.sections[Section.TEXT] += data


def plan_delta(old: ArchiveBytes, new: ArchiveBytes) -> DeltaPlan:
    """Return how to write `new` from `old`."""
    plan, partners = DeltaPlan(), _partners(old, new)
    ranges, texts = EqualRanges(np.frombuffer(old.data, np.uint8)), new.texts()
    plan.prefix = _prefix(old)
    done = 0
    for (tensor, at), partner in zip(new.tensors(), partners, strict=True):
        _between(plan, ranges, new.data, done, at, texts)
        done = at + tensor.size_bytes
        _tensor(plan, new.data[at:done], old.data, partner, _WIDTHS.get(tensor.dtype, 1))
    _between(plan, ranges, new.data, done, len(new.data), texts)
    return plan


def _partners(old: ArchiveBytes, new: ArchiveBytes) -> list[int | None]:
    """Return where in the old archive the partner of each of the new tensors lies."""
    named: dict[object, int] = {}
    alike: dict[object, list[int]] = defaultdict(list)
    for tensor, at in old.tensors():
        named.setdefault((tensor.name, tensor.dtype, tensor.shape), at)
        named[tensor.file, tensor.name, tensor.dtype, tensor.shape] = at
        alike[tensor.dtype, tensor.shape].append(at)
    partners: list[int | None] = []
    seen: Counter[object] = Counter()
    for tensor, _ in new.tensors():
        kind = tensor.dtype, tensor.shape
        partner = named.get((tensor.file, tensor.name, *kind), named.get((tensor.name, *kind)))
        if partner is None and seen[kind] < len(alike[kind]):
            partner = alike[kind][seen[kind]]
        seen[kind] += 1
        partners.append(partner)
    return partners


def _tensor(plan: DeltaPlan, data: bytes, old: bytes, partner: int | None, width: int) -> None:
    size = len(data)
    width = width if size % width == 0 else 1
    raw = split(data, None, width)
    kind, held = OpKind.RAW, raw
    if partner is not None:
        before = old[partner : partner + size]
        if before == data:
            plan.copy(partner, size)
            plan.tensors[OpKind.COPY] += 1
            return
        residual = split(data, before, width)
        if len(pack_noise(residual)) <= len(pack_noise(raw)):
            kind, held = OpKind.SUBTRACT, residual
    plan.ops.append(Op(kind, size, partner if kind is OpKind.SUBTRACT and partner is not None else 0, width))
    plan.sections[Section.BYTES if width == 1 else Section.PLANES] += held
    plan.tensors[kind] += 1


def _between(
    plan: DeltaPlan, ranges: EqualRanges, data: bytes, begin: int, end: int, texts: list[tuple[int, int]]
) -> None:
    """Plan data[begin:end], which holds no tensor."""
    at = begin
    for start, size in (*texts, (end, 0)):
        stop = min(start + size, end)
        if stop < at or start > end:
            continue
        _copied(plan, ranges, data, at, start)
        plan.text(data[start:stop])
        at = stop


def _copied(plan: DeltaPlan, ranges: EqualRanges, data: bytes, begin: int, end: int) -> None:
    at = begin
    for start, base, size in ranges.find(np.frombuffer(data, np.uint8)[begin:end]):
        if size >= _LEAST_COPY:
            plan.text(data[at : begin + start])
            plan.copy(base, size)
            at = begin + start + size
    plan.text(data[at:end])


def _prefix(old: ArchiveBytes) -> tuple[tuple[int, int], ...]:
    left, ranges = MAX_PREFIX_BYTES, []
    for at, size in old.texts()[:MAX_PREFIX_RANGES]:
        if left:
            ranges.append((at, min(size, left)))
            left -= min(size, left)
    return tuple(ranges)


def pack_noise(data: bytes) -> bytes:
    """Return a zstd frame of residuals, made for what is nearly noise.

    What looks for repeats farther or shorter finds chance ones, which cost more than the entropy coder would take: on 3.5 MB
    of small residuals level 19 is as large in a hundred times the time, levels 1 to 9 are a sixth larger.
    """
    parameters = zstandard.ZstdCompressionParameters(
        window_log=17,
        hash_log=17,
        chain_log=17,
        search_log=1,
        min_match=7,
        target_length=999,
        strategy=zstandard.STRATEGY_BTULTRA2,
    )
    return zstandard.ZstdCompressor(compression_params=parameters).compress(data)


def _whole(size: int) -> int:
    return size + -size % BLOCK
