"""Every layout by name."""

from __future__ import annotations

from collections.abc import Callable

from cloud.retrain.layouts.coco import find_coco
from cloud.retrain.layouts.csv_table import find_csv
from cloud.retrain.layouts.folders import find_folders, find_prefix
from cloud.retrain.layouts.found import Findings, FolderSource
from cloud.retrain.layouts.labelstudio import find_labelstudio
from cloud.retrain.layouts.yolo import find_yolo
from contract.errors import BadDataset

_FIND: dict[str, Callable[[FolderSource], Findings]] = {
    "folders": find_folders,
    "prefix": find_prefix,
    "csv": find_csv,
    "yolo": find_yolo,
    "coco": find_coco,
    "labelstudio": find_labelstudio,
}
LAYOUTS = tuple(_FIND)


def find_images(source: FolderSource) -> Findings:
    """Return what a folder holds, by its layout.

    Raises:
        BadDataset: no such layout or folder, no images, or whatever the layout refuses.
    """
    if source.layout not in _FIND:
        raise BadDataset(f"'{source.layout}' is no layout", hint=f"use {', '.join(LAYOUTS[:-1])} or {LAYOUTS[-1]}")
    if not source.root.is_dir():
        raise BadDataset(f"{source.root} is no folder", hint="give the folder that holds the images")
    findings = _FIND[source.layout](source)
    if not findings.found:
        raise BadDataset(f"{source.root} holds no images in layout '{source.layout}'", hint=layout_hint(source.layout))
    for found in findings.found:
        # A name that is no text (another system's encoding) can be written into no manifest.
        if not found.file.isprintable():
            raise BadDataset(f"{ascii(found.file)[:120]} has a name that cannot be shown", hint="rename the file")
    return findings


def layout_hint(layout: str) -> str:
    """Return what a layout wants, and which one may be meant instead."""
    if layout == "folders":
        return "layout 'folders' wants one folder a label; for LABEL_NUMBER.png in one folder use --layout prefix"
    if layout == "prefix":
        return "layout 'prefix' wants LABEL_NUMBER.png in one folder; for one folder a label use --layout folders"
    return f"look at the labels in layout '{layout}', and at --suffix and --exclude"
