"""Who released a version, from the audit log."""

from __future__ import annotations

from pathlib import Path

from cloud.store.why_rows import OVERRIDDEN, release_acts
from tests.fakes.cloud_tables import T0, open_tables


def test_who_changed_a_versions_stage_did_not_release_it(tmp_path: Path) -> None:
    tables = open_tables(tmp_path / "cloud.db")
    for actor, act, detail in (
        ("rita", "release", f"v1: bundle 1a97fe99e42a{OVERRIDDEN}the lamp is new"),
        ("rita", "stage", "v1: CANDIDATE"),
        ("plumbline", "stage", "v1: CHAMPION"),
        ("rolf", "release", "v1.r1: bundle 26ae87f806d8"),
        ("sam", "stage", "v2: bundle 3b97fe99e42a"),
    ):
        tables.audit.append(T0, actor, act, detail)
    (found,) = release_acts(tables.database, "v1")
    assert found.actor == "rita" and found.detail.partition(OVERRIDDEN)[2] == "the lamp is new"
    assert [each.actor for each in release_acts(tables.database, "v2")] == ["sam"], "staged until it is signed"
    tables.database.close()
