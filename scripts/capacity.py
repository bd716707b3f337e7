"""The arithmetic of a fleet: what N stations ask of brokers, workers, the database and the network. Pure: it measures nothing.

The rates are this repository's own; where each comes from stands beside it. docs/capacity.md is written by this file.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

_DAY, _HOUR = 86_400.0, 3_600.0
# Nothing is planned to be busier than this: bursts, vacuum, a neighbour, and room to catch up.
_BUSY = 0.5
_BEGIN, _END = "<!-- written by ./scripts/capacity --write: {} -->", "<!-- end -->"


@dataclass(frozen=True, slots=True)
class Rate:
    """A figure that the arithmetic starts from. `source` is the command that measures it, or why it is assumed."""

    name: str
    value: float
    unit: str
    about: str
    source: str
    measured: bool = False


RATES = (
    Rate("summary_kb", 11.0, "kB", "one summary on the wire", "./scripts/bench ingest", True),
    Rate("worker_per_s", 3_900.0, "1/s", "summaries one worker commits to PostgreSQL", "./scripts/bench ingest", True),
    Rate("database_per_s", 4_400.0, "1/s", "summaries one PostgreSQL takes from workers", "bench ingest: two, on two cores", True),
    Rate("broker_per_s", 6_400.0, "1/s", "messages one broker passes on, at least", "bench ingest: SQLite, two workers", True),
    Rate("handshake_ms", 1.5, "ms", "broker's CPU for one mutual TLS 1.3 handshake", "OpenSSL 3, 400 on this machine", True),
    Rate("connection_kb", 60.0, "kB", "broker's memory for a TLS connection", "assumed; simulate_fleet: 8 kB without TLS"),
    Rate("connections", 10_000.0, "", "connections one broker is given", "./scripts/simulate_fleet 10000", True),
    Rate("jitter_s", 30.0, "s", "stations come back evenly within this", "agent.toml, [broker] reconnect_max_s", True),
    Rate("row_extra_kb", 0.6, "kB", "columns and indexes of a summary's row, without its payload", "assumed"),
    Rate("judge_us", 4_000.0, "us", "CPU to judge one station's hour for drift", "200 hours of 5 stations, 3 to 5 ms", True),
    Rate("merge_us", 250.0, "us", "CPU to take one window into its hour", "120 windows of a minute", True),
    Rate("watch_kb", 100.0, "kB", "a settled station's drift state; up to 600 in its first week", "its snapshot", True),
    Rate("worker_mb", 105.0, "MB", "one worker's memory", "./scripts/simulate_fleet 10000", True),
    Rate("fine_days", 14.0, "days", "[keep] fine_days", "cloud/settings_scale.py", True),
    Rate("hourly_days", 90.0, "days", "[keep] hourly_days", "cloud/settings_scale.py", True),
    Rate("daily_days", 730.0, "days", "[keep] daily_days", "cloud/settings_scale.py", True),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Figure:
    """A line of the answer."""

    what: str
    value: str
    how: str


def rates_of(changed: Mapping[str, float] | None = None) -> dict[str, float]:
    """Return every rate by name, with some changed."""
    return {rate.name: rate.value for rate in RATES} | dict(changed or {})


def databases(load: float, r: Mapping[str, float]) -> int:
    """Return how many PostgreSQL servers `load` summaries a second need, none busier than planned."""
    return max(1, ceil(load / (r["database_per_s"] * _BUSY)))


def workers(load: float, r: Mapping[str, float]) -> int:
    """Return how many workers `load` summaries a second need, none busier than planned; two at least, for one may stop."""
    return max(2, ceil(load / (r["worker_per_s"] * _BUSY)))


def brokers(stations: int, load: float, r: Mapping[str, float]) -> tuple[int, int, int]:
    """Return how many brokers are needed for (connections, messages, the handshakes after an outage)."""
    # A summary in, the same out to a worker, an acknowledgement in and out.
    messages = 4 * load
    handshakes = stations / r["jitter_s"] * r["handshake_ms"] / 1e3
    return (
        ceil(stations / r["connections"]),
        ceil(messages / (r["broker_per_s"] * _BUSY)),
        ceil(handshakes / _BUSY),
    )


def rows_kept(stations: int, interval_s: float, r: Mapping[str, float]) -> tuple[float, float, float]:
    """Return rows kept as (they came, hours, days)."""
    hours = max(0.0, r["hourly_days"] - r["fine_days"]) * _DAY / max(_HOUR, interval_s)
    days = max(0.0, r["daily_days"] - r["hourly_days"]) * _DAY / max(_DAY, interval_s)
    return stations * r["fine_days"] * _DAY / interval_s, stations * hours, stations * days


def drain_s(stations: int, interval_s: float, outage_s: float, r: Mapping[str, float]) -> float:
    """Return how long after an outage the last of the backlog is committed. There is always room: nothing is planned full."""
    load = stations / interval_s
    takes = min(workers(load, r) * r["worker_per_s"], databases(load, r) * r["database_per_s"])
    return stations * outage_s / interval_s / (takes - load)


def figures(stations: int, interval_s: float, r: Mapping[str, float]) -> Iterator[Figure]:
    """Yield what `stations` that send a summary each `interval_s` seconds ask for."""
    load, size = stations / interval_s, r["summary_kb"] * 1e3
    row = size + r["row_extra_kb"] * 1e3
    yield Figure("summaries a second", f"{load:,.0f}", "stations / interval")
    yield Figure("in", f"{load * size / 1e6:,.1f} MB/s", "x summary_kb")
    yield Figure(
        "acknowledgements a second, at most", f"{load:,.0f}", "one a summary; fewer where a batch holds a station twice"
    )
    count, servers = workers(load, r), databases(load, r)
    yield Figure("ingest workers", f"{count}", f"summaries / (worker_per_s x {_BUSY:g}), 2 at least")
    yield Figure("PostgreSQL servers", f"{servers}", f"summaries / (database_per_s x {_BUSY:g})")
    needed = brokers(stations, load, r)
    shards = max(needed)
    why = "most of {} (connections), {} (messages), {} (handshakes)".format(*needed)
    yield Figure("brokers", f"{shards}", why)
    storm = stations / r["jitter_s"]
    busy = storm * r["handshake_ms"] / 1e3
    yield Figure("handshakes a second after an outage", f"{storm:,.0f}", "stations / jitter_s")
    yield Figure("CPU for them", f"{busy:.2f} cores, {busy / shards:.2f} a broker", "x handshake_ms, for jitter_s")
    yield Figure("rows a day", f"{load * _DAY / 1e6:,.1f} million", "summaries x 86,400")
    yield Figure("bytes a day", _bytes(load * _DAY * row), "x (summary_kb + row_extra_kb)")
    yield Figure(
        "a partition of one week",
        f"{load * 7 * _DAY / 1e6:,.1f} million rows, {_bytes(load * 7 * _DAY * row)}",
        "by window start",
    )
    yield Figure(
        "partitions of weeks at once", f"{ceil(r['daily_days'] / 7) + 2}", "daily_days, this week's and the next"
    )
    fine, hours, days = rows_kept(stations, interval_s, r)
    yield Figure("kept as they came", f"{fine / 1e6:,.0f} million rows, {_bytes(fine * row)}", "fine_days")
    yield Figure(
        "kept as hours", f"{hours / 1e6:,.0f} million rows, {_bytes(hours * row)}", "to hourly_days, one an hour"
    )
    yield Figure("kept as days", f"{days / 1e6:,.0f} million rows, {_bytes(days * row)}", "to daily_days, one a day")
    yield Figure("kept in all", _bytes((fine + hours + days) * row), "the sum")
    plain = load * _DAY * r["daily_days"] * row
    yield Figure("without down-sampling it were", _bytes(plain), "bytes a day x daily_days")
    judged = stations / _HOUR * r["judge_us"] / 1e6 + load * r["merge_us"] / 1e6
    yield Figure("CPU for drift", f"{judged:.3f} cores", "stations / 3,600 x judge_us + summaries x merge_us")
    for name, outage in (("1 hour", _HOUR), ("7 days", 7 * _DAY)):
        waiting = stations * outage / interval_s
        slow = drain_s(stations, interval_s, outage, r)
        took = f"{waiting / 1e6:,.1f} million summaries, {_time(slow)}"
        yield Figure(f"backlog of {name}, drained in", took, "backlog / (what workers and databases take - summaries)")
    yield Figure(
        "memory of a broker", _bytes(stations / shards * r["connection_kb"] * 1e3), "stations / brokers x connection_kb"
    )
    yield Figure("memory of the workers", _bytes(count * r["worker_mb"] * 1e6), "workers x worker_mb")
    yield Figure("memory of serve for baselines", _bytes(stations * r["watch_kb"] * 1e3), "stations x watch_kb")


def _bytes(count: float) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count / 1e3:,.1f} kB"


def _time(seconds: float) -> str:
    for unit, size in (("days", _DAY), ("hours", _HOUR), ("minutes", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:,.0f} s"


def rates_table() -> str:
    """Return the rates in Markdown."""
    rows = ["| rate | value | what | from |", "|---|---|---|---|"]
    for rate in RATES:
        value = f"{rate.value:,g} {rate.unit}".strip()
        mark = "" if rate.measured else " (NOT MEASURED YET)"
        rows.append(f"| `{rate.name}` | {value}{mark} | {rate.about} | {rate.source} |")
    return "\n".join(rows)


def answer_table(stations: int, intervals: Sequence[float]) -> str:
    """Return the answer in Markdown, a column for each interval."""
    columns = [list(figures(stations, interval, rates_of())) for interval in intervals]
    head = "".join(f" every {interval:g} s |" for interval in intervals)
    rows = [f"| {stations:,} stations |{head} by |", "|---|" + "---|" * (len(intervals) + 1)]
    for line in zip(*columns, strict=True):
        # Where the reasons differ (which broker count won), the first interval's stands.
        rows.append(f"| {line[0].what} | " + " | ".join(each.value for each in line) + f" | {line[0].how} |")
    return "\n".join(rows)


def written(page: str) -> str:
    """Return the page with its tables made anew.

    Raises:
        ValueError: it lacks the place of one.
    """
    tables = {
        "rates": rates_table(),
        "100000": answer_table(100_000, (300.0, 60.0)),
        "10000": answer_table(10_000, (300.0, 60.0)),
    }
    for name, table in tables.items():
        begin = _BEGIN.format(name)
        before, found, rest = page.partition(begin)
        _, ended, after = rest.partition(_END)
        if not found or not ended:
            raise ValueError(f"no place for the table '{name}'")
        page = f"{before}{begin}\n\n{table}\n\n{_END}{after}"
    return page


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table, or write it into a page."""
    parser = argparse.ArgumentParser(
        prog="./scripts/capacity",
        description="What a fleet asks of brokers, workers, the database and the network.",
        epilog="example: ./scripts/capacity --stations 100000 --interval 300 --rate worker_per_s=5200",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--stations", type=int, default=100_000, help="default %(default)s")
    parser.add_argument(
        "--interval", type=float, default=300.0, help="seconds between a station's summaries (default %(default)g)"
    )
    parser.add_argument(
        "--rate", action="append", default=[], metavar="NAME=VALUE", help="another rate; may be repeated"
    )
    parser.add_argument("--rates", action="store_true", help="print the rates and where they come from")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the tables of docs/capacity.md anew")
    args = parser.parse_args(argv)
    if args.write:
        args.write.write_text(written(args.write.read_text("utf-8")), "utf-8")
        return 0
    if args.rates:
        for rate in RATES:
            how = rate.source if rate.measured else f"{rate.source}; not measured yet"
            print(f"{rate.name:15} {rate.value:>10,g} {rate.unit:5} {rate.about} ({how})")
        return 0
    changed = {}
    for text in args.rate:
        name, _, value = text.partition("=")
        try:
            changed[name] = float(value)
        except ValueError:
            parser.error(f"--rate {text}: write NAME=VALUE")
        if name not in rates_of() or not 0 < changed[name] < float("inf"):
            parser.error(f"--rate {text}: use one of {', '.join(rates_of())}, above 0")
    if args.stations < 1 or not 0 < args.interval < float("inf"):
        parser.error("use at least one station, and an interval above 0 s")
    for figure in figures(args.stations, args.interval, rates_of(changed)):
        print(f"{figure.what:36} {figure.value:42} {figure.how}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
