"""By what an exported network's nodes are told apart: names are all that a graph keeps of the network it was."""

from __future__ import annotations

FLOAT_PREFIX = "float."
"""The last steps, which stay in floating point whatever is quantized."""
STEM_PREFIX = "stem."
"""The first convolution with its ReLU and pooling."""
