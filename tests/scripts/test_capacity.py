"""./scripts/capacity: arithmetic that can be checked by hand, and a page that is what it prints."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.settings_keys import BrokerSettings
from cloud.settings_scale import KeepSettings
from scripts.capacity import RATES, brokers, databases, drain_s, figures, main, rates_of, rows_kept, workers, written

ROOT = Path(__file__).parents[2]
R = rates_of(
    {
        "summary_kb": 10.0, "row_extra_kb": 0.0, "worker_per_s": 1_000.0, "database_per_s": 4_000.0, "broker_per_s": 4_000.0,
        "handshake_ms": 1.0, "jitter_s": 100.0, "connections": 25_000.0,
    }
)  # fmt: skip


def test_hundred_thousand_stations_by_hand() -> None:
    # 100,000 / 100 s = 1,000 a second.
    assert workers(1_000.0, R) == 2 and workers(1_001.0, R) == 3 and databases(1_000.0, R) == 1
    # 4 brokers for the connections; 4,000 messages of which one takes 2,000; 1 core of handshakes of which one gives half.
    assert brokers(100_000, 1_000.0, R) == (4, 2, 2)
    # 14 days of 864 windows; 76 days of 24; 640 days.
    assert rows_kept(1, 100.0, R) == (14 * 864, 76 * 24, 640)
    # Two workers take 2,000 a second and 1,000 come: an hour's 3.6 million drain at 1,000 a second.
    assert drain_s(100_000, 100.0, 3_600.0, R) == pytest.approx(3_600.0)
    told = {figure.what: figure.value for figure in figures(100_000, 100.0, R)}
    assert told["summaries a second"] == "1,000" and told["in"] == "10.0 MB/s"
    assert told["rows a day"] == "86.4 million" and told["bytes a day"] == "864.0 GB" and told["brokers"] == "4"


def test_backlog_drains_as_fast_as_the_narrower_of_workers_and_database_lets_it() -> None:
    assert drain_s(10, 1.0, 60.0, R | {"worker_per_s": 5.0, "database_per_s": 2.0}) == pytest.approx(60.0)


@given(
    st.integers(1, 10**7),
    st.floats(0.1, 86_400.0),
    st.dictionaries(st.sampled_from([rate.name for rate in RATES]), st.floats(0.01, 1e6), max_size=4),
)
def test_twice_the_stations_never_need_less(stations: int, interval_s: float, changed: dict[str, float]) -> None:
    r = rates_of(changed)
    load = stations / interval_s
    assert workers(2 * load, r) >= workers(load, r) and databases(2 * load, r) >= databases(load, r)
    assert all(b >= a for a, b in zip(brokers(stations, load, r), brokers(2 * stations, 2 * load, r), strict=True))
    # What is planned keeps up with the load, with as much again to spare.
    assert min(workers(load, r) * r["worker_per_s"], databases(load, r) * r["database_per_s"]) >= 1.99 * load
    assert all(figure.value and figure.how for figure in figures(stations, interval_s, r))


def test_page_is_what_the_script_writes() -> None:
    page = (ROOT / "docs" / "capacity.md").read_text("utf-8")
    assert written(page) == page, "run: ./scripts/capacity --write docs/capacity.md"
    with pytest.raises(ValueError, match="rates"):
        written("")


def test_days_kept_and_jitter_are_the_settings_own() -> None:
    kept, r = KeepSettings(), rates_of()
    assert r["jitter_s"] == BrokerSettings().reconnect_max_s
    assert (r["fine_days"], r["hourly_days"], r["daily_days"]) == (kept.fine_days, kept.hourly_days, kept.daily_days)


def test_command_takes_other_rates_and_refuses_nonsense(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--stations", "600000", "--interval", "60", "--rate", "worker_per_s=1000"]) == 0
    told = capsys.readouterr().out
    assert re.search(r"^summaries a second +10,000 ", told, re.MULTILINE)
    assert re.search(r"^ingest workers +20 ", told, re.MULTILINE)
    assert main(["--rates"]) == 0 and "worker_per_s" in capsys.readouterr().out
    for wrong in (["--rate", "x=1"], ["--rate", "worker_per_s=0"], ["--rate", "worker_per_s=nan"], ["--rate", "worker_per_s"],
                  ["--stations", "0"], ["--interval", "inf"]):  # fmt: skip
        with pytest.raises(SystemExit) as ended:
            main(wrong)
        assert ended.value.code == 2
