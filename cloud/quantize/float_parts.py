"""Which steps of an exported network stay in floating point when the rest is quantized."""

from __future__ import annotations

import itertools

import onnx

from cloud.quantize.float_tail import float_tail
from cloud.retrain.node_names import FLOAT_PREFIX, STEM_PREFIX


def float_parts(model: onnx.ModelProto, *, stem: bool) -> tuple[str, ...]:
    """Return the names of the nodes to leave out of quantization, and make `model` ready for that.

    What follows the last weights always, whatever network it is of: 8 bits of a sigmoid's answer are 1/256 apart. (A class map is
    a picture, 8 bits do.) The `stem` on CPUs: ONNX Runtime gathers an int8 convolution's patches value by value, which for 1 or 3
    channels is 7 times slower than floats, and was half the time of the whole network. Its pooling is put before its ReLU, which
    answers the same: otherwise ONNX Runtime moves the step to 8 bits in front of the pooling, and pools bytes 100 times slower
    than floats (1.31: 9.7 ms where 0.08 ms would do).

    Measured (one thread, x86 with AVX512-VNNI, ms: fp32, int8 with and without the stem in it): width 2 at 200 pixels 2.09, 1.25,
    0.86; at 96 2.10, 1.28, 0.85; width 1 at 200 0.73, 0.90, 0.50; at 96 0.61, 0.68, 0.36.
    """
    if stem:
        _pool_before_relu(model)
    prefixes = (FLOAT_PREFIX, STEM_PREFIX) if stem else (FLOAT_PREFIX,)
    named = {node.name for node in model.graph.node if node.name.startswith(prefixes)}
    return tuple(sorted(named | set(float_tail(model))))


def _pool_before_relu(model: onnx.ModelProto) -> None:
    nodes = list(model.graph.node)
    of_stem = [node for node in nodes if node.name.startswith(STEM_PREFIX)]
    for relu, pool in itertools.pairwise(of_stem):
        if (relu.op_type, pool.op_type) != ("Relu", "MaxPool") or pool.input[0] != relu.output[0]:
            continue
        between, answer = relu.output[0], pool.output[0]
        pool.input[0], pool.output[0] = relu.input[0], between
        relu.input[0], relu.output[0] = between, answer
        # The tensor between has another shape now; whoever needs it infers it again.
        for value in [v for v in model.graph.value_info if v.name == between]:
            model.graph.value_info.remove(value)
        first, second = nodes.index(relu), nodes.index(pool)
        nodes[first], nodes[second] = pool, relu
        ordered = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
        del model.graph.node[:]
        model.graph.node.extend(ordered)
        return
