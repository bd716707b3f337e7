"""`plumbline-agent infer`: judge image files, whole folders, or images from a pipe, with a bundle."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from contract.errors import BadImage, InvalidConfig, NotFound, PlumblineError

if TYPE_CHECKING:
    from agent.commands.batch import Scored, Sheet
    from agent.ports.slots import InstalledBundle

_EXAMPLE = """\
Each line: image, verdict, label, confidence, milliseconds, bundle. REVIEW means unsure, or that the image could not be
judged. The exit code is 1 when an image could not be judged; the others are judged all the same.

--out FILE scores in bulk: CSV for a name that ends in .csv, else JSON lines. The file appears under its name when it is
complete; until then it is FILE.part, and the same command goes on where a stopped one left off. Progress is on stderr.

example:
  plumbline-agent infer --bundle steel.plb parts/*.png
  plumbline-agent infer --bundle steel.plb --json parts/0001.png | jq .verdict
  plumbline-agent infer --bundle steel.plb archive/2026-10 --out october.csv
"""
_MAX_PIPED_BYTES = 256 << 20


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "infer",
        help="judge image files with a bundle",
        description="Judge image files and folders with a bundle, exactly as the station would.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--bundle", required=True, type=Path, metavar="B", help="a .plb archive or an unpacked bundle")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="threads the runtime may use (1)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write .csv or JSON lines to FILE instead of printing")
    parser.add_argument("--blank-sd", type=float, default=0.0, metavar="SD", help="less spread, in grey levels, is REVIEW as blank (0: never)")
    parser.add_argument("--nice", type=int, default=0, metavar="N", help="give way to other programs by N, 0 to 19")
    parser.add_argument(
        "--stdin",
        action="store_true",
        help="for programs: read images from stdin, each as 4 bytes of length (big-endian) and its file's bytes",
    )
    parser.add_argument("images", nargs="*", type=Path, metavar="IMAGE", help="image files, or folders of them")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Judge; return 1 when an image could not be judged."""
    from agent.commands.batch import Judge, Paper, Sheet
    from agent.runtime.load import load_first
    from agent.wiring import open_bundle

    if bool(args.images) == args.stdin:
        raise InvalidConfig("nothing to judge" if not args.images else "images are named, and --stdin too",
                            hint="name image files or folders, or use --stdin")  # fmt: skip
    if args.nice > 0:
        os.nice(min(args.nice, 19))
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="plumbline-infer-")))
        bundle = open_bundle(args.bundle, scratch)
        runtime, artefact = load_first(Path(bundle.folder), bundle.manifest, threads=max(1, args.threads))
        stack.callback(runtime.close)
        judge = Judge(bundle.manifest, runtime, artefact.output, blank_sd=args.blank_sd)
        if args.stdin:
            return _serve(judge, bundle)
        if args.out is None and not any(path.is_dir() for path in args.images):
            return _print_each(args, judge, bundle)
        sheet: Sheet | Paper = (
            Sheet(args.out, _name(bundle)) if args.out is not None else Paper(_name(bundle), as_json=args.json)
        )
        with sheet:
            return _score_all(args.images, judge, sheet)


def _print_each(args: argparse.Namespace, judge: Judge, bundle: InstalledBundle) -> int:
    from agent.commands.batch import Paper

    paper, failed = Paper(_name(bundle), as_json=args.json), False
    for path in args.images:
        scored = judge.score_file(path)
        failed = failed or bool(scored.error)
        paper.add(scored)
    return 1 if failed else 0
