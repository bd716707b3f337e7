"""`plumbline-agent config cameras`: ready [source] sections for the cameras that lines have."""

from __future__ import annotations

import argparse
import json

_EPILOG = """\
A section is printed with its comments, to be put in place of agent.toml's [source]; for a further camera, make it [[cameras]] and
add a name.

examples:
  plumbline-agent config cameras
  plumbline-agent config cameras usb-uvc >> agent.toml
"""


def register(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the action."""
    cameras = actions.add_parser(
        "cameras",
        help="print a ready [source] section for a camera",
        description="List the camera profiles, or print the [source] section of one.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    cameras.add_argument("name", nargs="?", metavar="NAME", default="", help="which; without it they are listed")
    cameras.add_argument("--json", action="store_true", help="print JSON")
    cameras.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print them."""
    from agent.camera_profiles import camera_names, camera_profile

    profiles = [camera_profile(name) for name in ([args.name] if args.name else camera_names())]
    if args.json:
        told = [{"name": each.name, "title": each.title, "source": each.source} for each in profiles]
        print(json.dumps(told[0] if args.name else told, indent=2))
    elif args.name:
        print(profiles[0].text, end="")
    else:
        width = max(len(each.name) for each in profiles)
        for each in profiles:
            print(f"{each.name:{width}}  {each.title}")
    return 0
