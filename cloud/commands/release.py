"""plumbline-cloud release: sign a gated run and list it as a version."""

from __future__ import annotations

import argparse
from pathlib import Path

from cloud.commands.mirror import mirror_beside
from cloud.commands.output import Subparsers, print_json
from cloud.settings import load_settings


def register(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "release",
        help="sign a gated training run and list it as a version",
        epilog="example: plumbline-cloud release runs/base --version v1 --config plant/cloud.toml",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run_folder", metavar="RUN", type=Path, help="a run folder, quantized and gated")
    parser.add_argument("--version", required=True, help="a new version name, e.g. v2")
    parser.add_argument(
        "--override-gate", metavar="REASON", default="", help="release a run that failed its gate; kept on record"
    )
    parser.add_argument(
        "--retire-older",
        metavar="REASON",
        default="",
        help="no bundle released before may ever run again on a station that kept this one; there is no way back",
    )
    parser.add_argument(
        "--also",
        action="append",
        default=[],
        metavar="ARTEFACT",
        help="carry this one behind the first: s8s8 (for TensorRT), fp16 or fp32; repeatable",
    )
    parser.add_argument(
        "--tflite", action="store_true", help="release the TFLite artefact (quantize --tflite) instead, by itself"
    )
    parser.add_argument("--actor", default="operator", help="who releases it, for the audit log (default %(default)s)")
    parser.add_argument("--config", type=Path, default=Path("cloud.toml"), help="cloud.toml (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Release a run."""
    from cloud import store_wiring  # here, so that --help does not load what releasing needs

    settings = load_settings(args.config)
    released = store_wiring.release_run(
        settings,
        args.run_folder,
        args.version,
        args.override_gate,
        args.actor,
        args.retire_older,
        tuple(args.also),
        tflite=args.tflite,
    )
    from cloud.registry.catalog import ReleaseState

    staged = released.state is ReleaseState.STAGED
    if args.json:
        facts = {"version": released.version, "bundle": released.digest, "size_bytes": released.size_bytes}
        print_json(facts | {"state": released.state.value})
    elif staged:
        print(f"staged {released.version}: bundle {released.digest[:12]} waits for signatures and is not listed before")
        print("next, to see whose and what to run: plumbline-cloud keys pending")
    else:
        print(f"released {released.version}: bundle {released.digest[:12]}, {released.size_bytes} bytes", flush=True)
        command = f"plumbline-cloud rollout start --version {released.version} --wait --config {args.config}"
        print(f"next: {command}", flush=True)
    if not staged:
        mirror_beside(settings)
    return 0
