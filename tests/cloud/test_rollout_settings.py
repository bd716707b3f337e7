"""[rollout] in cloud.toml: what it says reaches the plan, and what it cannot mean is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloud.settings import load_settings
from contract.errors import InvalidConfig


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("max_failure = 1.5", "rollout.max_failure = 1.5 is outside 0..1"),
        ("max_shift = nan", "rollout.max_shift"),
        ("confidence = 1.0", "rollout.confidence = 1.0 is not between"),
        ("confidence = 0.9999999999999999", "rollout.confidence = 0.9999999999999999 is not between"),
        ("canary = 0", "rollout.canary = 0 must not be below 1"),
        ("shadow_stations = -1", "rollout.shadow_stations"),
        ("approvals = -1", "rollout.approvals"),
        ("soak_s = nan", "rollout.soak_s"),
        ("offline_wait_s = -1.0", "rollout.offline_wait_s"),
        ("max_latency_ratio = 0.5", "rollout.max_latency_ratio = 0.5"),
        ('strata = ["mood"]', "rollout.strata has 'mood'"),
        ('windows = ["mon-fri 22-5"]', "rollout.windows: maintenance window 'mon-fri 22-5' has no time"),
    ],
)
def test_what_cannot_be_followed_is_refused_with_its_key(tmp_path: Path, line: str, words: str) -> None:
    file = tmp_path / "cloud.toml"
    file.write_text(f"[rollout]\n{line}\n")
    with pytest.raises(InvalidConfig) as refused:
        load_settings(file)
    assert words in refused.value.one_line()


def test_windows_and_strata_are_taken(tmp_path: Path) -> None:
    file = tmp_path / "cloud.toml"
    file.write_text('[rollout]\nwindows = ["mon-fri 22:00-05:00 Europe/Berlin"]\nstrata = ["site"]\napprovals = 2\n')
    assert load_settings(file).rollout.approvals == 2
