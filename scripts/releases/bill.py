"""A bill of materials (CycloneDX 1.6, JSON) of what an extra installs, with the hashes of its lock."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.utils import canonicalize_name

from contract.errors import RefusedError


def environment_bill() -> dict[str, Any]:
    """Return cyclonedx-py's bill of everything that is installed here.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    command = (sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible", "--spec-version", "1.6")
    done = subprocess.run((*command, "--of", "JSON", sys.executable), capture_output=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def bill_of(
    everything: Mapping[str, Any], extras: str, names: Collection[str], version: str, hashes: Mapping[str, str]
) -> bytes:
    """Return the bill of plumbline-edge[extras], as JSON text with a number of its own that follows from its content.

    Args:
        everything: `environment_bill()`.
        names: the canonical names of what the extras install; pip, which every environment has, is left out.
        hashes: SHA-256 of the wheel that is locked, by name; those that are missing are left out.
    """
    components = {}
    for component in everything["components"]:
        name = canonicalize_name(component["name"])
        if name in names and name != "pip":
            known = [{"alg": "SHA-256", "content": hashes[name]}] if name in hashes else []
            components[component["bom-ref"]] = {**component, **({"hashes": known} if known else {})}
    root = f"plumbline-edge=={version}"
    needs = {each["ref"]: each for each in everything["dependencies"] if each["ref"] in components}
    top = {"ref": root, "dependsOn": sorted(components)}
    below = [
        {
            "ref": ref,
            **({"dependsOn": kept} if (kept := [r for r in each.get("dependsOn", ()) if r in components]) else {}),
        }
        for ref, each in sorted(needs.items())
    ]
    metadata = {
        **everything["metadata"],
        "component": {
            "type": "application",
            "bom-ref": root,
            "name": "plumbline-edge",
            "version": version,
            "description": f"plumbline-edge[{extras}]",
            "licenses": [{"license": {"id": "Apache-2.0", "acknowledgement": "declared"}}],
        },
    }
    bill = {
        **{key: everything[key] for key in ("$schema", "bomFormat", "specVersion", "version")},
        "metadata": metadata,
        "components": [components[ref] for ref in sorted(components)],
        "dependencies": [top, *below],
    }
    text = json.dumps(bill, sort_keys=True)
    bill["serialNumber"] = uuid5(NAMESPACE_URL, text).urn
    return json.dumps(bill, indent=1, sort_keys=True).encode() + b"\n"


def check_bill(bill: bytes) -> None:
    """Check a bill against CycloneDX's own schema, strictly.

    Raises:
        RefusedError: it does not match.
    """
    if wrong := JsonStrictValidator(SchemaVersion.V1_6).validate_str(bill.decode()):
        raise RefusedError(
            f"the bill of materials does not match CycloneDX's schema: {wrong.data!r:.300}", hint="see bill.py"
        )


def write_bill(path: Path, bill: bytes) -> None:
    """Write a checked bill."""
    check_bill(bill)
    path.write_bytes(bill)
