"""Which packages an extra of this project installs: its requirements, and theirs in turn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path

import msgspec
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent.parent

Needs = Callable[[Sequence[str]], Mapping[str, Sequence[str]]]
"""Given names of packages, what each of them requires, as the lines of its metadata."""


def project_requirements(*extras: str) -> list[str]:
    """Return what pyproject.toml asks for: always, and with each of the extras.

    Raises:
        KeyError: there is no such extra.
    """
    project = msgspec.toml.decode((ROOT / "pyproject.toml").read_bytes())["project"]
    return [*project["dependencies"], *(line for extra in extras for line in project["optional-dependencies"][extra])]


def walk(first: Sequence[str], needs: Needs, environment: Mapping[str, str] | None = None) -> frozenset[str]:
    """Return the canonical names of everything that `first` installs, requirements of requirements included.

    Args:
        first: requirements to begin with, e.g. `project_requirements("agent")`.
        needs: asked once a round, with every package that is new in it.
        environment: what markers are judged by, where it differs from this interpreter's (`python_version`, ...).
    """

    def applies(requirement: Requirement, extra: str) -> bool:
        marker = requirement.marker
        return marker is None or marker.evaluate({**(environment or {}), "extra": extra})

    waiting = [each for each in map(Requirement, first) if applies(each, "")]
    seen: set[tuple[str, str]] = set()
    while waiting:
        new = {
            (canonicalize_name(requirement.name), extra)
            for requirement in waiting
            for extra in ("", *sorted(requirement.extras))
        } - seen
        seen |= new
        required = needs(sorted({name for name, _ in new}))
        waiting = [
            inner for name, extra in sorted(new) for inner in map(Requirement, required[name]) if applies(inner, extra)
        ]
    return frozenset(name for name, _ in seen)


def installed_by(*extras: str) -> frozenset[str]:
    """Return the names of everything that `plumbline-edge[extras]` installs here.

    Raises:
        importlib.metadata.PackageNotFoundError: one of them is not installed here.
    """
    return walk(project_requirements(*extras), lambda names: {name: metadata.requires(name) or () for name in names})
