"""A release: the same bytes from the same commit, and nothing in it that may not be there."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from contract.errors import RefusedError
from scripts.releases import lock, release
from scripts.releases.bill import bill_of, check_bill
from scripts.releases.dependency_walk import installed_by, walk
from scripts.releases.licences import ALLOWED, Allowed, Kind, Licence, kind_of, licences_of, refused
from scripts.releases.lock import SETS
from scripts.releases.packages import build, commit_epoch, uncommitted
from scripts.releases.sizes import MOST_AGENT_MB, installed_mb


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("MIT", Kind.PERMISSIVE),
        ("Apache Software License; BSD License", Kind.PERMISSIVE),
        ("BSD-3-Clause AND 0BSD AND MIT AND Zlib AND CC0-1.0", Kind.PERMISSIVE),
        ("Apache License, Version 2.0", Kind.PERMISSIVE),
        ("Python Software Foundation License", Kind.PERMISSIVE),
        ("GPL-3.0-or-later WITH GCC-exception-3.1", Kind.PERMISSIVE),
        ("Mozilla Public License 2.0 (MPL 2.0)", Kind.WEAK),
        ("MPL-2.0 AND (Apache-2.0 OR MIT)", Kind.WEAK),
        ("EPL-2.0 OR BSD-3-Clause", Kind.PERMISSIVE),
        ("GNU Lesser General Public License v3 or later (LGPLv3+)", Kind.LGPL),
        ("LGPL-3.0-only", Kind.LGPL),
        ("GPL-3.0-or-later", Kind.GPL),
        ("BSD License; GNU General Public License (GPL); Public Domain", Kind.GPL),
        ("MIT OR GPL-2.0-only", Kind.PERMISSIVE),
        ("MIT AND GPL-2.0-only", Kind.GPL),
        ("GNU Affero General Public License v3", Kind.AGPL),
        ("AGPL-3.0-only", Kind.AGPL),
        ("Proprietary", Kind.UNKNOWN),
        ("UNKNOWN", Kind.UNKNOWN),
        ("", Kind.UNKNOWN),
        ("MIT AND SSPL-1.0", Kind.UNKNOWN),
        ("All rights reserved, see the deployment terms", Kind.UNKNOWN),
        ("For example, no permit", Kind.UNKNOWN),
        ("Proprietary of MPSF Ltd", Kind.UNKNOWN),
        ("MIT-0", Kind.PERMISSIVE),
        ("BSL-1.0", Kind.PERMISSIVE),
        ("PSF-2.0", Kind.PERMISSIVE),
    ],
)
def test_kinds_of_licences(said: str, kind: Kind) -> None:
    assert kind_of(said) is kind


def test_what_is_refused_and_what_a_reason_allows() -> None:
    found = [
        Licence("good", "1", "MIT", Kind.PERMISSIVE),
        Licence("lesser", "1", "LGPL-3.0-only", Kind.LGPL),
        Licence("copy", "1", "GPL-3.0-only", Kind.GPL),
        Licence("server", "1", "AGPL-3.0-only", Kind.AGPL),
        Licence("silent", "1", "", Kind.UNKNOWN),
        Licence("hidden", "1", "BSD-3-Clause", Kind.PERMISSIVE, ("libx264",)),
    ]
    assert [line.split()[0] for line in refused(found, {})] == ["copy", "server", "silent", "hidden"]
    assert "brings libx264" in refused(found, {})[-1] and "nothing said" in refused(found, {})[2]
    # A reason holds up to the kind that it was given for, and no further.
    allowed = {name: Allowed(Kind.GPL, "because") for name in ("copy", "server", "silent", "hidden")}
    assert [line.split()[0] for line in refused(found, allowed)] == ["server", "silent"]


@pytest.fixture(scope="module")
def known() -> dict[str, Licence]:
    names = installed_by(*SETS["agent-full"], "cloud", "scale", "mlflow") - {"pip", "setuptools"}
    return {each.package: each for each in licences_of(names)}


def test_a_station_s_packages_may_all_be_there(known: dict[str, Licence]) -> None:
    names = installed_by("agent", "plc", "camera", "tflite") - {"pip"}
    licences = {name: known[name] for name in names}
    assert refused(licences.values()) == []
    assert licences["asyncua"].kind is Kind.LGPL
    assert set(licences["av"].brings) == {"libx264", "libx265"}, "else ALLOWED needs it no longer"
    # The agent alone is free of the GPL, without any exception being made for it.
    assert refused([licences[name] for name in installed_by("agent") - {"pip"}], {}) == []
    assert max(licences[name].strictest for name in installed_by("agent") - {"pip"}) <= Kind.WEAK


def test_reasons_are_given_only_where_they_are_needed(known: dict[str, Licence]) -> None:
    assert {line.split()[0] for line in refused(known.values(), {})} == set(ALLOWED)


def test_the_agent_is_small_enough() -> None:
    sizes = installed_mb(installed_by("agent") - {"pip"})
    assert {"numpy", "onnxruntime", "pillow", "tuf"} <= set(sizes)
    # Our own files are in no package here: 5 MB are left for them.
    assert 100.0 < sum(sizes.values()) < MOST_AGENT_MB - 5.0
    assert list(sizes.values()) == sorted(sizes.values(), reverse=True)


def everything() -> dict[str, Any]:
    def component(name: str) -> dict[str, Any]:
        return {
            "bom-ref": f"{name}==1.0",
            "type": "library",
            "name": name,
            "version": "1.0",
            "purl": f"pkg:pypi/{name}@1.0",
        }

    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {},
        "components": [component(name) for name in ("NumPy", "tuf", "urllib3", "torch", "pip")],
        "dependencies": [
            {"ref": "tuf==1.0", "dependsOn": ["urllib3==1.0", "pip==1.0"]},
            {"ref": "NumPy==1.0"},
            {"ref": "urllib3==1.0"},
            {"ref": "torch==1.0", "dependsOn": ["NumPy==1.0"]},
        ],
    }


def test_a_bill_names_what_is_installed_and_nothing_else_and_matches_the_schema() -> None:
    names = {"numpy", "tuf", "urllib3", "pip"}
    text = bill_of(everything(), "agent", names, "0.2.0", {"numpy": "a" * 64})
    check_bill(text)
    bill = json.loads(text)
    assert [each["name"] for each in bill["components"]] == ["NumPy", "tuf", "urllib3"]
    assert bill["components"][0]["hashes"] == [{"alg": "SHA-256", "content": "a" * 64}]
    assert bill["metadata"]["component"]["description"] == "plumbline-edge[agent]"
    graph = {each["ref"]: each.get("dependsOn") for each in bill["dependencies"]}
    assert graph == {
        "plumbline-edge==0.2.0": ["NumPy==1.0", "tuf==1.0", "urllib3==1.0"],
        "NumPy==1.0": None,
        "tuf==1.0": ["urllib3==1.0"],
        "urllib3==1.0": None,
    }
    assert bill_of(everything(), "agent", names, "0.2.0", {"numpy": "a" * 64}) == text
    other = json.loads(bill_of(everything(), "agent", names, "0.2.1", {}))
    assert other["serialNumber"] != bill["serialNumber"]


def test_a_bill_that_does_not_match_the_schema_is_not_written() -> None:
    with pytest.raises(RefusedError, match="schema"):
        check_bill(bill_of(everything(), "agent", {"numpy"}, "0.2.0", {"numpy": "no hash"}))


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def digests(paths: tuple[Path, Path]) -> list[str]:
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]


def small_checkout(folder: Path) -> Path:
    (folder / "agent").mkdir(parents=True)
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
        '[project]\nname = "plumbline-edge"\nversion = "0.2.0"\n[tool.setuptools.packages.find]\ninclude = ["agent*"]\n'
    )
    (folder / "agent/__init__.py").write_text("")
    (folder / "agent/notes.py").write_text("text = 1\n")
    (folder / "tool").write_text("#!/bin/sh\n")
    (folder / "tool").chmod(0o755)
    (folder / "agent/link.py").symlink_to("notes.py")
    git = ("git", "-C", str(folder), "-c", "user.name=n", "-c", "user.email=e@x")
    for words in (("init", "-q"), ("add", "."), ("commit", "-q", "-m", "All")):
        subprocess.run((*git, *words), check=True)
    (folder / "agent/untracked.py").write_text("left = 'out'\n")
    return folder


def test_the_same_commit_gives_the_same_bytes(tmp_path: Path) -> None:
    root = small_checkout(tmp_path / "root")
    epoch = commit_epoch(root)
    with umask(0o022):
        first = build(tmp_path / "one", tmp_path / "copy-one", epoch, root)
    os.utime(root / "agent/notes.py", (1, 1))
    (root / "agent/notes.py").chmod(0o600)
    with umask(0o077):
        second = build(tmp_path / "two", tmp_path / "copy-two", epoch, root)
    assert digests(first) == digests(second)
    with ZipFile(first[0]) as wheel, tarfile.open(first[1]) as archive:
        code = {name for name in wheel.namelist() if name.startswith("agent/")}
        assert code == {"agent/__init__.py", "agent/link.py", "agent/notes.py"}, "what git tracks"
        assert wheel.read("agent/link.py") == b"text = 1\n"
        assert {member.mtime for member in archive.getmembers()} == {epoch}
        assert all(member.isfile() or member.isdir() for member in archive.getmembers())
    # And another content is another wheel, which is of no commit.
    before = uncommitted(root)
    (root / "agent/notes.py").write_text("text = 2\n")
    assert [*before, "agent/notes.py"] == uncommitted(root)
    assert digests(build(tmp_path / "two", tmp_path / "copy-three", epoch, root)) != digests(first)


def test_what_an_extra_of_a_requirement_asks_for_is_walked_too() -> None:
    asked = {
        "server": ["plain", 'wheels; extra == "fast"', 'other; python_version < "3"'],
        "plain": ["Server"],
        "wheels": [],
    }
    names = walk(["server[fast]"], lambda new: {name: asked[name] for name in new})
    assert names == {"server", "plain", "wheels"}
    assert walk(["server"], lambda new: {name: asked[name] for name in new}) == {"server", "plain"}


def test_without_git_there_is_a_fixed_time(tmp_path: Path) -> None:
    assert commit_epoch(tmp_path) == commit_epoch(tmp_path / "none") == 1_700_000_000
    assert uncommitted(tmp_path) == []


@pytest.mark.parametrize("command", [lock.main, release.main], ids=["lock", "release"])
def test_help_has_an_example_and_the_exit_codes(
    command: Callable[[list[str]], int], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        command(["--help"])
    shown = capsys.readouterr().out
    assert ended.value.code == 0 and "example" in shown and "exit codes: 0" in shown


@pytest.mark.long
def test_a_whole_release(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "dist"
    assert release.main(["--out", str(out), "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["wrong"] == [] and 100.0 < summary["agent_mb"] <= MOST_AGENT_MB
    assert set(summary["packages"]) == {"agent", "agent-full", "cloud"}
    assert subprocess.run(("sha256sum", "--check", "--quiet", "SHA256SUMS"), cwd=out, check=False).returncode == 0
    for what in summary["packages"]:
        check_bill((out / f"sbom-{what}.cdx.json").read_bytes())
    agent = {each["name"]: each for each in json.loads((out / "sbom-agent.cdx.json").read_bytes())["components"]}
    assert "torch" not in agent and agent["numpy"]["hashes"]
    assert {path.name for path in out.iterdir()} == {*summary["files"], "SHA256SUMS"}
    again = build(tmp_path / "again", tmp_path / "copy", summary["commit_epoch"])
    assert digests(again)[0] == summary["wheel_sha256"]


@pytest.mark.long
def test_the_wheels_of_a_station_are_enough_without_a_network(tmp_path: Path) -> None:
    here = next(each for each in release.PLATFORMS if each.name == release._HERE)
    wheel, _ = build(tmp_path / "dist", tmp_path / "copy", commit_epoch())
    found = release.wheelhouse(tmp_path / "dist", "agent", here, wheel)
    subprocess.run((sys.executable, "-m", "venv", tmp_path / "venv"), check=True)
    pip = (tmp_path / "venv/bin/python", "-I", "-m", "pip", "install", "--quiet", "--no-index", "--find-links")
    alone = {**os.environ, "PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": ""}
    subprocess.run((*pip, found[0].parent, "plumbline-edge[agent]"), check=True, env=alone)
    subprocess.run((tmp_path / "venv/bin/python", "-I", "-m", "agent", "--help"), check=True, capture_output=True)
    assert len(found) == len(installed_by("agent"))  # pip's place is taken by our own
