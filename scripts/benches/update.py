"""What an update costs to send and to apply: the full bundle, Plumbline's delta, zstd --patch-from and bsdiff, on the same pairs.

Each way is applied in a process of its own, with the imports it needs; memory is the most that is resident above what the process
had before, and what comes out is compared with the new archive. Seconds are medians, memory the largest of the repetitions.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import msgspec
import zstandard

from cloud.registry.blobs import sha256_of
from cloud.registry.bundle import unpack_bundle
from cloud.registry.deltas import make_delta
from contract.archive import archive_chunks
from contract.errors import BadBundle
from contract.manifest import encode_manifest
from scripts.benches import tuf_import
from scripts.benches.budget import table as budget_table
from scripts.benches.child import run_child
from scripts.benches.update_bsdiff_venv import bsdiff_python
from scripts.benches.update_pair import Pair, steel_pair, tflite_pair

Figures = dict[str, float]
_WORK = Path(__file__).parents[2] / ".plumbline" / "bench-update"
_ROOT = str(Path(__file__).parents[2])
_HEADLINE = ("delta.ratio", "delta.apply_mib", "delta.model_ratio", "tuf.import_ms", "tuf.import_mb")
_WAYS = {"full": "the whole bundle", "delta": "Plumbline", "zstd": "zstd --patch-from", "bsdiff": "bsdiff4"}
_MEASURED = ("bytes", "ratio", "make_s", "apply_s", "apply_mib")
_REPETITIONS = 3


@dataclass(frozen=True, slots=True)
class _Way:
    """What is sent, how long making it took, and the command that makes the new archive at `out` of it."""

    name: str
    patch: Path
    make_s: float
    command: tuple[str, ...]
    out: Path


def measure(*, quick: bool = False, peers: bool = False) -> Figures:
    """Return the `delta.*` figures, and `tuf.*` where that bench is here; progress and what was compared go to stderr.

    Raises:
        NotFound: the steel images are not there.
        BadBundle, RefusedError: a way did not give the new bundle.
    """
    pairs = [steel_pair(_WORK, _say, quick=quick)]
    third_party = tflite_pair(_WORK)
    pairs += [third_party] if third_party else []
    figures: Figures = {}
    python = bsdiff_python(_say)
    for pair in pairs:
        _say(f"{pair.name}: {pair.how}")
        figures |= compare(pair, python, 1 if quick else _REPETITIONS)
    own = {
        "delta.ratio": figures["delta.steel.delta.ratio"],
        "delta.apply_mib": max(figures[f"delta.{pair.name}.delta.apply_mib"] for pair in pairs),
        "delta.model_ratio": figures["delta.steel.model_ratio"],
    }
    return own | tuf_import.measure() | figures


def compare(pair: Pair, bsdiff: str | None, repetitions: int) -> Figures:
    """Return the figures of one pair, `delta.PAIR.WAY.*` and `delta.PAIR.model_ratio`.

    Args:
        bsdiff: the Python that has bsdiff4; None leaves it out.
    Raises:
        BadBundle, RefusedError: a way did not give the new bundle.
    """
    figures: Figures = {}
    with tempfile.TemporaryDirectory(prefix="plumbline-bench-") as scratch:
        for way in _ways(pair, Path(scratch), bsdiff):
            measured = _measure(pair, way, repetitions)
            figures |= {f"delta.{pair.name}.{way.name}.{what}": figure for what, figure in measured.items()}
        figures[f"delta.{pair.name}.model_ratio"] = _model_ratio(pair, Path(scratch))
    return figures


def table(figures: Figures) -> str:
    """Return the headline beside its targets, then a line for each pair and way."""
    head = budget_table({key: figures[key] for key in _HEADLINE if key in figures})
    rows: list[tuple[str, ...]] = [("pair", "way", "what", "bytes", "of full", "made s", "applied s", "memory MiB")]
    for pair in dict.fromkeys(key.split(".")[1] for key in figures if key.count(".") == 3):
        for way, what in _WAYS.items():
            of = {name: figures.get(f"delta.{pair}.{way}.{name}") for name in _MEASURED}
            if of["bytes"] is None or of["ratio"] is None:
                continue
            numbers = (f"{of['bytes']:,.0f}", f"{of['ratio']:.3f}")
            rest = tuple("-" if of[name] is None else f"{of[name]:.3g}" for name in _MEASURED[2:])
            rows.append((pair, way, what, *numbers, *rest))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    notes = (
        "steel: the product's own model, really fine-tuned. tflite: third-party weights moved by chance, so its ratio says",
        "how the format does on such a move, not what a fine-tune costs. model_ratio: delta over the model file alone.",
    )
    return "\n".join((head, "", *lines, "", *notes))


def _ways(pair: Pair, scratch: Path, python: str | None) -> Iterable[_Way]:
    digest = sha256_of(pair.new)
    own = (sys.executable, "-m", "scripts.benches.update_apply")
    out = scratch / f"{digest}.plb"
    yield _Way("full", pair.new, 0.0, (*own, "full", "-", str(pair.new), str(out)), out)

    unpacked, patch = scratch / "old", scratch / "new.pld"
    unpack_bundle(pair.old, unpacked)
    make_s = _seconds(lambda: make_delta(pair.old, pair.new, patch))
    patch.with_suffix(".size").write_text(str(pair.new.stat().st_size))
    yield _Way("delta", patch, make_s, (*own, "delta", str(unpacked), str(patch), str(out)), out)

    squeezed = scratch / "new.zst"
    make_s = _seconds(lambda: squeezed.write_bytes(_patch_from(pair.old.read_bytes(), pair.new.read_bytes())))
    yield _Way("zstd", squeezed, make_s, (*own, "zstd", str(pair.old), str(squeezed), str(out)), out)

    if python is not None:
        script, diff = str(Path(__file__).with_name("update_bsdiff.py")), scratch / "new.bsdiff"
        made = run_child((python, script, "make", str(pair.old), str(pair.new), str(diff)))
        yield _Way("bsdiff", diff, made["s"], (python, script, "apply", str(pair.old), str(out), str(diff)), out)


def _measure(pair: Pair, way: _Way, repetitions: int) -> Figures:
    runs = []
    for _ in range(repetitions):
        way.out.unlink(missing_ok=True)
        runs.append(run_child(way.command, environment={"PYTHONPATH": _ROOT}))
        if sha256_of(way.out) != sha256_of(pair.new):
            raise BadBundle(f"{way.name} gave another archive than the new one")
    size = way.patch.stat().st_size
    return {
        "bytes": float(size),
        "ratio": size / pair.new.stat().st_size,
        "make_s": way.make_s,
        "apply_s": median(run["s"] for run in runs),
        "apply_mib": max(run["mib"] for run in runs),
    }


def _patch_from(old: bytes, new: bytes) -> bytes:
    """Return what `zstd --patch-from --ultra -22` makes: the old bytes as prefix, a window that spans both."""
    window_log = min(27, max(10, (len(old) + len(new)).bit_length()))
    parameters = zstandard.ZstdCompressionParameters.from_level(
        22, window_log=window_log, enable_ldm=True, strategy=zstandard.STRATEGY_BTULTRA2
    )
    prefix = zstandard.ZstdCompressionDict(old, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    return zstandard.ZstdCompressor(compression_params=parameters, dict_data=prefix).compress(new)


def _model_ratio(pair: Pair, scratch: Path) -> float:
    """Return the delta over the model file, of bundles that hold nothing else: what a bundle of large models comes to."""
    bare, size = [], 0
    for archive in (pair.old, pair.new):
        folder = scratch / f"{archive.stem}-bare"
        manifest = unpack_bundle(archive, folder)
        file = manifest.artefacts[0].file
        entry = next(entry for entry in manifest.files if entry.name == file)
        tensors = tuple(tensor for tensor in manifest.tensors if tensor.file == file)
        alone = msgspec.structs.replace(
            manifest,
            artefacts=manifest.artefacts[:1],
            files=(entry,),
            golden=None,
            gate_report="",
            model_card="",
            tensors=tensors,
        )
        content = (folder / file).read_bytes()
        path, size = scratch / f"{archive.stem}-bare.plb", len(content)
        path.write_bytes(b"".join(archive_chunks(encode_manifest(alone), ((entry, (content,)),))))
        bare.append(path)
    return make_delta(bare[0], bare[1], scratch / "bare.pld").size_bytes / size


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _say(text: str) -> None:
    print(text, file=sys.stderr)
