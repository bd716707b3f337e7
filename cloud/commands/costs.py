"""plumbline-cloud costs: bytes, images and cloud calls by station or day, and what retrains took."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from cloud.commands.output import Subparsers, print_json, print_table
from cloud.commands.server_api import ask_server
from cloud.settings import load_settings

_MIB = 1 << 20


def register(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "costs",
        help="bytes, images and cloud calls by station or day, and what retrains took",
        epilog="example: plumbline-cloud costs --by day --days 7 --config plant/cloud.toml\n\n"
        "exit codes: 0 done, 1 error or refused, 2 wrong usage",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--by", choices=("station", "day"), default="station", help="add up by (default %(default)s)")
    parser.add_argument("--days", type=int, default=28, help="of the last so many days, UTC (default %(default)s)")
    parser.add_argument("--config", type=Path, default=Path("cloud.toml"), help="cloud.toml (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the costs."""
    answer = ask_server(load_settings(args.config), "GET", f"/v1/costs?by={args.by}&days={args.days}")
    if args.json:
        print_json(answer)
        return 0
    header = (args.by, "summaries MiB", "images", "images MiB", "questions MiB", "answered", "refused", "dropped")
    print_table(header, [_row(each) for each in (*answer["rows"], answer["total"])])
    for each in answer["retrains"]:
        won = "" if each["points"] is None else f", {each['points']:+.1f} points on drifted images"
        took = f"{each['gpu_minutes']:.1f} GPU and {each['cpu_minutes']:.1f} CPU minutes"
        print(f"retrain {each['retrain']} for {each['station']}, {each['state']}: {took}, {each['labels']} labels{won}")
    if answer["minutes_per_point"] is not None:
        print(f"{answer['minutes_per_point']:.2f} minutes of training for each point won back")
    return 0


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        row["name"],
        f"{row['summary_bytes'] / _MIB:.1f}",
        f"{row['images']:.0f}",
        f"{row['image_bytes'] / _MIB:.1f}",
        f"{row['fallback_bytes'] / _MIB:.1f}",
        *(f"{row[f'cloud_{what}']:.0f}" for what in ("answered", "refused", "dropped")),
    )
