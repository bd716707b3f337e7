"""Where a version came from and where it went, as a graph that pages draw and the API tells."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class NodeKind(str, Enum):
    """What a node stands for."""

    PERSON = "labeller"
    DATASET = "dataset"
    RUN = "run"
    GATE = "gate"
    VERSION = "version"
    ROLLOUT = "rollout"
    STATIONS = "stations"


@dataclass(frozen=True, slots=True)
class Node:
    """Something in a graph. `path` is its page, "" where it has none; `detail` says more of it."""

    id: str
    kind: NodeKind
    text: str
    detail: str = ""
    path: str = ""


@dataclass(frozen=True, slots=True)
class LineageGraph:
    """Nodes from what came first to what came last, and (from, to) between them. `gaps`: what is not known."""

    nodes: tuple[Node, ...]
    edges: tuple[tuple[str, str], ...]
    gaps: tuple[str, ...] = ()
