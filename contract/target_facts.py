"""What the image repository says of a bundle before anybody fetches it: signed, in the `custom` of its TUF target."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from contract.bounds import Count
from contract.errors import BadBundle
from contract.ids import is_digest
from contract.manifest import Compatibility


class TargetFacts(msgspec.Struct, frozen=True):
    """`manifest` is the SHA-256 of the manifest that the archive begins with, "" from a release that did not say.

    `memory_mib` is rounded up: TUF's canonical JSON has no fractions.
    """

    name: str = ""
    version: str = ""
    manifest: str = ""
    compatibility: Compatibility = Compatibility()
    memory_mib: Count = 0


def encode_facts(facts: TargetFacts) -> dict[str, Any]:
    """Return `facts` as a JSON object."""
    encoded: dict[str, Any] = msgspec.to_builtins(facts)
    return encoded


def read_facts(custom: Mapping[str, Any]) -> TargetFacts:
    """Return the facts in a target's `custom`; what is not said there has its default.

    Raises:
        BadBundle: they cannot be read.
    """
    try:
        facts = msgspec.convert(dict(custom), TargetFacts)
    except msgspec.ValidationError as error:
        raise BadBundle(f"a release says unreadably what it is: {error}", hint="update the agent") from error
    if facts.manifest and not is_digest(facts.manifest):
        raise BadBundle(f"'{facts.manifest[:80]}' is no manifest's SHA-256", hint="release it again")
    return facts
