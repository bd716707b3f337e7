"""plumbline-cloud quantize: a trained run's artefacts, with thresholds and figures, and golden vectors of the one that ships."""

from __future__ import annotations

import argparse
from pathlib import Path

from cloud.commands.output import Subparsers, print_json, print_table


def register(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "quantize",
        help="make and measure a trained run's int8 artefacts, and choose the one that ships",
        epilog="example: plumbline-cloud quantize runs/base\n         plumbline-cloud quantize runs/base --schemes u8s8,s8s8 --fp16"
        " --debug\n\nthen:    plumbline-cloud gate runs/base",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run_folder", metavar="RUN", help="a trained run folder")
    parser.add_argument(
        "--methods",
        default="minmax,entropy,percentile",
        help="calibrations to try; the best on the calibration split wins (default %(default)s)",
    )
    parser.add_argument("--images", type=int, default=96, help="images that calibrate (default %(default)s)")
    parser.add_argument(
        "--alpha",
        type=float,
        help="share of defects allowed among automatic PASSes (default: the parent run's, else 0.02)",
    )
    parser.add_argument(
        "--delta", type=float, help="chance that this promise fails (default: the parent run's, else 0.1)"
    )
    parser.add_argument(
        "--schemes",
        default="u8s8",
        help="u8s8, for CPUs, is always made; s8s8 is for TensorRT (default %(default)s)",
    )
    parser.add_argument("--fp16", action="store_true", help="make an artefact of 16 bits too")
    parser.add_argument(
        "--max-drop",
        type=float,
        default=0.01,
        help="accuracy that an artefact may lose on the calibration split and still ship (default %(default)s)",
    )
    parser.add_argument(
        "--exclude", metavar="NODE", action="append", default=[], help="leave this node in full precision; repeatable"
    )
    parser.add_argument(
        "--search-s",
        type=float,
        default=60.0,
        help="seconds to look for nodes to leave in full precision when int8 loses too much (default %(default)s)",
    )
    parser.add_argument(
        "--qat-steps",
        type=int,
        help="steps of training with int8's rounding when it still does; 0 for none (default: the recipe's, or 200)",
    )
    parser.add_argument(
        "--tflite", action="store_true", help="make int8.tflite too; needs './scripts/setup tflite-export' once (2 GB)"
    )
    parser.add_argument("--debug", action="store_true", help="show what each tensor loses to int8, the worst first")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Quantize."""
    # Here, so that --help does not load what quantizing needs.
    from cloud.commands.quantize_view import (
        COLUMNS,
        DEBUG_COLUMNS,
        artefact_row,
        quantize_json,
        tensor_row,
    )
    from cloud.quantize.debug_report import read_debug
    from cloud.quantize.job import QuantizeJob, check_job, parse_methods, parse_schemes
    from cloud.quantize.tflite_export import TfliteJob, check_tflite_job
    from cloud.retrain.launch import launch_quantize, launch_tflite
    from cloud.retrain.progress import show_progress
    from cloud.retrain.run_folder import RunFolder

    job = QuantizeJob(
        args.run_folder,
        parse_methods(args.methods),
        images=args.images,
        max_drop=args.max_drop,
        alpha=args.alpha,
        delta=args.delta,
        schemes=parse_schemes(args.schemes),
        fp16=args.fp16,
        exclude=tuple(args.exclude),
        search_s=args.search_s,
        qat_steps=args.qat_steps,
        debug=args.debug,
    )
    check_job(job)
    convert = TfliteJob(args.run_folder, args.images, args.alpha, args.delta) if args.tflite else None
    if convert is not None:
        check_tflite_job(convert)  # what is missing is said before minutes of work, not after
    report = launch_quantize(job, show_progress)
    tflite = launch_tflite(convert, show_progress) if convert is not None else None
    debug = read_debug(RunFolder(Path(args.run_folder))) if args.debug else None
    if args.json:
        print_json(quantize_json(args.run_folder, report, debug, tflite))
        return 0
    rows = [*report.artefacts, *([tflite.artefact] if tflite is not None else [])]
    print_table(COLUMNS, [artefact_row(each) for each in rows])
    if debug is not None:
        print_table(DEBUG_COLUMNS, [tensor_row(each) for each in debug.tensors])
    if any(each.scheme == "s8s8" for each in rows):
        print("s8s8 is for TensorRT: no CPU should run it, and its time here says nothing")
    for warning in report.warnings:
        print(f"warning: {warning}")
    print(f"{report.ships} ships; pass at {report.thresholds.pass_at:g}: {report.thresholds.method}")
    if report.also:
        print(f"a release may carry too: {', '.join(report.also)}")
    print(f"next: plumbline-cloud gate {args.run_folder}")
    return 0
