"""From a released version back to its runs, their datasets and who labelled them, and on to its rollouts and stations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cloud.ports.lineage import LineageGraph, Node, NodeKind
from cloud.ports.rollouts import Rollout
from cloud.registry.catalog import Catalog, ReleasedVersion
from cloud.retrain.run_folder import RunFolder
from cloud.retrain.run_records import RunInfo
from contract.errors import PlumblineError
from contract.ids import is_digest

MAX_RUNS = 8
MAX_PEOPLE = 6


@dataclass(frozen=True, slots=True)
class VersionLineage:
    """Reads the kept runs in `runs`; `datasets` is where datasets have names."""

    catalog: Catalog
    runs: Path
    rollouts: Callable[[], Sequence[Rollout]]
    stations_on: Callable[[str], Sequence[str]]

    def of(self, released: ReleasedVersion) -> LineageGraph:
        """Return the graph of a version. What is gone is said among its gaps; hashes are taken again by `why`, not here."""
        graph = _Graph()
        self._origin(graph, released, MAX_RUNS)
        version = _version_id(released.version)
        for rollout in self.rollouts():
            if rollout.version == released.version:
                id_ = f"rollout {rollout.id}"
                graph.add(Node(id_, NodeKind.ROLLOUT, id_, rollout.state.value.lower(), f"/rollouts/{rollout.id}"))
                graph.link(version, id_)
        running = self.stations_on(released.digest)
        if running:
            shown = ", ".join(running[:5]) + (f" and {len(running) - 5} more" if len(running) > 5 else "")
            path = f"/fleet/{running[0]}" if len(running) == 1 else "/fleet"
            graph.add(Node("stations", NodeKind.STATIONS, f"{len(running)} running it", shown, path))
            last = next((node.id for node in reversed(graph.nodes) if node.kind is NodeKind.ROLLOUT), version)
            graph.link(last, "stations")
        return LineageGraph(tuple(graph.nodes), tuple(dict.fromkeys(graph.edges)), tuple(graph.gaps))

    def _origin(self, graph: _Graph, released: ReleasedVersion, left: int) -> None:
        """Add a version with what it was made of, oldest first."""
        version, run = _version_id(released.version), RunFolder(self.runs / released.version)
        info: RunInfo | None = None
        try:
            info = run.info()
        except PlumblineError as error:
            what = "its run is not kept here" if not run.root.is_dir() else f"its run cannot be read: {error.message}"
            graph.gaps.append(f"{released.version}: {what}")
        if info is not None and info.parent:
            self._parent(graph, info.parent, left)
        made_of = f"dataset {released.lineage.dataset[:12]}"
        if released.lineage.dataset:
            self._dataset(graph, run, info, made_of, released)
        run_id = f"run of {released.version}"
        if info is not None:
            detail = (
                f"{info.figures.train_images} training images, {info.figures.seconds:.0f} s on {info.figures.device}"
            )
            graph.add(Node(run_id, NodeKind.RUN, run_id, detail, f"/models/{released.version}"))
            if released.lineage.dataset:
                graph.link(made_of, run_id)
            if info.parent and (parent := self._release_of(info.parent)) is not None:
                graph.link(_version_id(parent.version), run_id)
        before = run_id if info is not None else made_of if released.lineage.dataset else ""
        if released.gate_report or released.lineage.gate:
            gate = f"gate of {released.version}"
            said = f"report {(released.gate_report or released.lineage.gate)[:12]}"
            graph.add(Node(gate, NodeKind.GATE, gate, said, f"/models/{released.version}"))
            if before:
                graph.link(before, gate)
            before = gate
        graph.add(
            Node(
                version,
                NodeKind.VERSION,
                released.version,
                f"bundle {released.digest[:12]}",
                f"/models/{released.version}",
            )
        )
        if before:
            graph.link(before, version)

    def _parent(self, graph: _Graph, parent: str, left: int) -> None:
        released = self._release_of(parent)
        if released is None:
            graph.gaps.append(f"its parent '{Path(parent).name[:40]}' is no release of this registry")
        elif left <= 1:
            graph.gaps.append(f"what '{released.version}' was made of is on its own page")
            graph.add(
                Node(
                    _version_id(released.version), NodeKind.VERSION, released.version, "", f"/models/{released.version}"
                )
            )
        else:
            self._origin(graph, released, left - 1)

    def _release_of(self, parent: str) -> ReleasedVersion | None:
        if is_digest(parent):
            return self.catalog.by_digest(parent)
        name = Path(parent).name
        return next((each for each in self.catalog.all() if each.version == name), None)

    @staticmethod
    def _dataset(graph: _Graph, run: RunFolder, info: RunInfo | None, id_: str, released: ReleasedVersion) -> None:
        name, short = info.dataset if info is not None else "", released.lineage.dataset[:12]
        try:
            entries = run.dataset().entries
        except PlumblineError as error:
            graph.gaps.append(f"{released.version}: its dataset's images are not known: {error.message}")
            graph.add(Node(id_, NodeKind.DATASET, name or short, ""))
            return
        people = Counter(entry.labeller or "unknown" for entry in entries)
        for person, images in people.most_common(MAX_PEOPLE):
            graph.add(Node(f"labeller {person}", NodeKind.PERSON, person, f"{images} images of {name or short}"))
            graph.link(f"labeller {person}", id_)
        if len(people) > MAX_PEOPLE:
            graph.gaps.append(f"{len(people) - MAX_PEOPLE} more people labelled {name or short}")
        path = f"/models/{released.version}/dataset"
        graph.add(Node(id_, NodeKind.DATASET, name or short, f"{len(entries)} images", path))


@dataclass(slots=True)
class _Graph:
    nodes: list[Node] = field(default_factory=list)
    edges: list[tuple[str, str]] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)

    def add(self, node: Node) -> None:
        if all(each.id != node.id for each in self.nodes):
            self.nodes.append(node)

    def link(self, before: str, after: str) -> None:
        if before != after:
            self.edges.append((before, after))


def _version_id(version: str) -> str:
    return f"version {version}"
