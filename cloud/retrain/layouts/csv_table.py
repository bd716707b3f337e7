"""Layout "csv": labels.csv, a line an image: file,label[,also,part,labeller,labelled_at,mask,split,source,audit,inclusion].

`label` and `also` may hold several labels, separated by ";". `labelled_at` is Unix seconds or ISO 8601. `split` is train,
calibration, holdout or drift. Several lines of one image are several people's word on it. What a spreadsheet would run as a formula
is written with a quote before it (`cloud.review.spreadsheet`), which is taken off when it is read.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

from cloud.retrain.layouts.folders import mask_beside
from cloud.retrain.layouts.found import (
    Findings,
    FolderSource,
    Found,
    check_exists,
    check_inside,
    finite,
    is_wanted,
    read_text,
    read_time,
    unique,
)
from cloud.retrain.run_records import DatasetEntry, Split
from cloud.review.spreadsheet import guarded, unguarded
from contract.errors import BadDataset

TABLE = "labels.csv"
_COLUMNS = (
    "file",
    "label",
    "also",
    "part",
    "labeller",
    "labelled_at",
    "mask",
    "split",
    "source",
    "audit",
    "inclusion",
)
_TRUTHS = {"": False, "0": False, "false": False, "no": False, "1": True, "true": True, "yes": True}


def find_csv(source: FolderSource) -> Findings:
    """Return what the table in the root says: labels.csv, or the only other one.

    Raises:
        BadDataset: no table, a column it does not know, a line that cannot be used (its number is named), a missing image.
    """
    table = _table(source.root)
    try:
        lines = list(csv.reader(io.StringIO(read_text(table, "layout 'csv' wants a labels.csv")), strict=True))
    except csv.Error as error:
        raise BadDataset(f"{table} is no CSV: {error}", hint="quote cells that hold a comma or a quote") from error
    header = [cell.strip() for cell in lines[0]] if lines else []
    unknown = [name for name in header if name not in _COLUMNS]
    if "file" not in header or "label" not in header or unknown or len(set(header)) != len(header):
        raise BadDataset(
            f"{table} line 1 is no header of file,label[,...]" + (f": '{unknown[0]}'" if unknown else ""),
            hint=f"its columns are among {', '.join(_COLUMNS)}",
        )
    found: list[Found] = []
    missing: list[tuple[str, str]] = []
    for number, cells in enumerate(lines[1:], 2):
        if not any(cell.strip() for cell in cells):
            continue
        where = f"{table.name} line {number}"
        if len(cells) != len(header):
            raise BadDataset(
                f"{where} has {len(cells)} cells, the header {len(header)}", hint="quote cells with commas"
            )
        line = _found(source, dict(zip(header, cells, strict=True)), where)
        if line.file in source.exclude or not is_wanted(source, line.file):
            continue
        missing += [(where, f) for f in (line.file, line.mask) if f and not (source.root / f).is_file()]
        found.append(line)
    check_exists(source.root, missing)
    return Findings(tuple(found))


def write_csv(out: Path, rows: list[tuple[str, str, DatasetEntry]]) -> None:
    """Write labels.csv under `out` for (image, mask or "", entry); everything an entry says is kept."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(_COLUMNS)
    for file, mask, e in rows:
        for name in (e.label, *e.also):
            if ";" in name:
                raise BadDataset(f"'{name}' holds a ';', which separates labels in a table", hint="rename the label")
        at = "" if e.labelled_at is None else repr(e.labelled_at)
        also = ";".join(e.also)
        cells = (
            file,
            e.label,
            also,
            e.part,
            e.labeller,
            at,
            mask,
            e.split.value,
            e.source,
            int(e.audit),
            repr(e.inclusion),
        )
        table.writerow([guarded(cell) if isinstance(cell, str) else cell for cell in cells])
    (out / TABLE).write_text(text.getvalue(), "utf-8", newline="")


def _table(root: Path) -> Path:
    if (root / TABLE).is_file():
        return root / TABLE
    tables = sorted(root.glob("*.csv"))
    if len(tables) != 1:
        raise BadDataset(f"{root} holds {len(tables)} tables and no {TABLE}", hint=f"name the table {TABLE}")
    return tables[0]


def _found(source: FolderSource, cells: dict[str, str], where: str) -> Found:
    line = {name: unguarded(value.strip()) for name, value in cells.items()}
    words = (line["label"] + ";" + line.get("also", "")).split(";")
    labels = unique([word.strip() for word in words if word.strip()])
    if not labels:
        raise BadDataset(f"{where} has no label", hint="label it or take the line out")
    file = check_inside(source.root, line["file"], where)
    mask = line.get("mask", "")
    split = line.get("split", "")
    if split and split not in {s.value for s in Split}:
        raise BadDataset(f"{where}: '{split}' is no split", hint=f"use {', '.join(s.value for s in Split)}")
    audit = line.get("audit", "").lower()
    if audit not in _TRUTHS:
        raise BadDataset(f"{where}: audit '{audit}' is neither 0 nor 1")
    return Found(
        file,
        labels,
        where,
        line.get("part", ""),
        line.get("labeller", ""),
        read_time(line.get("labelled_at", ""), where),
        check_inside(source.root, mask, where) if mask else mask_beside(source, file),
        split=Split(split) if split else None,
        source=line.get("source", ""),
        audit=_TRUTHS[audit],
        # A probability of 0 would weigh an image without end (inverse probability weighting).
        inclusion=finite(line.get("inclusion", "") or "1", where, "inclusion", 1e-9, 1),
    )
