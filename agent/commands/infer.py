"""`plumbline-agent infer`: judge image files with a bundle, one line an image."""

from __future__ import annotations

import argparse
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from contract.errors import BadImage, NotFound, PlumblineError

_EXAMPLE = """\
Each line: image, verdict, label, confidence, milliseconds, bundle. REVIEW means unsure. The exit code is 1 when an
image could not be judged; the others are judged all the same.

example:
  plumbline-agent infer --bundle steel.plb parts/*.png
  plumbline-agent infer --bundle steel.plb --json parts/0001.png | jq .verdict
"""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "infer",
        help="judge image files with a bundle",
        description="Judge image files with a bundle, exactly as the station would.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--bundle", required=True, type=Path, metavar="B", help="a .plb archive or an unpacked bundle")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="threads the runtime may use (1)")
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="image files")
    parser.set_defaults(run=run)


@dataclass(frozen=True, slots=True)
class _Line:
    image: str
    verdict: str
    label: str
    confidence: float
    ms: float
    bundle: str
    error: str = ""


def run(args: argparse.Namespace) -> int:
    """Print one line an image; return 1 when an image could not be judged."""
    from agent.clock import SystemClock
    from agent.decide.thresholds import decide
    from agent.runtime.load import load_first
    from agent.sources.image_file import read_image
    from agent.wiring import open_bundle
    from contract.decode import decode
    from contract.messages import Verdict
    from contract.preprocess import preprocess

    clock, failed = SystemClock(), False
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="plumbline-infer-")))
        bundle = open_bundle(args.bundle, scratch)
        manifest, name = bundle.manifest, f"{bundle.manifest.name} {bundle.manifest.version} {bundle.digest[:12]}"
        runtime, artefact = load_first(Path(bundle.folder), manifest, threads=max(1, args.threads))
        stack.callback(runtime.close)
        for path in args.images:
            try:
                pixels = read_image(_bytes_of(path), str(path))
                started = clock.monotonic()
                scores = runtime.run(preprocess(pixels, manifest.preprocess))
                prediction = decode(scores, manifest.labels, artefact.output)
                ms = (clock.monotonic() - started) * 1e3
            except PlumblineError as error:
                failed = True
                # P6: what could not be judged is for a person, never "no defect".
                _print(_Line(str(path), Verdict.REVIEW.value, "", 0.0, 0.0, name, error.one_line()), args.json)
                continue
            decision = decide(prediction, manifest.thresholds)
            line = _Line(
                str(path),
                decision.verdict.value,
                prediction.label.name,
                round(prediction.confidence, 4),
                round(ms, 2),
                name,
            )
            _print(line, args.json)
    return 1 if failed else 0


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise NotFound(f"no file '{path}'", hint="check the path") from error
    except OSError as error:
        raise BadImage(f"'{path}' cannot be read: {error.strerror or error}") from error


def _print(line: _Line, as_json: bool) -> None:
    if as_json:
        shown: dict[str, Any] = msgspec.to_builtins(line)
        if not line.error:
            del shown["error"]
        print(msgspec.json.encode(shown).decode(), flush=True)
    elif line.error:
        print(f"{line.image}  {line.verdict}", flush=True)
        print(f"error: {line.error}", file=sys.stderr, flush=True)
    else:
        print(
            f"{line.image}  {line.verdict:<6}  {line.label}  {line.confidence:.3f}  {line.ms:.1f} ms  {line.bundle}",
            flush=True,
        )
