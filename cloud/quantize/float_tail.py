"""The last steps of a model, after its last weights: they stay in full precision.

A model of independent labels ends in a sigmoid, and in 1 minus the largest defect for its good label. These cost nothing, and 8
bits would round every probability near 0 or 1 to it.
"""

from __future__ import annotations

import onnx

_WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


def float_tail(model: onnx.ModelProto) -> tuple[str, ...]:
    """Return the names of the nodes that come after a weighted node and before none."""
    makers = {name: node for node in model.graph.node for name in node.output if name}
    before: set[str] = set()
    after: set[str] = set()
    # Nodes are in topological order: forwards tells what has weights before it, backwards what has some after it.
    for node in model.graph.node:
        makers_of = [makers[name] for name in node.input if name in makers]
        if any(each.op_type in _WEIGHTED or each.name in after for each in makers_of):
            after.add(node.name)
    for node in reversed(model.graph.node):
        if node.op_type in _WEIGHTED or node.name in before:
            before.update(makers[name].name for name in node.input if name in makers)
    return tuple(
        node.name
        for node in model.graph.node
        if node.name in after and node.name not in before and node.op_type not in _WEIGHTED
    )


def is_weighted(node: onnx.NodeProto) -> bool:
    """Return whether a node multiplies by weights: what int8 makes faster, and less exact."""
    return node.op_type in _WEIGHTED
