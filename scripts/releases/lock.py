"""./scripts/lock: write what a station installs, each wheel with its hash, for every platform that stations have.

A lock has exactly the wheels that pip would choose on such a station, at the versions of constraints.txt. Which packages: the walk
of dependency_walk.py under the platform's own markers, since `pip --python-version` judges markers by the interpreter it runs in
(pypa/pip#11664). What a wheel requires and what its hash is comes from pip's own report of a dry run, so that nothing is installed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from contract.errors import InvalidConfig, LinkDown, NotFound, PlumblineError
from scripts.releases.dependency_walk import ROOT, project_requirements, walk

LOCKS = ROOT / "firmware_config" / "locks"
SETS = {
    "agent": ("agent",),
    "agent-plc-camera": ("agent", "plc", "camera"),
    "agent-full": ("agent", "plc", "camera", "v4l2", "tflite"),
    "jetson": ("jetson",),
}
_SOURCE = "pycuda"
"""Published as source alone; a Jetson's image builds it (firmware_config/image/build-pycuda.sh)."""
_BROUGHT = frozenset({"pip"})
"""What every virtual environment has of its own: sqlite-utils asks for pip, for a command that no station runs."""
INDEX = "https://pypi.org/simple"


@dataclass(frozen=True, slots=True)
class Platform:
    """A kind of station: CPython 3.`minor` on Linux with a CPU `machine` and at least glibc 2.`glibc`."""

    minor: int
    machine: str
    glibc: int

    @property
    def name(self) -> str:
        """Return its name in the locks' file names, e.g. `cp312-aarch64`."""
        return f"cp3{self.minor}-{self.machine}"

    @property
    def environment(self) -> dict[str, str]:
        """Return what a marker is judged by there."""
        here = {key: str(value) for key, value in default_environment().items()}
        version = f"3.{self.minor}"
        return here | {
            "implementation_name": "cpython",
            "implementation_version": f"{version}.0",
            "os_name": "posix",
            "platform_machine": self.machine,
            "platform_python_implementation": "CPython",
            "platform_system": "Linux",
            "python_full_version": f"{version}.0",
            "python_version": version,
            "sys_platform": "linux",
        }

    @property
    def pip_options(self) -> list[str]:
        """Return how pip is told to choose for it."""
        tags = [word for tag in self.tags for word in ("--platform", tag)]
        return ["--implementation", "cp", "--python-version", f"3.{self.minor}", "--only-binary=:all:", *tags]

    @property
    def tags(self) -> list[str]:
        """Return the platform tags whose wheels load there, best first as pip itself sorts them."""
        numbered = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
        found = []
        for glibc in range(self.glibc, 4 if self.machine == "x86_64" else 16, -1):
            found.append(f"manylinux_2_{glibc}_{self.machine}")
            if glibc in numbered:
                found.append(f"{numbered[glibc]}_{self.machine}")
        return [*found, f"linux_{self.machine}"]


# Each with the glibc of the system that has this Python: Ubuntu 22.04 (JetPack 6), Debian 12, Ubuntu 24.04 (JetPack 7), Debian 13.
PLATFORMS = tuple(
    Platform(minor, machine, glibc)
    for minor, glibc in ((10, 35), (11, 36), (12, 39), (13, 41))
    for machine in ("aarch64", "x86_64")
)


def wanted_locks() -> list[tuple[str, Platform]]:
    """Return every set with every platform that it is for: a Jetson's GPU is on no x86_64."""
    return [(what, each) for what in SETS for each in PLATFORMS if what != "jetson" or each.machine == "aarch64"]


@dataclass(frozen=True, slots=True)
class Wheel:
    """One line of a lock: a wheel, or the source of the package that has none."""

    name: str
    version: str
    file: str
    sha256: str


def pins(constraints: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the pinned version of each package that constraints.txt names for this environment.

    Raises:
        InvalidConfig: a line is no exact pin, or two lines pin one package.
    """
    found: dict[str, str] = {}
    for line in constraints.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        pin = Requirement(line)
        if pin.marker is not None and not pin.marker.evaluate(dict(environment)):
            continue
        name, wanted = canonicalize_name(pin.name), list(pin.specifier)
        if [each.operator for each in wanted] != ["=="] or name in found:
            raise InvalidConfig(f"constraints.txt: '{line}' is not one exact pin", hint="one NAME==VERSION a package")
        found[name] = wanted[0].version
    return found


def resolve(extras: Sequence[str], platform: Platform, constraints: str) -> list[Wheel]:
    """Return the wheels that a station of this platform needs, sorted by name.

    Raises:
        NotFound: constraints.txt does not pin a package, or there is no wheel of it for the platform.
        LinkDown: pip could not ask the index.
    """
    environment = platform.environment
    pinned = pins(constraints, environment)
    wheels: dict[str, Wheel] = {}

    def needs(names: Sequence[str]) -> dict[str, list[str]]:
        names = [name for name in names if name not in _BROUGHT]
        if missing := [name for name in names if name not in pinned]:
            raise NotFound(f"constraints.txt pins no {', '.join(missing)}", hint=f"{platform.name} needs it")
        required: dict[str, list[str]] = {name: [] for name in _BROUGHT}
        for wheel, requires in _report([f"{name}=={pinned[name]}" for name in names], platform) if names else ():
            wheels[wheel.name], required[wheel.name] = wheel, requires
        return required

    walk(project_requirements(*extras), needs, environment)
    return [wheels[name] for name in sorted(wheels)]


def _report(requirements: list[str], platform: Platform) -> list[tuple[Wheel, list[str]]]:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        # --ignore-requires-python: pip's check would ask for this interpreter's version; ours is below.
        options = ["--dry-run", "--quiet", "--no-deps", "--ignore-installed", "--ignore-requires-python"]
        where = ["--target", str(Path(folder) / "nowhere"), "--report", str(report), "--index-url", INDEX]
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", *options, *where]
        command += [*platform.pip_options, f"--no-binary={_SOURCE}", *requirements]
        done = subprocess.run(command, env=pip_environment(), capture_output=True, text=True, check=False)
        if done.returncode:
            said = next((line for line in done.stderr.splitlines() if "No matching distribution" in line), "")
            if said:
                raise NotFound(f"no wheel for {platform.name}: {said.split('for ')[-1]}", hint="see constraints.txt")
            raise LinkDown(f"pip failed: {done.stderr.strip()[-300:]}", hint=f"is {INDEX} reachable?")
        items = json.loads(report.read_bytes())["install"]
    for item in items:
        wanted = SpecifierSet(item["metadata"].get("requires_python", ""))
        if f"3.{platform.minor}.99" not in wanted:
            raise NotFound(
                f"{item['metadata']['name']} wants Python {wanted}", hint=f"not {platform.name}: another pin"
            )
    return [(_wheel(item), item["metadata"].get("requires_dist", [])) for item in items]


_NETWORK = ("PIP_CERT", "PIP_PROXY", "PIP_DEFAULT_TIMEOUT", "PIP_RETRIES", "PIP_TRUSTED_HOST")


def pip_environment() -> dict[str, str]:
    """Return the environment for a pip that asks PyPI alone: of the machine's own settings only those that reach the network."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PIP_") or name in _NETWORK}
    return kept | {"PIP_CONFIG_FILE": os.devnull}


def _wheel(item: dict[str, dict[str, object]]) -> Wheel:
    download: dict[str, object] = item["download_info"]
    archive = download["archive_info"]
    assert isinstance(archive, dict)
    return Wheel(
        canonicalize_name(str(item["metadata"]["name"])),
        str(item["metadata"]["version"]),
        str(download["url"]).rsplit("/", 1)[-1],
        str(archive["hashes"]["sha256"]),
    )


def written(what: str, platform: Platform, wheels: Sequence[Wheel]) -> str:
    """Return the text of a lock, as `pip install --require-hashes -r` reads it."""
    where = f"CPython 3.{platform.minor}, Linux {platform.machine}, glibc 2.{platform.glibc}"
    lines = [
        f"# plumbline-edge[{','.join(SETS[what])}] on {where}.",
        "# Written by ./scripts/lock from constraints.txt; not to be edited.",
    ]
    for wheel in wheels:
        lines += [f"# {wheel.file}", f"{wheel.name}=={wheel.version} --hash=sha256:{wheel.sha256}"]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the locks and return the exit code: 0 all written, 3 `--check` found one that is out of date, 1 error."""
    parser = argparse.ArgumentParser(
        prog="./scripts/lock",
        description="Write firmware_config/locks: what a station installs, with hashes, for each platform. Asks PyPI.",
        epilog="example: ./scripts/lock --platform cp312-aarch64\n\n"
        "exit codes: 0 written (--check: up to date), 3 --check found a lock out of date, 1 error",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--platform", action="append", choices=[each.name for each in PLATFORMS], help="these alone (default: all)"
    )
    parser.add_argument(
        "--set", action="append", dest="sets", choices=sorted(SETS), help="these sets of extras alone (default: all)"
    )
    parser.add_argument(
        "--out", type=Path, default=LOCKS, metavar="DIR", help="where to (default: firmware_config/locks)"
    )
    parser.add_argument("--check", action="store_true", help="write nothing; say which locks differ")
    args = parser.parse_args(arguments)
    constraints = (ROOT / "constraints.txt").read_text("utf-8")
    stale, failed = 0, 0
    for what, platform in wanted_locks():
        if platform.name not in (args.platform or [platform.name]) or what not in (args.sets or [what]):
            continue
        path = args.out / f"{what}-{platform.name}.txt"
        try:
            text = written(what, platform, resolve(SETS[what], platform, constraints))
        except PlumblineError as error:
            print(f"error: {path.name}: {error.one_line()}", file=sys.stderr)
            failed += 1
            continue
        same = path.is_file() and path.read_text("utf-8") == text
        stale += not same
        print(f"{path.name:<36} {'as it was' if same else 'differs' if args.check else 'written'}")
        if not same and not args.check:
            args.out.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
    return 1 if failed else 3 if args.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
