"""plumbline-cloud gate: may a quantized run be released?"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from cloud.commands.output import Subparsers, print_json
from contract.errors import InvalidConfig

if TYPE_CHECKING:
    from cloud.gate.scorecard import GateRules

EXIT_FAILED = 3
_BELOW = 0.25
_BUDGETS = 'JSON: [{"board": "orin", "latency_ms": 5, "memory_mib": 200}, ...], what an inference may take there'
_FIGURES = 'JSON: [{"board": "orin", "median_ms": 3.1, "memory_mib": 140, "source": "..."}, ...], as measured there'
_LABELLED = (
    "parts labelled since, with a labels.jsonl: judged beside those that the retrain set aside, none of them learnt"
)

T = TypeVar("T")


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
    parser.add_argument("--labelled", metavar="DIR", help=_LABELLED)
    parser.add_argument("--min-accuracy", type=float, help="floor on the holdout's accuracy")
    parser.add_argument("--min-recall", type=float, help="floor on every label's recall")
    parser.add_argument(
        "--min-recall-bound",
        type=float,
        help="floor on its lower bound (default 0.5, or 0.25 below a lower --min-recall)",
    )
    parser.add_argument("--margin", type=float, help="how much worse than the incumbent it might be")
    parser.add_argument(
        "--corruption-images", type=int, metavar="N", help="images for each kind and severity (default 16)"
    )
    parser.add_argument("--budgets", metavar="FILE", help=_BUDGETS)
    parser.add_argument("--board-figures", metavar="FILE", help=_FIGURES)
    parser.add_argument("--report", metavar="FILE", help="write the HTML report there too (it is RUN/report.html)")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Gate."""
    # Here, so that --help does not load what the gate needs.
    import msgspec

    from cloud.gate.scorecard import BoardBudget, BoardFigures
    from cloud.quantize.gate_run import GateJob
    from cloud.retrain.launch import launch_gate
    from cloud.retrain.progress import show_progress

    rules = msgspec.structs.replace(rules_of(args), boards=_read(args.budgets, BoardBudget))
    job = GateJob(
        args.run_folder, args.incumbent, rules, boards=_read(args.board_figures, BoardFigures), labelled=args.labelled
    )
    if args.corruption_images is not None:
        if args.corruption_images < 1:
            raise InvalidConfig("--corruption-images is below 1", hint="leave it out for 16")
        job = msgspec.structs.replace(job, corruption_images=args.corruption_images)
    report = launch_gate(job, show_progress)
    page = Path(args.run_folder) / "report.html"
    if args.report is not None:
        page = _copy(page, Path(args.report))
    if args.json:
        print_json(msgspec.to_builtins(report))
    else:
        for check in report.checks:
            print(f"{'held  ' if check.passed else 'FAILED'}  {check.name}: {check.sentence}")
        print(f"report: {page}")
    if report.passed:
        if not args.json:
            print("the gate is passed")
            print(f"next: plumbline-cloud release {args.run_folder} --version VERSION --config CLOUD.TOML")
        return 0
    failed = ", ".join(check.name for check in report.failures())
    print(f"the gate failed: {failed}; {page} shows it", file=sys.stderr)
    return EXIT_FAILED


def rules_of(args: argparse.Namespace) -> GateRules:
    """Return the gate's rules as the command line gives them; boards come from files."""
    from cloud.gate.scorecard import GateRules

    given = {
        "min_accuracy": args.min_accuracy,
        "min_recall": args.min_recall,
        "min_recall_bound": args.min_recall_bound,
        "margin": args.margin,
    }
    if args.min_recall is not None and args.min_recall_bound is None:
        # A floor that is lowered takes its bound along; else 0 would still ask for 0.5.
        given["min_recall_bound"] = min(GateRules().min_recall_bound, max(0.0, args.min_recall - _BELOW))
    return GateRules(**{name: value for name, value in given.items() if value is not None})


def _read(file: str | None, kind: type[T]) -> tuple[T, ...]:
    import msgspec

    if file is None:
        return ()
    try:
        return msgspec.json.decode(Path(file).read_bytes(), type=tuple[kind, ...])  # type: ignore[valid-type]
    except (OSError, msgspec.DecodeError) as error:
        hint = "a JSON list with an entry a board; see 'plumbline-cloud gate --help'"
        raise InvalidConfig(f"{file} does not say what boards take: {error}", hint=hint) from error


def _copy(page: Path, to: Path) -> Path:
    try:
        shutil.copyfile(page, to)
    except OSError as error:
        raise InvalidConfig(f"cannot write {to}: {error.strerror}", hint=f"the report is {page}") from error
    return to
