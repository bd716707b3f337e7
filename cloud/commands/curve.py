"""plumbline-cloud curve: what pruning and distillation cost in accuracy and gain in time."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cloud.commands.output import Subparsers, print_json, print_table


def register(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "curve",
        help="accuracy and latency of smaller networks made from a run",
        description="Prune a run's network, or let narrower ones learn from it; train, quantize and measure each.",
        epilog="example: plumbline-cloud curve runs/base --prune 0.25,0.5,0.75 --widths 0.5 --out runs/curve\n\n"
        "Every point is a run under --out, to be gated and released like any other. What is there is not made again.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run_folder", metavar="RUN", help="a quantized run folder")
    parser.add_argument("--out", metavar="DIR", required=True, help="folder for the points, curve.json and curve.png")
    parser.add_argument(
        "--prune", type=_numbers, default=(), metavar="SHARE[,SHARE]", help="shares of channels to take out"
    )
    parser.add_argument(
        "--widths",
        type=_numbers,
        default=(),
        metavar="WIDTH[,WIDTH]",
        help="widths of students, with and without the teacher",
    )
    parser.add_argument(
        "--distil", type=float, default=0.5, help="weight of the teacher's answers (default %(default)s)"
    )
    parser.add_argument("--steps", type=int, help="steps of fine-tuning after pruning (default: the run's recipe)")
    parser.add_argument("--epochs", type=int, help="epochs of students (default: the run's recipe)")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other batches (default %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="print the points as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure."""
    # Here, so that --help does not load what training needs.
    import msgspec

    from cloud.retrain.curve import CurveJob, measure_curve
    from cloud.retrain.curve_plot import plot_curve
    from cloud.retrain.progress import show_progress

    job = CurveJob(
        args.run_folder,
        args.out,
        args.prune,
        args.widths,
        args.distil,
        args.steps,
        args.epochs,
        args.seed,
        args.threads,
    )
    points = measure_curve(job, show_progress)
    picture = Path(args.out) / "curve.png"
    try:
        plot_curve(points, picture)
    except (ImportError, OSError) as error:
        print(f"warning: the curve was not drawn: {error}", file=sys.stderr)
    if args.json:
        print_json(msgspec.to_builtins(points))
        return 0
    rows = [
        (
            p.kind,
            f"{p.amount:g}",
            p.parameters,
            "-" if p.fp32_accuracy is None else f"{p.fp32_accuracy:.4f}",
            "-" if p.accuracy is None else f"{p.accuracy:.4f}",
            p.ships,
            f"{p.size_bytes / 1024:.0f} KiB",
            f"{p.median_ms:.2f} ms",
        )
        for p in points
    ]
    print_table(("network", "amount", "parameters", "fp32", "as it ships", "ships", "size", "median latency"), rows)
    print(f"{picture} shows them; any is a run: plumbline-cloud gate {points[-1].run} --incumbent {args.run_folder}")
    return 0


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(each) for each in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"'{text}' is no list of numbers, e.g. 0.25,0.5") from error
