"""plumbline-cloud drift: what the detectors say of a station, of two folders of images, and of a fleet that was never built."""

from __future__ import annotations

import argparse
from pathlib import Path
from urllib.parse import quote

from cloud.commands import drift_check, drift_simulate
from cloud.commands.output import Subparsers, print_json
from cloud.commands.server_api import ask_server
from cloud.ports.series import series_name
from cloud.settings import load_settings

_EXAMPLE = """examples:
  plumbline-cloud drift report --station line3-cam1 --config plant/cloud.toml
  plumbline-cloud drift report --station line3-cam1 --camera left --config plant/cloud.toml
  plumbline-cloud drift re-enrol --station line3-cam1 --reason 'lamp replaced' --config plant/cloud.toml

  plumbline-cloud drift check images/january images/june
  plumbline-cloud drift simulate --stations 500 --days 30

exit codes: 0 nothing drifts, 3 the station is alarmed (report) or the folders differ (check), 1 error"""


def register(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "drift",
        help="report a station's drift, learn it anew after service, compare folders, simulate a fleet",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    report = actions.add_parser("report", help="say what the detectors say of a station")
    report.set_defaults(run=_report)
    anew = actions.add_parser("re-enrol", help="take what the station sees from now on as its normal")
    anew.add_argument("--reason", required=True, help="why, for the audit log")
    anew.set_defaults(run=_re_enrol)
    drift_check.register_options(
        actions.add_parser(
            "check",
            help="say whether a folder of images is like another",
            epilog="example: plumbline-cloud drift check images/january images/june --json",
        )
    )
    drift_simulate.register_options(
        actions.add_parser(
            "simulate",
            help="say how often a simulated fleet is flagged falsely, and how late truly",
            epilog="example: plumbline-cloud drift simulate --stations 500 --days 30 --drifting 0",
        )
    )
    for action in (report, anew):
        action.add_argument("--station", required=True, help="the station's id")
        action.add_argument("--camera", help="one camera of a station that has several (report: default the gravest)")
        action.add_argument("--config", type=Path, default=Path("cloud.toml"), help="cloud.toml (default %(default)s)")
        action.add_argument("--json", action="store_true", help="print JSON")


def _report(args: argparse.Namespace) -> int:
    query = "" if args.camera is None else f"?camera={quote(args.camera, safe='')}"
    status = ask_server(load_settings(args.config), "GET", f"/v1/drift/{quote(args.station, safe='')}{query}")
    if args.json:
        print_json(status)
    else:
        print(f"{status['station']}: {status['phase']}; {status['sentence']}")
        print(
            f"  baseline: {status['enrolled']} of {status['enrol_windows']} windows; judged: {status['judged']} windows"
        )
        for doubt in status["doubts"]:
            print(f"  the baseline is doubtful: {doubt}")
        for item in status["evidence"]:
            print(f"  {item['figure']}: {item['z']:+.1f} sd for {item['windows']} windows")
        if status["labels"]["sentence"]:
            print(f"  labels: {status['labels']['sentence']}")
        for other in status["cameras"]:
            if other["camera"] != status["camera"]:
                print(f"  {other['camera'] or 'the first camera'}: {other['phase']}; {other['sentence']}")
    return 3 if status["phase"] == "alarmed" else 0


def _re_enrol(args: argparse.Namespace) -> int:
    path = f"/v1/drift/{quote(args.station, safe='')}/re-enrol"
    camera = {} if args.camera is None else {"camera": args.camera}
    answer = ask_server(load_settings(args.config), "POST", path, {"reason": args.reason, **camera})
    learnt = series_name(answer["station"], answer["camera"])
    print_json(answer) if args.json else print(f"{learnt} is learnt anew: {args.reason}")
    return 0
