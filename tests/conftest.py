"""What holds for every test."""

from __future__ import annotations

from hypothesis import settings

# A law is about values: how long an example takes on a machine that others use too is no part of it.
settings.register_profile("plumbline", settings(), deadline=None)
settings.load_profile("plumbline")
