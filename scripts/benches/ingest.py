"""How fast summaries come in, exactly once: the product's workers beside a bare subscriber, on SQLite and on PostgreSQL.

Rounds alternate, so that whatever else the machine does falls on all. Each contender has a mosquitto and a database of its own each
time; a child process publishes 11 KB summaries of several stations as fast as the broker takes them. What counts is rows in the
table, from the first to the last. Then a fleet with an outage tells what is lost, double and late.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import DatabaseError

from contract.errors import NotFound, RefusedError
from scripts.benches.budget import table as budget_table
from scripts.fleet.broker import own_broker
from scripts.fleet.child import Child
from scripts.fleet.databases import own_postgres
from scripts.fleet.plan import Outage, Plan
from scripts.fleet.run import simulate
from scripts.fleet.workers import start_workers, wait_subscribed

Figures = dict[str, float]
ENGINES = ("sqlite", "postgres")
CONTENDERS = ("ceiling", "worker", "two workers")
_ROOT = str(Path(__file__).parents[2])
_STATIONS, _BATCH = 40, 200
_LOOK_S, _PATIENCE_S = 0.05, 180.0
_HEADLINE = (
    "ingest.sqlite_per_s",
    "ingest.postgres_per_s",
    "ingest.ceiling_ratio",
    "ingest.lost",
    "ingest.double",
    "ingest.live_share",
)


@dataclass(frozen=True, slots=True)
class Sizes:
    """`each` summaries of 40 stations a round."""

    rounds: int
    each: int
    fleet: Plan


FULL = Sizes(3, 150, Plan(stations=10_000, minutes=2.0, outage=Outage(30.0, 40.0)))
QUICK = Sizes(1, 20, Plan(stations=200, rate=20.0, minutes=0.2, outage=Outage(3.0, 4.0)))

Make = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Speed:
    """Summaries a second, and CPU seconds of the contender's processes for 1,000 of them."""

    per_s: float
    cpu_s_per_1000: float


def measure(*, quick: bool = False, peers: bool = False) -> Figures:
    """Return the `ingest.*` figures; progress goes to stderr. `peers` is of no meaning here: the ceiling is always there.

    Raises:
        InvalidConfig: PostgreSQL or so many files are not to be had.
        RefusedError: a contender did not store what was published.
    """
    sizes = QUICK if quick else FULL
    figures = compare(sizes)
    with tempfile.TemporaryDirectory(prefix="plumbline-ingest-") as folder:
        _say(f"{sizes.fleet.stations:,} stations, an outage of the broker in the middle")
        report = simulate(sizes.fleet, Path(folder), _say)
    fleet = {f"ingest.fleet.{name}": figure for name, figure in report.as_dict().items()}
    own = {
        "ingest.sqlite_per_s": figures["ingest.sqlite.worker.per_s"],
        "ingest.postgres_per_s": figures["ingest.postgres.worker.per_s"],
        "ingest.ceiling_ratio": min(figures[f"ingest.{engine}.ceiling_ratio"] for engine in ENGINES),
        # What never came through is not lost while a station has it, but then the run proves nothing: it counts as lost here.
        "ingest.lost": float(report.lost + report.kept),
        "ingest.double": float(report.double),
        "ingest.live_share": report.live_share,
    }
    return own | figures | fleet


def compare(sizes: Sizes) -> Figures:
    """Return the speed of every contender on every engine, `ingest.ENGINE.CONTENDER.*`, and each engine's `ceiling_ratio`."""
    runs: dict[tuple[str, str], list[Speed]] = {}
    with ExitStack() as stack:
        makes = {engine: stack.enter_context(_maker(engine)) for engine in ENGINES}
        for number in range(sizes.rounds):
            for engine in ENGINES:
                # Whoever comes second finds the caches warm: they take turns at that too.
                for contender in CONTENDERS if number % 2 == 0 else CONTENDERS[::-1]:
                    speed = run_once(contender, makes[engine], sizes.each)
                    runs.setdefault((engine, contender), []).append(speed)
                    _say(
                        f"round {number + 1}, {engine}, {contender}: {speed.per_s:,.0f} a second,"
                        f" {speed.cpu_s_per_1000:.3f} CPU s per 1,000"
                    )
    figures: Figures = {}
    for (engine, contender), speeds in runs.items():
        key = f"ingest.{engine}.{contender.replace(' ', '_')}"
        figures[f"{key}.per_s"] = median(speed.per_s for speed in speeds)
        figures[f"{key}.cpu_s_per_1000"] = median(speed.cpu_s_per_1000 for speed in speeds)
    for engine in ENGINES:
        pairs = zip(runs[engine, "worker"], runs[engine, "ceiling"], strict=True)
        figures[f"ingest.{engine}.ceiling_ratio"] = median(own.per_s / bare.per_s for own, bare in pairs)
    return figures


def run_once(contender: str, make: Make, each: int) -> Speed:
    """Return the speed of one contender, on a broker and a database of its own, with `each` summaries of every station.

    Raises:
        RefusedError: it did not store them all, or stored some twice.
        NotFound: nothing came within three minutes.
    """
    # Not under a private folder: PostgreSQL's own user must be able to enter.
    with tempfile.TemporaryDirectory(prefix="plumbline-ingest-") as folder, ExitStack() as stack:
        broker = own_broker(Path(folder) / "broker")
        broker.start()
        stack.callback(broker.child.kill)
        url = make(folder)
        if contender == "ceiling":
            command = [sys.executable, "-m", "scripts.benches.ingest_ceiling", url, str(broker.port), str(_BATCH)]
            takers = [Child("ceiling", command, Path(folder) / "ceiling.log")]
            takers[0].start()
        else:
            count = 2 if contender == "two workers" else 1
            takers = start_workers(count, url, broker.host, broker.port, Path(folder))
        for taker in takers:
            stack.callback(taker.stop)
        if contender != "ceiling":
            wait_subscribed(takers, _PATIENCE_S)
        # The first, few, until somebody listens: imports, connections and an empty table's first pages are not measured.
        warm = 0
        until = time.monotonic() + _PATIENCE_S
        while warm < _STATIONS:
            for taker in takers:
                taker.check_alive()
            if time.monotonic() > until:
                raise NotFound(f"{contender} did not subscribe in time: {takers[0].tail()}")
            warm = _publish(broker.port, 1)
        return _timed(contender, takers, url, broker.port, each)


def _timed(contender: str, takers: list[Child], url: str, port: int, each: int) -> Speed:
    engine = create_engine(url)
    try:
        settled = _wait(takers, lambda: _rows(engine), lambda seen, last: seen > 0 and seen == last, 1.0)
        wanted = settled + _STATIONS * each
        with _publisher(port, each) as go:
            cpu_s = sum(taker.cpu_s() for taker in takers)
            begun_s = time.monotonic()
            go()
            _wait(takers, lambda: _rows(engine), lambda seen, _: seen >= wanted, _LOOK_S)
            took_s = time.monotonic() - begun_s
            cpu_s = sum(taker.cpu_s() for taker in takers) - cpu_s
        stored = _rows(engine, exactly=True)
    finally:
        engine.dispose()
    if stored != wanted:
        raise RefusedError(f"{contender} stored {stored - settled} of {_STATIONS * each} summaries")
    return Speed((wanted - settled) / took_s, cpu_s / (wanted - settled) * 1000)


@contextmanager
def _publisher(port: int, each: int) -> Iterator[Callable[[], None]]:
    """Give what lets a child publish, everything being encoded already."""
    command = [sys.executable, "-m", "scripts.benches.ingest_blast", str(port), str(_STATIONS), str(each), "1"]
    environment = {**os.environ, "PYTHONPATH": _ROOT}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as child:
        assert child.stdin is not None and child.stdout is not None
        try:
            if child.stdout.readline() != "ready\n":
                raise RefusedError("the publisher ended early")

            def go() -> None:
                assert child.stdin is not None
                child.stdin.write("\n")
                child.stdin.flush()

            yield go
            heard = child.stdout.readline().strip()
        finally:
            child.kill()
    if heard != str(_STATIONS * each):
        raise RefusedError(f"the broker gave {heard or 'none'} of {_STATIONS * each} summaries to anybody")


def _publish(port: int, each: int) -> int:
    """Publish at once; return how many reached a subscriber."""
    command = [sys.executable, "-m", "scripts.benches.ingest_blast", str(port), str(_STATIONS), str(each), "1"]
    environment = {**os.environ, "PYTHONPATH": _ROOT}
    done = subprocess.run(command, input="\n", capture_output=True, text=True, check=True, env=environment)
    return int(done.stdout.split()[-1])


def table(figures: Figures) -> str:
    """Return the headline beside its targets, then a line for each engine and contender, then the fleet's."""
    head = budget_table({key: figures[key] for key in _HEADLINE if key in figures})
    rows: list[tuple[str, ...]] = [("engine", "contender", "a second", "of the ceiling", "CPU s per 1,000")]
    for engine in ENGINES:
        ceiling = figures[f"ingest.{engine}.ceiling.per_s"]
        for contender in CONTENDERS:
            key = f"ingest.{engine}.{contender.replace(' ', '_')}"
            per_s, cpu_s = figures[f"{key}.per_s"], figures[f"{key}.cpu_s_per_1000"]
            rows.append((engine, contender, f"{per_s:,.0f}", f"{per_s / ceiling:.2f}", f"{cpu_s:.3f}"))
    fleet = [(key.removeprefix("ingest.fleet."), f"{figures[key]:,.4g}") for key in figures if ".fleet." in key]
    note = (
        "The ceiling decodes and inserts without dedupe; ceiling_ratio is worker over ceiling, the lesser of the two engines.",
        "Publisher, broker, contender and database share this machine's cores. CPU is the contender's own, PostgreSQL's not in it.",
    )
    return "\n".join((head, "", *_columns(rows), "", *note, "", *_columns(fleet)))


def _columns(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max((len(row[i]) for row in rows), default=0) for i in range(len(rows[0]) if rows else 0)]
    return ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows]


def _wait(takers: list[Child], read: Callable[[], int], done: Callable[[int, int], bool], every_s: float) -> int:
    """Return what `read` gives once `done(it, the one before)`."""
    last, until = -1, time.monotonic() + _PATIENCE_S
    while True:
        for taker in takers:
            taker.check_alive()
        seen = read()
        if done(seen, last):
            return seen
        if time.monotonic() > until:
            raise NotFound(f"{seen} rows after {_PATIENCE_S:.0f} s: {takers[0].tail()}")
        last = seen
        time.sleep(every_s)


def _rows(engine: Engine, *, exactly: bool = False) -> int:
    """Return how many summaries are stored. On SQLite the highest id says it without reading the rows; `exactly` counts them."""
    what = "coalesce(max(id), 0)" if engine.dialect.name == "sqlite" and not exactly else "count(*)"
    try:
        with engine.connect() as connection:
            return int(connection.execute(text(f"SELECT {what} FROM summaries")).scalar_one())
    except DatabaseError:  # the table is not made yet
        return 0


@contextmanager
def _maker(engine: str) -> Iterator[Make]:
    """Give what makes an empty database of `engine` and returns its URL."""
    numbers = itertools.count(1)
    if engine == "sqlite":
        yield lambda folder: f"sqlite:///{folder}/{next(numbers)}.db"
        return
    with tempfile.TemporaryDirectory(prefix="plumbline-pg-") as folder, own_postgres(Path(folder) / "data") as make:
        yield lambda _: make(f"bench{next(numbers)}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
