"""plumbline-cloud quantize: a trained run's int8 artefact, thresholds and golden vectors, with figures."""

from __future__ import annotations

import argparse

from cloud.commands.output import Subparsers, print_json, print_table


def register(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "quantize",
        help="make and measure a trained run's int8 artefact",
        epilog="example: plumbline-cloud quantize runs/base\n\nthen:    plumbline-cloud gate runs/base",
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
        default=0.02,
        help="share of defects allowed among automatic PASSes (default %(default)s)",
    )
    parser.add_argument("--delta", type=float, default=0.1, help="chance that this promise fails (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Quantize."""
    # Here, so that --help does not load what quantizing needs.
    from cloud.quantize.quantize_run import QuantizeJob, parse_methods
    from cloud.retrain.launch import launch_quantize
    from cloud.retrain.progress import show_progress

    job = QuantizeJob(
        args.run_folder, parse_methods(args.methods), images=args.images, alpha=args.alpha, delta=args.delta
    )
    report = launch_quantize(job, show_progress)
    if args.json:
        print_json(
            {
                "run": args.run_folder,
                "ships": report.ships,
                "artefacts": {
                    a.precision: {
                        "file": a.file,
                        "method": a.method,
                        "accuracy": a.accuracy,
                        "drift_accuracy": a.drift_accuracy,
                        "agreement_with_fp32": a.agreement_with_fp32,
                        "size_bytes": a.size_bytes,
                        "median_ms": a.median_ms,
                    }
                    for a in report.artefacts
                },
                "thresholds": {
                    "pass_at": report.thresholds.pass_at,
                    "reject_at": report.thresholds.reject_at,
                    "method": report.thresholds.method,
                },
                "seconds": report.seconds,
            }
        )
        return 0
    rows = [
        (
            a.file,
            a.method,
            f"{a.accuracy:.4f}" if a.accuracy is not None else "-",
            f"{a.drift_accuracy:.4f}" if a.drift_accuracy is not None else "-",
            f"{a.agreement_with_fp32:.4f}",
            f"{a.size_bytes / 1024:.0f} KiB",
            f"{a.median_ms:.2f} ms",
        )
        for a in report.artefacts
    ]
    print_table(("artefact", "calibration", "accuracy", "drifted", "agreement", "size", "median latency"), rows)
    print(f"{report.ships} ships; pass at {report.thresholds.pass_at:g}: {report.thresholds.method}")
    print(f"next: plumbline-cloud gate {args.run_folder}")
    return 0
