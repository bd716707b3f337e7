"""`plumbline-agent infer`: judge image files, whole folders, or images from a pipe, with a bundle."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from contract.errors import InvalidConfig, PlumblineError

if TYPE_CHECKING:
    from collections import Counter

    from agent.commands.batch import Judge

_EXAMPLE = """\
Each line: image, verdict, label, confidence, milliseconds, bundle. REVIEW means unsure, or that the image could not be
judged. The exit code is 1 when an image could not be judged; the others are judged all the same. Where the model's labels do
not exclude each other, every further defect follows the first with its own confidence: "dent  0.910, scratch  0.740" here,
"also": [{"label": "scratch", "confidence": 0.74}] in JSON, and the same list in the column "also" of a CSV.

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
    parser.add_argument(
        "--blank-sd",
        type=float,
        default=0.0,
        metavar="SD",
        help="less spread, in grey levels, is REVIEW as blank (0: never)",
    )
    parser.add_argument(
        "--maps",
        type=Path,
        metavar="DIR",
        help="write a picture NAME.map.png of where the model looked, where it can say",
    )
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
    from agent.commands.batch import Judge
    from agent.runtime.load import load_first
    from agent.slots.unpacked import open_bundle

    if bool(args.images) is args.stdin:
        what = "images are named, and --stdin too" if args.stdin else "no image is named"
        raise InvalidConfig(what, hint="name image files or folders, or use --stdin")
    if args.nice > 0:
        os.nice(min(args.nice, 19))
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="plumbline-infer-")))
        bundle = open_bundle(args.bundle, scratch)
        manifest, name = bundle.manifest, f"{bundle.manifest.name} {bundle.manifest.version} {bundle.digest[:12]}"
        runtime, artefact = load_first(Path(bundle.folder), manifest, threads=max(1, args.threads))
        stack.callback(runtime.close)
        if not manifest.guarantees(artefact):
            print(
                f"'{manifest.artefacts[0].file}' does not load here; '{artefact.file}' answers, and passes nothing",
                file=sys.stderr,
            )
        if args.maps is not None and not artefact.activation_map:
            raise InvalidConfig(
                f"'{artefact.file}' does not say where it looks",
                hint="leave --maps out, or release it with an activation map",
            )
        judge = Judge(manifest, runtime, artefact, name, blank_sd=args.blank_sd, maps=args.maps)
        if args.stdin:
            return _serve(judge)
        if args.out is not None:
            return _into_file(args, judge, name)
        return _onto_terminal(args, judge)


def _onto_terminal(args: argparse.Namespace, judge: Judge) -> int:
    from agent.commands.batch import Paper, score_all

    paper = Paper(as_json=args.json)
    in_bulk = any(path.is_dir() for path in args.images)
    took_s = score_all(args.images, judge, paper, progress=False)
    if in_bulk:
        print(_summary(paper.done, took_s, sum(paper.done.values())), file=sys.stderr)
    return 1 if paper.done["failed"] else 0


def _into_file(args: argparse.Namespace, judge: Judge, name: str) -> int:
    import msgspec

    from agent.commands.batch import Sheet, score_all

    sheet = Sheet(args.out, name)
    before = sum(sheet.done.values())
    try:
        if before:
            print(f"going on after {before} images of an earlier run", file=sys.stderr)
        took_s = score_all(args.images, judge, sheet, progress=True)
        sheet.finish()
    finally:
        sheet.close()
    judged = sum(sheet.done.values()) - before
    print(_summary(sheet.done, took_s, judged), file=sys.stderr)
    if args.json:
        counts = {key: sheet.done[key] for key in ("PASS", "REJECT", "REVIEW", "failed")}
        speed = round(judged / took_s, 1) if judged else 0.0
        shown = {"out": str(args.out), "n": sum(sheet.done.values()), **counts, "images_per_s": speed}
        print(msgspec.json.encode(shown).decode())
    return 1 if sheet.done["failed"] else 0


def _summary(done: Counter[str], took_s: float, judged: int) -> str:
    counts = ", ".join(f"{done[key]} {key}" for key in ("PASS", "REJECT", "REVIEW", "failed"))
    speed = f"{judged / took_s:.1f} images/s" if judged and took_s > 0 else "nothing was left to do"
    return f"{sum(done.values())} images: {counts}; {speed}"


def _serve(judge: Judge) -> int:
    """Answer images from stdin with a JSON line each, until it ends."""
    import msgspec

    stdin, stdout = sys.stdin.buffer, sys.stdout.buffer
    while len(head := stdin.read(4)) == 4:
        length = int.from_bytes(head, "big")
        if length > _MAX_PIPED_BYTES:
            raise InvalidConfig(f"an image of {length} bytes was announced", hint="send smaller ones")
        data = stdin.read(length)
        if len(data) != length:
            break
        try:
            scored = judge.score(data, "the image")
        except PlumblineError as error:
            scored = judge.failed("the image", error)
        stdout.write(msgspec.json.encode(scored) + b"\n")
        stdout.flush()
    return 0
