"""./scripts/release: everything that a release is made of, in one folder, and the checks that it must pass."""

from __future__ import annotations

import argparse
import hashlib
import json
import platform as machine
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from contract.errors import LinkDown, NotFound, PlumblineError
from scripts.releases.bill import bill_of, environment_bill, write_bill
from scripts.releases.dependency_walk import installed_by
from scripts.releases.licences import ALLOWED, Licence, licences_of, refused
from scripts.releases.lock import INDEX, LOCKS, PLATFORMS, SETS, Platform, pip_environment
from scripts.releases.packages import build, commit_epoch, uncommitted
from scripts.releases.sizes import MOST_AGENT_MB, installed_mb

# What is released to somebody: a station without and with its parts, and the cloud as its image has it.
BILLS = {"agent": SETS["agent"], "agent-full": SETS["agent-full"], "cloud": ("cloud", "scale", "mlflow")}
_HERE = f"cp3{sys.version_info.minor}-{machine.machine()}"
_EXAMPLES = """\
exit codes: 0 made, and every check held; 3 made, and a check did not hold; 1 not made

examples:
  ./scripts/release --out dist
  ./scripts/release --out dist --wheelhouse cp312-aarch64 --set agent-plc-camera    (asks PyPI)
  ./scripts/release --out dist --json | jq .agent_mb
"""


def locked_hashes(what: str) -> dict[str, str]:
    """Return the SHA-256 of each wheel in the lock of this platform; none where there is no lock."""
    path = LOCKS / f"{what}-{_HERE}.txt"
    lines = path.read_text("utf-8").splitlines() if path.is_file() else []
    return {line.split("==")[0]: line.split(":")[-1] for line in lines if "--hash" in line}


def wheelhouse(out: Path, what: str, platform: Platform, own: Path) -> list[Path]:
    """Put every wheel that such a station needs, and our own, into a folder of `out`; return them.

    Raises:
        NotFound: a wheel is no longer there, or not the one that was locked.
        LinkDown: the index could not be asked.
    """
    folder = out / f"wheelhouse-{what}-{platform.name}"
    shutil.rmtree(folder, ignore_errors=True)
    lock = LOCKS / f"{what}-{platform.name}.txt"
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
    command += ["--require-hashes", "--dest", str(folder), "--index-url", INDEX, *platform.pip_options, "-r", str(lock)]
    done = subprocess.run(command, env=pip_environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        wrong = next((line for line in done.stderr.splitlines() if "ERROR" in line), "pip failed")
        if "HASHES" in wrong or "No matching" in wrong:
            raise NotFound(f"{lock.name}: {wrong}", hint="./scripts/lock --check says which locks are out of date")
        raise LinkDown(f"{lock.name}: {wrong}", hint=f"is {INDEX} reachable?")
    shutil.copy2(own, folder / own.name)
    return sorted(folder.iterdir())


def released(out: Path, houses: Sequence[tuple[str, Platform]]) -> dict[str, Any]:
    """Make everything in `out` and return the summary; its "wrong" names what did not hold.

    Raises:
        NotFound, LinkDown: see `wheelhouse`.
        RefusedError: a bill of materials does not match its schema.
        subprocess.CalledProcessError: a tool failed.
    """
    out.mkdir(parents=True, exist_ok=True)
    epoch = commit_epoch()
    with tempfile.TemporaryDirectory() as work:
        wheel, archive = build(out, Path(work) / "copy", epoch)
    version = wheel.name.split("-")[1]
    files = [wheel, archive]
    everything = environment_bill()
    installed = {what: installed_by(*extras) for what, extras in BILLS.items()}
    for what, names in installed.items():
        path = out / f"sbom-{what}.cdx.json"
        write_bill(path, bill_of(everything, ",".join(BILLS[what]), names, version, locked_hashes(what)))
        files.append(path)
    # pip stands beside what was asked for, in every environment, and goes out with none.
    licences = licences_of(frozenset().union(*installed.values()) - {"pip", "setuptools"})
    files.append(_written(out / "licences.json", [_told(each, installed) for each in licences]))
    sizes = installed_mb(installed["agent"] - {"pip"}, wheel)
    files.append(_written(out / "sizes.json", {name: round(size, 3) for name, size in sizes.items()}))
    for what, platform in houses:
        files += wheelhouse(out, what, platform, wheel)
    sums = "".join(f"{hashlib.sha256(each.read_bytes()).hexdigest()}  {each.relative_to(out)}\n" for each in files)
    (out / "SHA256SUMS").write_text(sums, "utf-8")
    total = sum(sizes.values())
    wrong = [f"licence: {line}" for line in refused(licences)]
    if total > MOST_AGENT_MB:
        wrong.append(f"size: [agent] takes {total:.1f} MB of {MOST_AGENT_MB:g}")
    return {
        "version": version,
        "commit_epoch": epoch,
        "uncommitted": uncommitted(),
        "wheel_sha256": hashlib.sha256(wheel.read_bytes()).hexdigest(),
        "files": [str(each.relative_to(out)) for each in files],
        "agent_mb": round(total, 1),
        "largest_mb": {name: round(size, 1) for name, size in list(sizes.items())[:8]},
        "packages": {what: len(names - {"pip"}) for what, names in installed.items()},
        "licences": {
            what: dict(sorted(Counter(each.strictest.word for each in licences if each.package in names).items()))
            for what, names in installed.items()
        },
        "allowed": {each.package: ALLOWED[each.package].why for each in licences if each.package in ALLOWED},
        "wrong": wrong,
    }


def _written(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
    return path


def _told(licence: Licence, installed: dict[str, frozenset[str]]) -> dict[str, object]:
    return {
        "package": licence.package,
        "version": licence.version,
        "licence": licence.said,
        "kind": licence.strictest.word,
        **({"brings": licence.brings} if licence.brings else {}),
        **({"allowed": ALLOWED[licence.package].why} if licence.package in ALLOWED else {}),
        "in": [what for what, names in installed.items() if licence.package in names],
    }


def table(summary: dict[str, Any]) -> str:
    """Return the summary for a person."""
    lines = [f"plumbline-edge {summary['version']}, {len(summary['files'])} files with SHA256SUMS", ""]
    lines += [f"{size:8.1f} MB  {name}" for name, size in summary["largest_mb"].items()]
    lines += [f"{summary['agent_mb']:8.1f} MB  [agent] installed, of {MOST_AGENT_MB:g} MB", ""]
    for what, kinds in summary["licences"].items():
        told = ", ".join(f"{n} {kind}" for kind, n in kinds.items())
        lines.append(f"{what:<12} {summary['packages'][what]:>4} packages: {told}")
    if changed := summary["uncommitted"]:
        lines.append(f"NOT A RELEASE: {len(changed)} files have changes that no commit has, e.g. {changed[0]}")
    lines += ["", *(f"allowed  {name}: {why}" for name, why in summary["allowed"].items())]
    return "\n".join([*lines, *(f"WRONG    {line}" for line in summary["wrong"])])


def main(arguments: Sequence[str] | None = None) -> int:
    """Make a release and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="./scripts/release",
        description="Make a release: wheel, source archive, bills of materials, licences, sizes, checksums; wheels for stations.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=Path("dist"), metavar="DIR", help="where to (default %(default)s)")
    parser.add_argument(
        "--wheelhouse", action="append", default=[], metavar="PLATFORM", choices=[each.name for each in PLATFORMS],
        help="also every wheel that such a station needs, for a stick without a network: e.g. cp312-aarch64",
    )  # fmt: skip
    choices = sorted(set(SETS) - {"jetson"})
    parser.add_argument("--set", default="agent", choices=choices, help="which of them (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args(arguments)
    try:
        summary = released(args.out, [(args.set, each) for each in PLATFORMS if each.name in args.wheelhouse])
    except PlumblineError as error:
        print(f"error: {error.one_line()}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"error: {error}: {str(error.stderr or '').strip()[-500:]}", file=sys.stderr)
        return 1
    print(json.dumps(summary, indent=1) if args.json else table(summary))
    return 3 if summary["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
