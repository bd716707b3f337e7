"""`plumbline-agent simulate`: make labelled images of simulated parts, and upset a running station's simulated camera."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contract.errors import InvalidConfig

if TYPE_CHECKING:
    from agent.sources.camera_model import CameraSettings

_SIMULATED = "these images are SIMULATED: a program makes them, no camera took them"
_OPTICAL: dict[str, tuple[type, str]] = {
    "gain": (float, "exposure, a factor (1 = as the scene)"),
    "vignetting": (float, "share of light lost in the corners, 0..1"),
    "defocus_px": (int, "lens out of focus: blur radius in pixels (1 = 3x3 mean)"),
    "noise_sd": (float, "sensor noise in grey levels"),
    "dust": (float, "dust on the cover glass, 0..1"),
}
_FAULTS = {
    "frozen": "the camera repeats its last image",
    "black": "no light reaches the camera",
    "unplugged": "the camera gives no image",
}


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "simulate",
        help="make simulated parts, or upset a simulated camera",
        description=f"Commissioning without hardware. Beware: {_SIMULATED}.",
        epilog="example:\n  plumbline-agent simulate set controls.json --defocus-px 1",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    _register_export(actions)
    _register_set(actions)


def _register_export(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = actions.add_parser(
        "export",
        help="write labelled simulated images",
        description=f"Write DIR/LABEL/PART.png, one file a simulated part, ready for training. Beware: {_SIMULATED}.\n"
        "Labels: good (about half), pore, scratch, crack, stain. The same arguments always write the same files.",
        epilog="example:\n  plumbline-agent simulate export --out parts --count 1000 --seed 1",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write into; made if missing")
    parser.add_argument("--count", type=int, required=True, metavar="N", help="how many images")
    parser.add_argument("--seed", type=int, required=True, metavar="S", help="which production run, 0 or more")
    parser.add_argument("--first", type=int, default=0, metavar="INDEX", help="first part of the run (default 0)")
    parser.add_argument("--size", type=int, default=128, metavar="PX", help="height and width (default 128)")
    _add_optical(parser)
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    parser.set_defaults(run=run_export)


def _register_set(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = actions.add_parser(
        "set",
        help="change a running simulated camera",
        description="Change some settings in a simulated station's controls file, in one step; the station follows at its next\n"
        "frame. Settings not named keep their value; a missing file starts from a clean camera.\n"
        f"Beware: {_SIMULATED}.",
        epilog="examples:\n  plumbline-agent simulate set controls.json --defocus-px 1\n"
        "  plumbline-agent simulate set controls.json --reset --frozen",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("controls", type=Path, metavar="CONTROLS.json", help="the station's controls file")
    parser.add_argument("--reset", action="store_true", help="begin from a clean camera instead of the file")
    _add_optical(parser)
    for key, what in _FAULTS.items():
        parser.add_argument(f"--{key}", action=argparse.BooleanOptionalAction, help=what)
    parser.add_argument("--json", action="store_true", help="print the settings now in force as JSON")
    parser.set_defaults(run=run_set)


def _add_optical(parser: argparse.ArgumentParser) -> None:
    for key, (kind, what) in _OPTICAL.items():
        parser.add_argument(f"--{key.replace('_', '-')}", type=kind, help=what, metavar="X" if kind is float else "R")


def run_set(args: argparse.Namespace) -> int:
    """Change the controls file; return 0."""
    import msgspec

    from agent.sources.camera_model import CLEAN
    from agent.sources.controls import read_controls, write_controls

    if not _named(args) and not args.reset:
        raise InvalidConfig("nothing to set", hint="name a setting, e.g. --defocus-px 1, or --reset for a clean camera")
    base = CLEAN if args.reset or not args.controls.exists() else read_controls(args.controls)
    settings = _changed(base, args)
    write_controls(args.controls, settings)
    if args.json:
        print(json.dumps({"simulated": True, "controls": str(args.controls), "camera": msgspec.to_builtins(settings)}))
    else:
        print(f"{args.controls}: simulated camera {_in_words(settings)}")
    return 0


def run_export(args: argparse.Namespace) -> int:
    """Write the images; return 0."""
    import msgspec

    from agent.sources.camera_model import CLEAN
    from agent.sources.labelled_export import export_parts

    settings = _changed(CLEAN, args)
    report_every = max(args.count // 10, 1)

    def progress(done: int) -> None:
        if done % report_every == 0:
            print(f"{done} of {args.count} simulated images written to {args.out}", file=sys.stderr, flush=True)

    labels = export_parts(
        args.out,
        seed=args.seed,
        first=args.first,
        count=args.count,
        side_px=args.size,
        settings=settings,
        progress=progress,
    )
    if args.json:
        camera = msgspec.to_builtins(settings)
        counts = {"images": args.count, "seed": args.seed, "first": args.first, "size": args.size, "labels": labels}
        print(json.dumps({"simulated": True, "out": str(args.out), **counts, "camera": camera}))
    else:
        shares = ", ".join(f"{count} {label}" for label, count in labels.items())
        print(f"{args.count} SIMULATED images in {args.out}: {shares}; camera {_in_words(settings)}")
    return 0


def _named(args: argparse.Namespace) -> dict[str, Any]:
    values = {key: getattr(args, key, None) for key in (*_OPTICAL, *_FAULTS)}
    return {key: value for key, value in values.items() if value is not None}


def _changed(base: CameraSettings, args: argparse.Namespace) -> CameraSettings:
    import msgspec

    from agent.sources.camera_model import check_settings

    return check_settings(msgspec.structs.replace(base, **_named(args)))


def _in_words(settings: CameraSettings) -> str:
    from agent.sources.camera_model import CLEAN

    keys = (*_OPTICAL, *_FAULTS)
    changed = [f"{key}={getattr(settings, key)}" for key in keys if getattr(settings, key) != getattr(CLEAN, key)]
    return ", ".join(changed) if changed else "clean"
