"""`plumbline-cloud bundle`: bundles as files."""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec

_EXAMPLE = """\
examples:
  plumbline-cloud bundle import mobilenet_v2.tflite --labels labels.txt --out mobilenet.plb
  plumbline-cloud bundle inspect mobilenet.plb --json
  plumbline-cloud bundle verify mobilenet.plb
"""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""

    def add(
        actions: argparse._SubParsersAction[argparse.ArgumentParser], name: str, text: str
    ) -> argparse.ArgumentParser:
        return actions.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            epilog=_EXAMPLE,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    parser = add(subparsers, "bundle", "import, inspect and verify bundles")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    imported = add(actions, "import", "make a bundle of a .tflite or .onnx classifier that was trained elsewhere")
    imported.add_argument("model", type=Path, metavar="MODEL", help="a .tflite or .onnx file")
    imported.add_argument("--labels", required=True, type=Path, metavar="FILE", help="one label a line, in score order")
    imported.add_argument("--out", required=True, type=Path, metavar="B", help="the .plb file to write")
    imported.add_argument("--name", default="", help="the model's name (the file's name)")
    imported.add_argument("--version", default="1", help="its version (1)")
    imported.add_argument(
        "--good", action="append", default=[], metavar="LABEL", help="a label that means a good part; may be repeated"
    )
    imported.add_argument(
        "--mean", type=float, nargs="+", default=[], metavar="X", help="for float inputs, per channel (0)"
    )
    imported.add_argument(
        "--std", type=float, nargs="+", default=[], metavar="X", help="for float inputs, per channel (1)"
    )
    imported.add_argument("--json", action="store_true", help="print one JSON object")
    imported.set_defaults(run=_import)
    inspect = add(actions, "inspect", "show what a bundle says of itself, after checking every byte of it")
    inspect.add_argument("bundle", type=Path, metavar="B", help="a .plb file")
    inspect.add_argument("--json", action="store_true", help="print digest and manifest as one JSON object")
    inspect.set_defaults(run=_inspect)
    verify = add(actions, "verify", "check every byte of a bundle against its manifest")
    verify.add_argument("bundle", type=Path, metavar="B", help="a .plb file")
    verify.add_argument("--json", action="store_true", help="print one JSON object")
    verify.set_defaults(run=_verify)


def _import(args: argparse.Namespace) -> int:
    from cloud.clock import SystemClock
    from cloud.registry.import_model import import_model

    path, digest = import_model(
        args.model,
        args.labels,
        args.out,
        SystemClock().now(),
        name=args.name,
        version=args.version,
        good=args.good,
        mean=args.mean,
        std=args.std,
    )
    _show_checked(path, digest, args.json)
    return 0


def _verify(args: argparse.Namespace) -> int:
    from cloud.registry.bundle import open_bundle

    _, digest = open_bundle(args.bundle)
    _show_checked(args.bundle, digest, args.json)
    return 0


def _inspect(args: argparse.Namespace) -> int:
    from cloud.registry.bundle import open_bundle

    manifest, digest = open_bundle(args.bundle)
    if args.json:
        print(msgspec.json.encode({"digest": digest, "manifest": manifest}).decode())
        return 0
    spec, thresholds = manifest.preprocess, manifest.thresholds
    labels = [f"{label.name} ({label.kind.value})" for label in manifest.labels]
    more = f" and {len(labels) - 8} more" if len(labels) > 8 else ""
    print(f"bundle      {digest}")
    print(
        f"model       {manifest.name} {manifest.version}{'  trained on simulated images' if manifest.simulated else ''}"
    )
    print(f"input       {spec.height} x {spec.width} x {spec.channels} {spec.dtype} {spec.layout}")
    print(f"labels      {', '.join(labels[:8])}{more}")
    print(f"thresholds  pass at {thresholds.pass_at:g}, reject at {thresholds.reject_at:g} ({thresholds.method})")
    for artefact in manifest.artefacts:
        print(f"artefact    {artefact.file}: {artefact.runtime.value}, {artefact.precision}, {artefact.output.value}")
    for entry in manifest.files:
        print(f"file        {entry.name}  {entry.size_bytes} bytes  {entry.sha256[:12]}")
    for name, value in msgspec.structs.asdict(manifest.lineage).items():
        if value:
            print(f"lineage     {name} {value}")
    return 0


def _show_checked(path: Path, digest: str, as_json: bool) -> None:
    if as_json:
        print(msgspec.json.encode({"bundle": str(path), "digest": digest, "size_bytes": path.stat().st_size}).decode())
    else:
        print(f"{path}: bundle {digest}, {path.stat().st_size} bytes, whole")
