"""The cloud: the aggregator of a fleet."""

__version__ = "0.2.0"
