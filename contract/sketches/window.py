"""The mergeable sketches of one window of frames."""

from __future__ import annotations

import msgspec


class SketchIdentity(msgspec.Struct, frozen=True):
    """What two windows must share to be mergeable.

    `features`: version of the statistics and of every layout and scale in this package. `seed`: of the random projection.
    `reference`: digest of the enrolled `Reference` whose bins the histograms use, "" while enrolling. `artefact`: SHA-256 of
    the model file whose outputs are sketched. `labels`: how many labels it has.
    """

    features: int
    seed: int
    reference: str
    artefact: str
    labels: int


class WindowWire(msgspec.Struct, frozen=True):
    """A window on the wire: each section is a run of integers, packed at the narrowest width that holds them."""

    identity: SketchIdentity
    frames: int
    sections: dict[str, bytes]
