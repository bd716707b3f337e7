"""The cloud: the aggregator of a fleet."""

__version__ = "0.1.0"
