"""What the pages about models say, in words and figures; no element is made here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from cloud.api.version_facts import FailedRun, VersionFacts
from cloud.dashboard.paged_table import Cell, Page
from cloud.dashboard.theme import Palette, Tone
from cloud.gate.scorecard import GateCheck, GateReport
from cloud.ports.lineage import LineageGraph, NodeKind
from cloud.rollout.version_states import VersionStage

STAGE_TONES = {
    VersionStage.STAGED: Tone.INFO,
    VersionStage.CANDIDATE: Tone.INFO,
    VersionStage.CHAMPION: Tone.GOOD,
    VersionStage.FORMER: Tone.PLAIN,
    VersionStage.RETIRED: Tone.WARN,
    VersionStage.PRUNED: Tone.PLAIN,
}
STAGE_WORDS = {
    VersionStage.STAGED: "waits for signatures",
    VersionStage.CANDIDATE: "released, and has not reached everybody",
    VersionStage.CHAMPION: "what the last rollout brought everybody",
    VersionStage.FORMER: "was champion",
    VersionStage.RETIRED: "nobody may be ordered to run it",
    VersionStage.PRUNED: "its files are deleted; what is known of it stays",
}
MAX_BARS = 12
_WIDE = 20


@dataclass(frozen=True, slots=True)
class ModelsView:
    """What /models shows."""

    versions: tuple[VersionFacts, ...]
    failed: tuple[FailedRun, ...]


def version_rows(versions: Sequence[VersionFacts], when: Callable[[float], str]) -> Page:
    """Return the rows of the table of versions; `when` says a time in words."""
    rows: list[dict[str, Cell]] = []
    for each in versions:
        gate = each.gate
        rows.append(
            {
                "version": (each.version, f"/models/{each.version}"),
                "stage": (each.stands.stage.value.lower(), STAGE_TONES[each.stands.stage]),
                "called": ", ".join(each.aliases),
                "gate": gate_badge(each),
                "accuracy": percent(gate.accuracy) if gate else "",
                "latency": f"{gate.median_ms:.1f}" if gate else "",
                "stations": len(each.stations),
                "disk": f"{each.disk_bytes / 1e6:.1f}",
                "released": when(each.released.created_at),
            }
        )
    return Page(rows, len(rows))


def gate_badge(facts: VersionFacts) -> tuple[str, Tone]:
    """Return the gate's word and its tone."""
    if facts.gate is None:
        return "no report", Tone.PLAIN
    if facts.gate.passed:
        return "passed", Tone.GOOD
    return f"failed {len(facts.gate.failed)} of {facts.gate.checks}", Tone.BAD


def percent(share: float) -> str:
    """Return a share as percent."""
    return f"{100 * share:.1f} %"


def check_rows(report: GateReport) -> Page:
    """Return the rows of the table of checks, those that failed first."""
    checks = sorted(report.checks, key=lambda check: check.passed)
    rows: list[dict[str, Cell]] = [
        {
            "state": ("passed", Tone.GOOD) if check.passed else ("failed", Tone.BAD),
            "check": check.name,
            "sentence": check.sentence,
            "figures": figures(check),
        }
        for check in checks
    ]
    return Page(rows, len(rows))


def figures(check: GateCheck) -> str:
    """Return a check's figures in one line."""
    return ", ".join(f"{name} {value:.4g}" for name, value in check.figures.items())


def gate_words(report: GateReport) -> str:
    """Return in a sentence whether a gate was passed, and what failed."""
    failed = [check.name for check in report.failures()]
    if not failed:
        return f"All {len(report.checks)} checks held."
    return f"{len(failed)} of {len(report.checks)} checks did not hold: {', '.join(failed)}."


def station_bars(versions: Sequence[VersionFacts]) -> tuple[Callable[[Palette], dict[str, Any]], str]:
    """Return what draws how many stations run each version, and the sentence that says it."""
    running = sorted((each for each in versions if each.stations), key=lambda each: -len(each.stations))[:MAX_BARS]
    if not running:
        return lambda _colours: {}, "No station says that it runs one of these versions."
    names, counts = [each.version for each in running], [len(each.stations) for each in running]

    def build(colours: Palette) -> dict[str, Any]:
        axis = {"axisLabel": {"color": colours.muted}, "splitLine": {"lineStyle": {"color": colours.grid}}}
        return {
            "xAxis": {"type": "value", "minInterval": 1, **axis},
            "yAxis": {"type": "category", "data": names[::-1], **axis},
            "series": [{"type": "bar", "data": counts[::-1], "barMaxWidth": 22}],
        }

    return build, "Stations by the version they run: " + ", ".join(
        f"{name} {count}" for name, count in zip(names, counts, strict=True)
    ) + "."


def compared(one: VersionFacts, other: VersionFacts) -> list[tuple[str, str, str]]:
    """Return (what, of the first, of the second) of two versions."""

    def facts(each: VersionFacts) -> list[tuple[str, str]]:
        gate = each.gate
        return [
            ("stage", each.stands.stage.value.lower()),
            ("called", ", ".join(each.aliases) or "-"),
            ("gate", gate_badge(each)[0]),
            ("checks that failed", ", ".join(gate.failed) if gate and gate.failed else "-"),
            ("accuracy on the holdout", percent(gate.accuracy) if gate else "-"),
            ("median time", f"{gate.median_ms:.2f} ms" if gate else "-"),
            ("bundle", f"{each.released.size_bytes / 1e6:.2f} MB"),
            ("stations", str(len(each.stations))),
            ("dataset", each.released.lineage.dataset[:12] or "-"),
            ("recipe", each.released.lineage.recipe[:12] or "-"),
            ("code", each.released.lineage.code or "-"),
        ]

    return [(what, mine, theirs) for (what, mine), (_, theirs) in zip(facts(one), facts(other), strict=True)]


def lineage_chart(graph: LineageGraph) -> tuple[Callable[[Palette], dict[str, Any]], str]:
    """Return what draws a graph from left (what came first) to right, and the sentence that says it."""
    depth = _depths(graph)
    columns: dict[int, list[int]] = {}
    for number, node in enumerate(graph.nodes):
        columns.setdefault(depth[node.id], []).append(number)
    place = {
        number: (at, (len(column) - 1) / 2 - row) for at, column in columns.items() for row, number in enumerate(column)
    }
    high = max((len(column) for column in columns.values()), default=1) / 2
    index = {node.id: number for number, node in enumerate(graph.nodes)}
    kinds = list(NodeKind)

    def build(colours: Palette) -> dict[str, Any]:
        hidden = {"type": "value", "show": False}
        return {
            "legend": {"show": False},
            "tooltip": {"show": False},
            "grid": {"left": 60, "right": 60, "top": 12, "bottom": 36},
            "xAxis": {**hidden, "min": 0, "max": max(len(columns) - 1, 1)},
            "yAxis": {**hidden, "min": -high, "max": high},
            "series": [
                {
                    "type": "graph",
                    "coordinateSystem": "cartesian2d",
                    "symbolSize": 16,
                    "edgeSymbol": ["none", "arrow"],
                    "edgeSymbolSize": 7,
                    "lineStyle": {"color": colours.muted, "width": 1.5},
                    "label": {
                        "show": True, "position": "bottom", "color": colours.text, "fontSize": 11, "lineHeight": 14,
                        "formatter": "{b}",
                    },
                    "data": [
                        {
                            "id": str(number),
                            "name": f"{node.kind.value}\n{_short(node.text)}",
                            "value": list(place[number]),
                            "itemStyle": {"color": colours.series[kinds.index(node.kind) % len(colours.series)]},
                        }
                        for number, node in enumerate(graph.nodes)
                    ],
                    "links": [{"source": str(index[a]), "target": str(index[b])} for a, b in graph.edges],
                }
            ],
        }  # fmt: skip

    many = {kind: sum(node.kind is kind for node in graph.nodes) for kind in kinds}
    counted = ", ".join(
        f"{count} {kind.value}{'s' if count != 1 and kind is not NodeKind.STATIONS else ''}"
        for kind, count in many.items()
        if count
    )
    return build, f"From labels to stations: {counted}. The list below says the same, and links."


def _short(text: str) -> str:
    return text if len(text) <= _WIDE else f"{text[: _WIDE - 1]}…"


def _depths(graph: LineageGraph) -> dict[str, int]:
    """Return how far from the beginning each node lies: one more than the farthest of those before it."""
    before: dict[str, list[str]] = {node.id: [] for node in graph.nodes}
    for source, target in graph.edges:
        before[target].append(source)
    found: dict[str, int] = {}
    # Each pass settles at least the next column; a circle, which no registry makes, ends with the passes.
    for _ in graph.nodes:
        for name, sources in before.items():
            found[name] = max((found.get(source, 0) + 1 for source in sources), default=0)
        if all(found[name] == max((found[s] + 1 for s in sources), default=0) for name, sources in before.items()):
            break
    return found
