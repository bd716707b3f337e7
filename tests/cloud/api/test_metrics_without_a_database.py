"""What the server says of itself at /metrics while its database is away: all that stands in no table, and that it is away."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from cloud.api.metrics import Metrics
from cloud.loop_counts import LoopCounts
from cloud.server_figures import EvidenceFigures, ServerFigures
from contract.errors import TransientError
from tests.cloud.api.test_metrics import values
from tests.fakes.link import RecordingLink


def shown(evidence: Callable[[], Mapping[str, float]], *, why: str, away_s: float, home: Path) -> dict[str, float]:
    """Return what one scrape says, by name."""
    server = ServerFigures(
        loops=LoopCounts(lambda: 0.0), link=RecordingLink(), ingest=None, arrivals_waiting=lambda: 0,
        disks={"the cloud's home": home}, drift_phases=lambda: {"quiet": 1.0}, monotonic=lambda: 0.0,
        database_away_s=lambda: away_s,
    )  # fmt: skip
    text = Metrics([server, EvidenceFigures(evidence, lambda: why)]).text().decode()
    return {name: value for (name, _), value in values(text).items()}


def gone() -> Mapping[str, float]:
    raise TransientError("the database did not take it: connection refused")


# Before the watch has seen it, and after: then nothing is asked of it, for it may not answer for minutes.
@pytest.mark.parametrize(("why", "away_s"), [("", 0.0), ("the database does not answer", 42.0)])
def test_a_database_that_is_away_takes_no_figure_of_the_server_with_it(tmp_path: Path, why: str, away_s: float) -> None:
    found = shown(gone, why=why, away_s=away_s, home=tmp_path)
    assert found["plumbline_cloud_database_usable"] == (not why)
    assert found["plumbline_cloud_database_away_seconds"] == away_s
    assert found["plumbline_cloud_broker_connected"] == 1 and found["plumbline_cloud_disk_free_bytes"] > 0
    assert found["plumbline_cloud_readable"] == 0 and "plumbline_cloud_drift_evidence_series" not in found


def test_what_is_known_to_be_away_is_not_asked(tmp_path: Path) -> None:
    asked = []
    shown(lambda: asked.append(1) or {}, why="it is away", away_s=1.0, home=tmp_path)  # type: ignore[func-returns-value]
    assert not asked
    found = shown(lambda: {"0.5": 2.0}, why="", away_s=0.0, home=tmp_path)
    assert found["plumbline_cloud_drift_evidence_series"] == 2 and found["plumbline_cloud_readable"] == 1
