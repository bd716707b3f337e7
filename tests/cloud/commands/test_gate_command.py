"""What `gate`'s options mean, and what it says of files that are not what they should be."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from cloud.commands.gate import register, rules_of
from cloud.gate.scorecard import GateRules
from contract.errors import InvalidConfig


def _parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    register(parser.add_subparsers())
    return parser.parse_args(["gate", "run", *words])


@pytest.mark.parametrize(
    ("words", "bound"),
    [
        ((), 0.5),
        (("--min-recall", "0"), 0.0),
        (("--min-recall", "0.6"), 0.35),
        (("--min-recall", "0.95"), 0.5),
        (("--min-recall", "0", "--min-recall-bound", "0.2"), 0.2),
        (("--min-recall-bound", "0.7"), 0.7),
    ],
)
def test_a_lowered_recall_floor_takes_its_bound_along(words: tuple[str, ...], bound: float) -> None:
    assert rules_of(_parsed(*words)).min_recall_bound == pytest.approx(bound)


def test_rules_that_nobody_names_stay_as_they_are() -> None:
    assert rules_of(_parsed()) == GateRules()
    assert rules_of(_parsed("--margin", "0.1")).margin == 0.1


@pytest.mark.parametrize("content", [None, "{", '{"board": "orin"}', '[{"latency_ms": 3}]'])
def test_budgets_that_cannot_be_read_are_named_before_anything_is_measured(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "budgets.json"
    if content is not None:
        file.write_text(content)
    args = _parsed("--budgets", str(file))
    with pytest.raises(InvalidConfig, match=r"budgets\.json does not say what boards take"):
        args.run(args)


def test_no_images_for_corruptions_is_refused() -> None:
    args = _parsed("--corruption-images", "0")
    with pytest.raises(InvalidConfig, match="below 1"):
        args.run(args)
