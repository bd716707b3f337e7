"""Two releases that should never have been: one decides wrongly, one does not even load."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from cloud.registry.bundle import unpack_bundle
from contract.archive import archive_chunks
from contract.manifest import FileEntry, encode_manifest


def with_shuffled_labels(run: Path, out: Path) -> Path:
    """Return a copy of a run whose label list is rotated by one: a real mistake, and its golden test still passes."""
    shutil.copytree(run, out)
    file = out / "run.json"
    info = json.loads(file.read_text())
    info["labels"] = info["labels"][1:] + info["labels"][:1]
    file.write_text(json.dumps(info))
    return out


def torn_archive(good: Path, out: Path, version: str) -> Path:
    """Write a copy of the bundle `good` whose model file is half gone, hashed in good order, to `out`; it crashes on load.

    `plumbline-cloud release` would refuse it: this is what somebody can do who has the keys and goes around it.
    """
    with TemporaryDirectory() as scratch:
        manifest, folder = unpack_bundle(good, Path(scratch)), Path(scratch)
        model = folder / manifest.artefacts[0].file
        model.write_bytes(model.read_bytes()[: model.stat().st_size // 2])
        contents = [(folder / entry.name).read_bytes() for entry in manifest.files]
        names = [entry.name for entry in manifest.files]
    entries = tuple(
        FileEntry(name, hashlib.sha256(data).hexdigest(), len(data)) for name, data in zip(names, contents, strict=True)
    )
    torn = msgspec.structs.replace(manifest, version=version, files=entries, tensors=())
    chunks = archive_chunks(encode_manifest(torn), [(e, (d,)) for e, d in zip(entries, contents, strict=True)])
    out.write_bytes(b"".join(chunks))
    return out
