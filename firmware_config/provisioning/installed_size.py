"""`python -m firmware_config.provisioning.installed_size`: what `plumbline-edge[agent]` takes on this disk, by package.

Camera and GPU parts (the other extras) are shown and not counted; pip, which every virtual environment has, is neither.
"""

from __future__ import annotations

import argparse
import sys
from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_EPILOG = """\
Exit code 0: at most --most-mb; 1: more.

example:
  /opt/plumbline/current/bin/python -m firmware_config.provisioning.installed_size --most-mb 180
"""
_TOOLS = {"pip", "setuptools", "wheel"}


def agent_packages() -> set[str]:
    """Return the names of plumbline-edge and everything its extra [agent] needs, requirements of requirements included."""
    waiting: list[tuple[str, tuple[str, ...]]] = [("plumbline-edge", ("", "agent"))]
    seen: set[str] = set()
    while waiting:
        name, extras = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        try:
            lines = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            seen.discard(name)
            continue
        for line in lines:
            needed = Requirement(line)
            if needed.marker is None or any(needed.marker.evaluate({"extra": each}) for each in extras):
                waiting.append((canonicalize_name(needed.name), ("", *needed.extras)))
    return seen - _TOOLS


def installed_bytes() -> dict[str, int]:
    """Return the bytes of each installed package's files, compiled ones included, largest first."""
    sizes: dict[str, int] = {}
    for distribution in metadata.distributions():
        name = canonicalize_name(distribution.metadata["Name"])
        if name in _TOOLS or name in sizes:
            continue
        files = (distribution.locate_file(each) for each in distribution.files or [])
        # RECORD names files that a package's own tool may have removed.
        sizes[name] = sum(file.stat().st_size for file in files if file.is_file())  # type: ignore[attr-defined]
    return dict(sorted(sizes.items(), key=lambda each: -each[1]))


def main(arguments: list[str] | None = None) -> int:
    """Print a line a package, and the sum."""
    parser = argparse.ArgumentParser(
        prog="python -m firmware_config.provisioning.installed_size",
        description="Show what the agent takes on this disk, by package.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--most-mb", type=float, default=180.0, help="of the agent in 10^6 bytes (default %(default)g)")
    args = parser.parse_args(arguments)
    counted, sizes = agent_packages(), installed_bytes()
    for name, size in sizes.items():
        print(f"{size / 1e6:8.2f} MB  {name}{'' if name in counted else '  (an extra, not counted)'}")
    total_mb = sum(size for name, size in sizes.items() if name in counted) / 1e6
    print(f"{total_mb:8.2f} MB  plumbline-edge[agent] and all it needs, of {args.most_mb:g} MB")
    return 0 if total_mb <= args.most_mb else 1


if __name__ == "__main__":
    sys.exit(main())
