"""plumbline-cloud dataset: labelled images as manifests of content hashes; make, list, show, diff, export."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cloud.commands.output import Subparsers, print_json, print_table
from contract.manifest import LabelKind

if TYPE_CHECKING:
    from cloud.retrain.dataset_diff import Change
    from cloud.retrain.dataset_summary import DatasetSummary
    from cloud.retrain.run_records import DatasetManifest

EXIT_DIFFERENT = 3
_EPILOG = """example: plumbline-cloud dataset make images --layout coco --name tiles
         plumbline-cloud dataset show tiles
         plumbline-cloud dataset diff tiles@3f9c tiles
         plumbline-cloud train --dataset tiles --out runs/base

A dataset is named by a path, by NAME (its latest), or by NAME@ID; the first digits of ID do."""
_SHOWN = 10


def register(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "dataset",
        help="labelled images as manifests of content hashes",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    _add_make(actions)
    listing = _action(actions, "list", "list the datasets", "example: plumbline-cloud dataset list --json")
    listing.set_defaults(run=run_list)
    show = _action(actions, "show", "count a dataset's images", "example: plumbline-cloud dataset show tiles")
    show.add_argument("dataset", metavar="REF", help="the dataset")
    show.set_defaults(run=run_show)
    diff = _action(
        actions,
        "diff",
        "say what changed from one dataset to another",
        "example: plumbline-cloud dataset diff tiles@3f9c tiles\n\nexit code: 0 nothing changed, 3 something did",
    )
    diff.add_argument("before", metavar="A", help="the earlier dataset")
    diff.add_argument("after", metavar="B", help="the later dataset")
    diff.set_defaults(run=run_diff)
    export = _action(
        actions,
        "export",
        "copy a dataset's images in a form that other tools read",
        "example: plumbline-cloud dataset export tiles --format labelstudio --out tiles-studio\n\n"
        "For Label Studio: start it with LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true and\n"
        "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT=DIR, paste DIR/labelling.xml as the labelling\n"
        "interface, add DIR/images as local storage, import DIR/tasks.json.",
    )
    export.add_argument("dataset", metavar="REF", help="the dataset")
    export.add_argument("--format", required=True, choices=("folders", "csv", "yolo", "coco", "labelstudio"))
    export.add_argument("--out", metavar="DIR", required=True, help="new folder for images and labels")
    export.set_defaults(run=run_export)


def _action(actions: Subparsers, name: str, words: str, epilog: str) -> argparse.ArgumentParser:
    parser = actions.add_parser(name, help=words, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--datasets", metavar="DIR", default="datasets", help="folder that names are looked up in (default %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print it as JSON")
    return parser


def _add_make(actions: Subparsers) -> None:
    make = actions.add_parser(
        "make",
        help="read a folder of labelled images and write its manifest",
        epilog="example: plumbline-cloud dataset make images --layout csv --name tiles\n\n"
        "Images that two people label differently are left out and listed in DATASETS/NAME/disagreements.jsonl.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    make.add_argument("folder", metavar="DIR", help="folder of images")
    make.add_argument("--name", required=True, help="the dataset's name")
    make.add_argument("--out", metavar="DATASETS", default="datasets", help="folder of datasets (default %(default)s)")
    make.add_argument(
        "--layout",
        choices=("folders", "prefix", "csv", "yolo", "coco", "labelstudio"),
        default="folders",
        help="how the labels are written (default %(default)s)",
    )
    make.add_argument("--good", metavar="LABEL[,LABEL]", help="labels that mean a good part (default: by name)")
    make.add_argument(
        "--background",
        metavar="LABEL",
        default="good",
        help="label of an image that yolo, coco or labelstudio marks nothing on (default %(default)s)",
    )
    make.add_argument("--suffix", help="only files ending so, e.g. jpg")
    make.add_argument("--exclude", metavar="FILE", help="text file of paths relative to DIR never to be read")
    make.add_argument("--part-pattern", metavar="REGEX", help="the first group, found in a file's stem, names the part")
    make.add_argument("--skip-unreadable", action="store_true", help="leave unreadable images out and count them")
    make.add_argument("--masks", metavar="SUFFIX", help="ending of mask files beside the images, e.g. png")
    make.add_argument(
        "--draw-masks", action="store_true", help="draw boxes and polygons as masks, kept in DIR/.plumbline-masks"
    )
    make.add_argument("--holdout", type=float, default=1 / 3, help="share kept for the gate (default 1/3)")
    make.add_argument("--calibration", type=float, default=0.1, help="share kept for calibration (default %(default)s)")
    make.add_argument("--seed", type=int, default=0, help="another seed, another split (default %(default)s)")
    make.add_argument(
        "--splits-of", metavar="REF", help="an earlier dataset whose images stay in their splits, by content and part"
    )
    make.add_argument(
        "--near-duplicates",
        choices=("warn", "group", "off"),
        default="warn",
        help="images that look alike: warn of those in two splits, group them into one split, or do not look "
        "(default %(default)s)",
    )
    make.add_argument("--strict", action="store_true", help="refuse when two people label an image differently")
    make.add_argument("--json", action="store_true", help="print the dataset's counts as JSON")
    make.set_defaults(run=run_make)


def run_make(args: argparse.Namespace) -> int:
    """Make a dataset."""
    # Here, so that --help does not load what datasets need.
    import msgspec

    from cloud.retrain.dataset import FolderSource, NearDuplicates, read_dataset
    from cloud.retrain.dataset_store import check_dataset_name, open_dataset, save_dataset
    from cloud.retrain.dataset_summary import summarise
    from cloud.retrain.layouts.found import read_exclude
    from cloud.retrain.progress import show_progress
    from contract.errors import BadDataset

    check_dataset_name(args.name)
    source = FolderSource(
        root=Path(args.folder),
        layout=args.layout,
        good=tuple(label.strip() for label in args.good.split(",")) if args.good else None,
        suffix=args.suffix,
        exclude=read_exclude(Path(args.exclude)) if args.exclude else frozenset(),
        part_pattern=args.part_pattern,
        skip_unreadable=args.skip_unreadable,
        masks=args.masks,
        draw_masks=args.draw_masks,
        background=args.background,
    )
    earlier = open_dataset(args.splits_of, Path(args.out)).manifest.entries if args.splits_of else ()
    dataset = read_dataset(
        source,
        holdout_share=args.holdout,
        calibration_share=args.calibration,
        seed=args.seed,
        known_splits={e.sha256: e.split for e in earlier},
        near=NearDuplicates(args.near_duplicates),
        held_bytes=0,
        on_progress=show_progress,
    )
    if args.strict and dataset.disagreements:
        shown = "; ".join(d.sentence() for d in dataset.disagreements[:3])
        raise BadDataset(
            f"{len(dataset.disagreements)} images are labelled differently: {shown}",
            hint="settle them, or leave out --strict",
        )
    manifest = msgspec.structs.replace(
        dataset.manifest(), name=args.name, labels=dataset.labels, warnings=dataset.warnings
    )
    stored = save_dataset(Path(args.out), manifest, dataset.disagreements)
    for warning in manifest.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if args.json:
        print_json({**msgspec.to_builtins(summarise(stored)), "disagreements": len(dataset.disagreements)})
    else:
        print(f"{args.name}@{stored.id}: {len(manifest.entries)} images, {len(manifest.labels)} labels, {stored.path}")
        place = "" if args.out == "datasets" else str(stored.path)
        print(f"next: plumbline-cloud train --dataset {place or args.name} --out RUN")
    return 0


def run_list(args: argparse.Namespace) -> int:
    """List the datasets."""
    import msgspec

    from cloud.retrain.dataset_store import list_datasets
    from cloud.retrain.dataset_summary import summarise

    summaries = [summarise(stored) for stored in list_datasets(Path(args.datasets))]
    if args.json:
        print_json([msgspec.to_builtins(s) for s in summaries])
    elif not summaries:
        print(f"no datasets in {args.datasets}; make one with 'plumbline-cloud dataset make'")
    else:
        rows = [
            (f"{s.name}@{s.id}", "latest" if s.latest else "", s.images, len(s.labels), len(s.warnings))
            for s in summaries
        ]
        print_table(("dataset", "", "images", "labels", "warnings"), rows)
    return 0


def run_show(args: argparse.Namespace) -> int:
    """Count a dataset's images."""
    import msgspec

    from cloud.retrain.dataset_store import open_dataset
    from cloud.retrain.dataset_summary import summarise

    summary = summarise(open_dataset(args.dataset, Path(args.datasets)))
    if args.json:
        print_json(msgspec.to_builtins(summary))
    else:
        _print_summary(summary)
    return 0


def _print_summary(summary: DatasetSummary) -> None:
    print(f"{summary.name}@{summary.id}{' (latest)' if summary.latest else ''}: {summary.path}")
    print(f"{summary.images} images of {summary.parts} parts, {summary.masks} with a mask, ", end="")
    print(f"{summary.several_labels} with several labels")
    for folder in summary.folders:
        print(f"images in {folder}")
    splits = list(summary.splits)
    rows = [(name, summary.kinds[name], *(of[s] for s in splits)) for name, of in summary.labels.items()]
    print_table(("label", "means", *splits), [*rows, ("images", "", *summary.splits.values())])
    for what, counts in (("source", summary.sources), ("labeller", summary.labellers)):
        print(f"{what}: {', '.join(f'{name} {count}' for name, count in counts.items())}")
    for warning in summary.warnings:
        print(f"warning: {warning}")


def run_diff(args: argparse.Namespace) -> int:
    """Say what changed."""
    import msgspec

    from cloud.retrain.dataset_diff import diff_datasets
    from cloud.retrain.dataset_store import open_dataset

    folder = Path(args.datasets)
    before, after = open_dataset(args.before, folder), open_dataset(args.after, folder)
    diff = diff_datasets(before.manifest, after.manifest)
    if args.json:
        print_json(msgspec.to_builtins(diff))
    else:
        _print_changes("added", diff.added)
        _print_changes("removed", diff.removed)
        _print_changes("relabelled", diff.relabelled)
        _print_changes("moved", diff.moved)
        _print_changes("mask changed", diff.masked)
        print(f"{diff.same} images are the same")
    return 0 if diff.is_empty else EXIT_DIFFERENT


def _print_changes(what: str, changes: tuple[Change, ...]) -> None:
    if not changes:
        return
    print(f"{len(changes)} {what}:")
    for change in changes[:_SHOWN]:
        print(f"  {change.file}: {' -> '.join(side for side in (change.before, change.after) if side)}")
    if len(changes) > _SHOWN:
        print(f"  and {len(changes) - _SHOWN} more")


def run_export(args: argparse.Namespace) -> int:
    """Copy a dataset in another form."""
    from cloud.retrain.dataset_export import export_dataset
    from cloud.retrain.dataset_store import open_dataset
    from cloud.retrain.progress import show_progress

    stored = open_dataset(args.dataset, Path(args.datasets))
    count = export_dataset(stored.manifest, args.format, Path(args.out), show_progress)
    if args.json:
        print_json({"images": count, "format": args.format, "out": args.out, "dataset": stored.id})
    else:
        print(f"wrote {count} images in layout '{args.format}' to {args.out}")
    for note in _left_out(stored.manifest, args.format):
        print(f"note: {note}", file=sys.stderr)
    return 0


def _left_out(manifest: DatasetManifest, form: str) -> list[str]:
    """Return what a form cannot say of a dataset and csv can, in words."""
    notes = []
    masks = sum(bool(e.mask) for e in manifest.entries)
    if masks and form in ("folders", "labelstudio"):
        notes.append(f"layout '{form}' leaves {masks} masks out; csv carries them")
    if masks and form == "yolo":
        notes.append(f"layout 'yolo' makes boxes of {masks} masks; csv and coco keep their shape")
    good = [label.name for label in manifest.labels if label.kind is LabelKind.GOOD]
    if form in ("yolo", "coco") and good and good != ["good"]:
        notes.append(
            f"layout '{form}' marks nothing on good images: to read them back, add --background {shlex.quote(good[0])}"
        )
    return notes
