"""The laws of `fuzz_targets`, over damaged valid bytes and over whole lies; atheris looks further in `test_atheris`."""

from __future__ import annotations

import pytest
from fuzz_targets import BROKEN, TARGETS
from hypothesis import HealthCheck, given, settings
from mutations import mutated

targets = pytest.mark.parametrize(
    "name", [pytest.param(each, marks=[pytest.mark.xfail()] if each in BROKEN else []) for each in TARGETS]
)
_EXAMPLES = {"tuf metadata": 40, "sealed": 60}


@targets
def test_valid_bytes_keep_the_law(name: str) -> None:
    for seed in TARGETS[name].seeds():
        TARGETS[name].law(seed)
        TARGETS[name].law(b"")


@targets
def test_damaged_bytes_keep_the_law(name: str) -> None:
    target, seeds = TARGETS[name], TARGETS[name].seeds()

    @settings(max_examples=_EXAMPLES.get(name, 200), deadline=None, suppress_health_check=list(HealthCheck))
    @given(mutated(seeds))
    def keeps(data: bytes) -> None:
        target.law(data)

    keeps()
