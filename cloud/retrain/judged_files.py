"""Which files of a run its gate's report is about, and whether they are still those."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec

from cloud.gate.scorecard import GateReport
from cloud.registry.blobs import sha256_of
from cloud.retrain.run_folder import RunFolder
from contract.errors import BadDataset, RefusedError

_REPORTS = ("run.json", "dataset.json", "quantize.json")


def judged_files(run: RunFolder) -> dict[str, str]:
    """Return the SHA-256 of every file that a release of this run is made of, by name; files that are not there are left out.

    Raises:
        NotFound, BadDataset: the run is not trained and quantized, or its report is damaged.
    """
    run.info()  # what is missing first is named first
    artefacts = {each.file for each in run.quantize_report().artefacts}
    names = sorted({*_REPORTS, run.golden.name, run.fp32.name, *artefacts})
    return {name: sha256_of(run.root / name) for name in names if (run.root / name).is_file()}


def changed_since(run: RunFolder, report: GateReport) -> str:
    """Return why `report` is not about the run as it is now, "" when it is. Raises: as `judged_files`."""
    if not report.judged:
        return "it is of a version that did not note which files it judged"
    now = judged_files(run)
    changed = sorted(name for name in {*now, *report.judged} if now.get(name) != report.judged.get(name))
    return f"changed since: {', '.join(changed)}" if changed else ""


def check_judged(run: RunFolder, report: GateReport) -> None:
    """Refuse a report that is about other files than the run has.

    Raises:
        RefusedError: it is; the message names what changed.
    """
    why = changed_since(run, report)
    if why:
        raise RefusedError(
            f"the gate's report of {run.root} is about other files than are there: {why}",
            hint=f"run 'plumbline-cloud gate {run.root}' again, with the same --incumbent",
        )


def check_dataset(run: RunFolder) -> None:
    """Check that a run's dataset.json is the one it was trained on: another holdout, or other labels, would judge another model.

    Raises:
        BadDataset: it is not.
    """
    wanted = run.info().dataset_sha256
    file = run.root / "dataset.json"
    # Entries gained fields since; older files are compared as they were written.
    plain = hashlib.sha256(msgspec.json.encode(run.dataset().entries)).hexdigest()
    if wanted not in (plain, raw_hash(file, "entries")):
        raise BadDataset(f"{file} is not the one the run was trained on", hint="put it back, or train again")


def raw_hash(file: Path, key: str) -> str:
    """Return the SHA-256 of what a JSON file holds under `key`, written as when it was made: without what was added since."""
    try:
        value: Any = msgspec.json.decode(file.read_bytes())[key]
    except (OSError, msgspec.DecodeError, LookupError, TypeError, RecursionError) as error:
        return f"not readable: {error}"
    return hashlib.sha256(msgspec.json.encode(value)).hexdigest()
