"""`plumbline-cloud bundle`: bundles as files."""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

_EXAMPLE = """\
examples:
  plumbline-cloud bundle import mobilenet_v2.tflite --labels labels.txt --out mobilenet.plb
  plumbline-cloud bundle inspect mobilenet.plb --json
  plumbline-cloud bundle verify mobilenet.plb --selftest
  plumbline-cloud bundle verify v1.plb --root root.json --metadata registry/tuf/metadata

Exit code 0: all that was asked holds; 1: it does not, with one line why.
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
    inspect.add_argument("bundle", type=Path, metavar="B", help="a .plb file, or the folder that one was unpacked into")
    inspect.add_argument("--card", action="store_true", help="print the model card that travels in it instead")
    inspect.add_argument("--json", action="store_true", help="print all of it as one JSON object")
    inspect.set_defaults(run=_inspect)
    verify = add(actions, "verify", "check a bundle: every byte, and as asked its signatures and its golden answers")
    verify.add_argument("bundle", type=Path, metavar="B", help="a .plb file, or the folder that one was unpacked into")
    verify.add_argument("--root", type=Path, metavar="FILE", help="the root.json that stations pin; with --metadata")
    verify.add_argument(
        "--metadata",
        type=Path,
        metavar="DIR",
        help="a TUF repository's metadata folder, which must vouch for the bundle",
    )
    verify.add_argument("--selftest", action="store_true", help="run its golden inputs here, within its tolerance")
    verify.add_argument("--json", action="store_true", help="print one JSON object")
    verify.set_defaults(run=_verify)


def _import(args: argparse.Namespace) -> int:
    from cloud.clock import SystemClock
    from cloud.registry.import_model import import_model
    from cloud.registry.resources import measure

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
        measure=measure,
    )
    _show_checked(path, digest, args.json)
    return 0


def _verify(args: argparse.Namespace) -> int:
    from cloud.registry.packed_again import as_archive
    from contract.errors import InvalidConfig

    if (args.root is None) != (args.metadata is None):
        raise InvalidConfig("--root and --metadata go together", hint="the root is what the metadata is checked under")
    with as_archive(args.bundle) as archive:
        return _verify_archive(args, archive)


def _verify_archive(args: argparse.Namespace, archive: Path) -> int:
    from cloud.clock import SystemClock
    from cloud.registry.bundle import open_bundle, unpack_bundle

    manifest, digest = open_bundle(archive)
    size_bytes = archive.stat().st_size
    shown: dict[str, Any] = {"bundle": str(args.bundle), "digest": digest, "size_bytes": size_bytes}
    lines = [f"{args.bundle}: bundle {digest}, {size_bytes} bytes, whole"]
    if args.root is not None:
        from cloud.registry.vouching import vouched_for

        vouched = vouched_for(digest, size_bytes, args.root, args.metadata, SystemClock().now())
        shown["vouched"] = asdict(vouched)
        released = f"released as {vouched.released_as}, " if vouched.released_as else ""
        lines.append(
            f"vouched for: {released}targets version {vouched.targets_version}, snapshot {vouched.snapshot_version},"
            f" timestamp {vouched.timestamp_version}, root {vouched.root_version}"
        )
    if args.selftest:
        from cloud.registry.resources import run_golden

        with tempfile.TemporaryDirectory(prefix="plumbline-verify-") as scratch:
            unpack_bundle(archive, Path(scratch))
            trial = run_golden(Path(scratch))
        shown["selftest"] = trial
        off = "no golden scores to compare with"
        if trial.max_abs_error is not None and manifest.golden is not None:
            off = f"at most {trial.max_abs_error:.2g} off, {manifest.golden.max_abs_error:g} is allowed"
        lines.append(f"self-test: {trial.inputs} inputs, {off}; {trial.memory_mib:.0f} MiB of memory")
    print(msgspec.json.encode(shown).decode() if args.json else "\n".join(lines))
    return 0


def _inspect(args: argparse.Namespace) -> int:
    from cloud.commands.bundle_view import inspection_lines
    from cloud.registry.bundle import read_file
    from cloud.registry.inspection import inspect_bundle
    from cloud.registry.packed_again import as_archive
    from contract.errors import NotFound

    with as_archive(args.bundle) as archive:
        found = inspect_bundle(archive)
        card = read_file(archive, found.manifest.model_card) if args.card and found.manifest.model_card else b""
    if args.card:
        if not found.manifest.model_card:
            raise NotFound(f"'{args.bundle}' has no model card", hint="it was made before bundles had one")
        print(card.decode(errors="replace"), end="")
    elif args.json:
        print(msgspec.json.encode(found).decode())
    else:
        print("\n".join(inspection_lines(found)))
    return 0


def _show_checked(path: Path, digest: str, as_json: bool) -> None:
    if as_json:
        print(msgspec.json.encode({"bundle": str(path), "digest": digest, "size_bytes": path.stat().st_size}).decode())
    else:
        print(f"{path}: bundle {digest}, {path.stat().st_size} bytes, whole")
