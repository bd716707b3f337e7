"""plumbline-cloud gate: may a quantized run be released?"""

from __future__ import annotations

import argparse
import sys

from cloud.commands.output import Subparsers, print_json

EXIT_FAILED = 3


def register(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "gate",
        help="judge a quantized run, alone or against the model in charge",
        epilog="example: plumbline-cloud gate runs/next --incumbent runs/base\n\n"
        "exit code: 0 every check held, 3 one did not\nthen:      plumbline-cloud release runs/next --version v2",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run_folder", metavar="RUN", help="a quantized run folder")
    parser.add_argument("--incumbent", metavar="DIR", help="run or unpacked bundle of the model in charge")
    parser.add_argument("--min-accuracy", type=float, help="floor on the holdout's accuracy")
    parser.add_argument("--min-recall", type=float, help="floor on every label's recall")
    parser.add_argument("--margin", type=float, help="how much worse than the incumbent it might be")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Gate."""
    # Here, so that --help does not load what the gate needs.
    import msgspec

    from cloud.gate.scorecard import GateRules
    from cloud.quantize.gate_run import GateJob
    from cloud.retrain.launch import launch_gate
    from cloud.retrain.progress import show_progress

    given = {"min_accuracy": args.min_accuracy, "min_recall": args.min_recall, "margin": args.margin}
    rules = GateRules(**{name: value for name, value in given.items() if value is not None})
    report = launch_gate(GateJob(args.run_folder, args.incumbent, rules), show_progress)
    if args.json:
        print_json(msgspec.to_builtins(report))
    else:
        for check in report.checks:
            print(f"{'held  ' if check.passed else 'FAILED'}  {check.name}: {check.sentence}")
    if report.passed:
        if not args.json:
            print("the gate is passed")
        return 0
    failed = "; ".join(f"{check.name}: {check.sentence}" for check in report.failures())
    print(f"the gate failed: {failed}", file=sys.stderr)
    return EXIT_FAILED
