"""plumbline-cloud train: a model from a folder of labelled images, or a better one from reviewed images."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cloud.commands.output import Subparsers, print_json
from contract.errors import InvalidConfig

if TYPE_CHECKING:
    from cloud.retrain.launchers.options import LaunchOptions

_EPILOG = """example: plumbline-cloud train --data images --layout folders --out runs/base
         plumbline-cloud train --parent runs/base --reviewed review --out runs/next
         plumbline-cloud train --data /shared/images --out /shared/runs/base --launch ray --ray-address http://head:8265 --gpus 4
         plumbline-cloud train --data images --out runs/base --launch torchrun --processes 2

then:    plumbline-cloud quantize runs/base"""


def register(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "train",
        help="train a model from a folder of labelled images",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", metavar="RUN", required=True, help="run folder to make")
    images = parser.add_argument_group("images")
    images.add_argument("--data", metavar="DIR", help="folder of images; may be left out with --parent or --dataset")
    images.add_argument(
        "--dataset",
        metavar="REF",
        help="a dataset that 'dataset make' wrote, in place of --data: a path, NAME or NAME@ID of the folder 'datasets'",
    )
    images.add_argument(
        "--layout",
        choices=("folders", "prefix", "csv", "yolo", "coco", "labelstudio"),
        help="folders: one folder a label; prefix: LABEL_NUMBER.png in one folder; csv: labels.csv; yolo, coco, labelstudio: as "
        "those tools export (default folders)",
    )
    images.add_argument(
        "--good",
        metavar="LABEL[,LABEL]",
        help="labels that mean a good part (default: good, ok, free, pass or normal, by name)",
    )
    images.add_argument("--suffix", help="only files ending so, e.g. jpg where masks are png")
    images.add_argument(
        "--masks", metavar="SUFFIX", help="ending of the mask files beside the images, e.g. png, for --head segment"
    )
    images.add_argument("--exclude", metavar="FILE", help="text file of paths relative to --data never to be read")
    images.add_argument(
        "--part-pattern",
        metavar="REGEX",
        help="the first group, found in a file's stem, names the part; images of a part stay in one split",
    )
    images.add_argument("--skip-unreadable", action="store_true", help="leave unreadable images out and count them")
    images.add_argument("--holdout", type=float, help="share of --data kept for the gate (default 1/3)")
    images.add_argument(
        "--calibration", type=float, help="share of --data kept for quantization and thresholds (default 0.1)"
    )
    images.add_argument("--simulated", action="store_true", help="the images are simulated; every screen will say so")
    again = parser.add_argument_group("from an earlier model")
    again.add_argument("--parent", metavar="RUN", help="run to start from; its labels, preprocessing and splits hold")
    again.add_argument("--reviewed", metavar="DIR", help="labelled images to add, with a labels.jsonl")
    again.add_argument(
        "--drift-share",
        type=float,
        default=0.15,
        help="share of the reviewed images kept to judge the candidate by (default %(default)s)",
    )
    again.add_argument("--resume", action="store_true", help="continue a killed run of the same settings")
    _add_recipe(parser)
    _add_launch(parser)
    parser.add_argument("--json", action="store_true", help="print what came of it as JSON")
    parser.set_defaults(run=run)


def _add_recipe(parser: argparse.ArgumentParser) -> None:
    recipe = parser.add_argument_group("recipe")
    recipe.add_argument(
        "--size", type=int, default=0, help="the model's input, pixels a side (default: the images' own, up to 224)"
    )
    recipe.add_argument(
        "--epochs", type=int, help="passes over the images, but at least 300 steps (default 12); without --parent"
    )
    recipe.add_argument("--steps", type=int, help="steps, with --parent (default 400)")
    recipe.add_argument("--batch-size", type=int)
    recipe.add_argument("--learning-rate", type=float, help="the highest, with --parent too")
    recipe.add_argument("--schedule", choices=("onecycle", "cosine"), help="of the learning rate (default onecycle)")
    recipe.add_argument(
        "--model", metavar="NAME", help='"surface", "surface-deep", or a network of your own as MODULE:FACTORY'
    )
    recipe.add_argument("--width", type=float, help="1 is about 100,000 parameters; cost grows with its square")
    recipe.add_argument(
        "--head",
        choices=("single", "multi", "segment"),
        help="single: one label an image; multi: any number of defects; segment: one label, learnt with masks (default single)",
    )
    recipe.add_argument(
        "--ema", type=float, metavar="DECAY", help="keep an average of the weights, e.g. 0.99 (default 0: none)"
    )
    recipe.add_argument(
        "--class-balance", type=float, metavar="0..1", help="0: images as they come; 1: every label alike (default 0)"
    )
    recipe.add_argument(
        "--seen-drift",
        type=float,
        metavar="0..1",
        help="with --parent: share of base images shown as the reviewed ones look (default 0: none)",
    )
    recipe.add_argument("--patience", type=int, metavar="N", help="stop after N looks without gain (default 0: never)")
    recipe.add_argument("--teacher", metavar="RUN", help="run of the same labels whose answers are learnt from too")
    recipe.add_argument(
        "--distil", type=float, metavar="0..1", help="weight of the teacher's answers (default 0.5 with --teacher)"
    )
    recipe.add_argument("--prune", type=float, metavar="0..0.9", help="with --parent: share of channels removed first")
    recipe.add_argument("--compile", action="store_true", help="torch.compile, on a GPU")
    recipe.add_argument(
        "--seed", type=int, default=0, help="another seed, another split and model (default %(default)s)"
    )
    recipe.add_argument("--threads", type=int, default=2, help="CPU threads (default %(default)s)")


def _add_launch(parser: argparse.ArgumentParser) -> None:
    where = parser.add_argument_group("where it runs")
    where.add_argument(
        "--launch",
        choices=("local", "torchrun", "ray"),
        help="local: one process; torchrun: several, here or on several machines; ray: a job of a Ray cluster, whose nodes see "
        "--data and --out under the same paths (default: torchrun where there are several GPUs, else local)",
    )
    where.add_argument(
        "--processes", type=int, metavar="N", help="processes on each machine (default: one a GPU, or 1)"
    )
    where.add_argument(
        "--gpus", type=int, help="GPUs to use, 0 for none (default: all of this machine; none under ray)"
    )
    where.add_argument("--nodes", type=int, default=1, help="machines under torchrun; run the same command on each")
    where.add_argument("--rdzv-endpoint", metavar="HOST:PORT", default="", help="where these machines meet")
    where.add_argument(
        "--ray-address", metavar="URL", default="", help="the cluster (default: RAY_ADDRESS, or http://127.0.0.1:8265)"
    )


def _check_of_data(args: argparse.Namespace) -> None:
    """Check that what only a folder of images can be read with is not given without one: it would be ignored."""
    of_data = (
        "layout",
        "good",
        "suffix",
        "masks",
        "exclude",
        "part_pattern",
        "skip_unreadable",
        "holdout",
        "calibration",
    )
    # A share of 0 is given, and equals False.
    said = {name: getattr(args, name) for name in of_data}
    given = [f"--{name.replace('_', '-')}" for name, value in said.items() if value is not None and value is not False]
    if args.data is None and given and (args.dataset is not None or args.parent is not None):
        whose, hint = "--dataset", "give it to 'plumbline-cloud dataset make', which splits and labels"
        if args.dataset is None:
            whose, hint = "--parent", "leave it out, or give the folder with --data"
        raise InvalidConfig(
            f"{given[0]} is for images of --data; those of {whose} are split and labelled already", hint=hint
        )


def _launch_options(args: argparse.Namespace) -> LaunchOptions:
    from cloud.retrain.launchers.options import LaunchKind, LaunchOptions

    return LaunchOptions(
        kind=LaunchKind(args.launch) if args.launch else None,
        processes=args.processes,
        gpus=args.gpus,
        nodes=args.nodes,
        rendezvous=args.rdzv_endpoint,
        # Ray's own variable, which its users have set.
        ray_address=args.ray_address or (os.environ.get("RAY_ADDRESS", "") if args.launch == "ray" else ""),
    )


def run(args: argparse.Namespace) -> int:
    """Train."""
    # Here, so that --help does not load what training needs.
    from cloud.retrain.job import TrainJob, make_recipe
    from cloud.retrain.launch import launch
    from cloud.retrain.parent_recipe import recipe_of_child
    from cloud.retrain.progress import show_progress
    from cloud.retrain.run_folder import RunFolder
    from cloud.retrain.run_records import Head

    _check_of_data(args)
    job = TrainJob(
        out=args.out,
        data=args.data,
        layout=args.layout or "folders",
        good=tuple(label.strip() for label in args.good.split(",")) if args.good else None,
        suffix=args.suffix,
        part_pattern=args.part_pattern,
        exclude=args.exclude,
        skip_unreadable=args.skip_unreadable,
        reviewed=args.reviewed,
        parent=args.parent,
        holdout_share=1 / 3 if args.holdout is None else args.holdout,
        calibration_share=0.1 if args.calibration is None else args.calibration,
        drift_share=args.drift_share,
        seed=args.seed,
        input_px=args.size,
        recipe=make_recipe(
            epochs=args.epochs,
            warm_steps=args.steps,
            batch_size=args.batch_size,
            learning_rate=args.learning_rate,
            warm_learning_rate=args.learning_rate,
            schedule=args.schedule,
            model=args.model,
            width=args.width,
            head=Head(args.head) if args.head else None,
            ema=args.ema,
            class_balance=args.class_balance,
            seen_drift=args.seen_drift,
            patience=args.patience,
            distil=0.5 if args.teacher and args.distil is None else args.distil,
            prune=args.prune,
            compile=args.compile or None,
        ),
        teacher=args.teacher,
        threads=args.threads,
        resume=args.resume,
        simulated=args.simulated,
        dataset=args.dataset,
        masks=args.masks,
    )
    if args.parent:
        given = frozenset(name for name in ("model", "width", "head") if getattr(args, name) is not None)
        recipe_of_child(job.recipe, RunFolder(Path(args.parent)).info().recipe, given)
    run = RunFolder(Path(args.out))
    if run.checkpoint.is_file() and not run.is_trained() and not args.resume:
        raise InvalidConfig(
            f"{args.out} keeps a run that was stopped", hint="--resume goes on; to begin anew remove it"
        )
    try:
        info = launch(job, _launch_options(args), show_progress)
    except KeyboardInterrupt:
        if run.checkpoint.is_file():
            print(f"stopped; {args.out} keeps how far it got: repeat the command with --resume", file=sys.stderr)
        raise
    for warning in info.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    figures = info.figures
    if args.json:
        print_json(
            {
                "run": args.out,
                "seconds": figures.seconds,
                "steps": figures.steps,
                "parameters": figures.parameters,
                "device": figures.device,
                "train_images": figures.train_images,
                "reviewed_images": figures.reviewed_images,
                "train_accuracy": figures.train_accuracy,
                "holdout_accuracy": figures.holdout_accuracy,
                "drift_accuracy": figures.drift_accuracy,
                "images_per_s": figures.images_per_s,
                "best_step": figures.best_step,
                "labels": {label.name: label.kind.value for label in info.labels},
                "warnings": list(info.warnings),
            }
        )
        return 0
    print(f"trained {Path(args.out)} on {figures.train_images} images in {figures.seconds:.0f} s ({figures.device})")
    for name, accuracy in (("holdout", figures.holdout_accuracy), ("drifted slice", figures.drift_accuracy)):
        if accuracy is not None:
            print(f"accuracy on the {name}: {accuracy:.3f}")
    print(f"next: plumbline-cloud quantize {args.out}")
    return 0
