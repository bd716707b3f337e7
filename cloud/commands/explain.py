"""plumbline-cloud explain: what of an image made a model say what it said."""

from __future__ import annotations

import argparse
from pathlib import Path

from cloud.commands.output import Subparsers, print_json

_METHODS = ("occlusion", "integrated-gradients", "activation-map")


def register(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "explain",
        help="show what of an image speaks for a model's answer",
        description="Write a picture: the image in grey, and over it in orange what spoke for the answer.",
        epilog="example: plumbline-cloud explain runs/next parts/0001.png --method occlusion --out why.png",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run_folder", metavar="RUN", help="a trained run folder; its full-precision model is asked")
    parser.add_argument("image", metavar="IMAGE", help="an image file")
    parser.add_argument("--out", metavar="PNG", required=True, help="the picture to write; a .json lies beside it")
    parser.add_argument(
        "--method",
        choices=_METHODS,
        default="occlusion",
        help="occlusion: cover squares and see the score fall; integrated-gradients: which pixels move the score;"
        " activation-map: where the last features speak for it (default %(default)s)",
    )
    parser.add_argument("--label", help="the answer to explain (default: the model's own)")
    parser.add_argument("--json", action="store_true", help="print what came of it as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Explain."""
    # Here, so that --help does not load what explaining needs.
    from cloud.retrain.explain import ExplainJob, Method, explain
    from cloud.retrain.progress import show_progress

    job = ExplainJob(args.run_folder, args.image, args.out, Method(args.method), args.label)
    found = explain(job, show_progress)
    if args.json:
        print_json(
            {
                "label": found.label,
                "said": found.said,
                "confidence": found.confidence,
                "method": found.method.value,
                "picture": args.out,
                "found": found.looked is not None,
            }
        )
        return 0
    print(f"the model says '{found.said}' with confidence {found.confidence:.3f}")
    if found.looked is None:
        print(f"nothing in the image speaks for '{found.label}'")
    print(f"{Path(args.out)} shows what speaks for '{found.label}' ({found.method.value})")
    return 0
