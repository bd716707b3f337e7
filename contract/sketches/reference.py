"""What a station enrolled: the centre and width of each statistic and projection, frozen until it is enrolled again."""

from __future__ import annotations

import hashlib
import math

import msgspec

from contract.errors import BadMessage
from contract.sketches.moments import MEASURES_VERSION, N_STATISTICS
from contract.sketches.projection import PROJECTIONS


class Reference(msgspec.Struct, frozen=True):
    """Where the histogram bins lie and how projections are standardised.

    `centre` and `sd` are of the 12 statistics; `projection_centre` and `projection_sd` of the 64 raw projections made with
    `seed`; `frames` is how many frames were enrolled; `measures` is `moments.MEASURES_VERSION` as it was then.
    """

    seed: int
    frames: int
    centre: tuple[float, ...]
    sd: tuple[float, ...]
    projection_centre: tuple[float, ...]
    projection_sd: tuple[float, ...]
    measures: int = 1

    def digest(self) -> str:
        """Return the SHA-256 of this reference: part of the identity of every sketch that uses it."""
        return hashlib.sha256(encode_reference(self)).hexdigest()


# While a station enrols, its windows carry reference "" and use these wide bins; the cloud does not judge them.
FACTORY_REFERENCE = Reference(
    seed=0,
    frames=0,
    centre=(0.5,) * N_STATISTICS,
    sd=(0.5,) * N_STATISTICS,
    projection_centre=(0.0,) * PROJECTIONS,
    projection_sd=(1.0,) * PROJECTIONS,
    measures=MEASURES_VERSION,
)


def encode_reference(reference: Reference) -> bytes:
    """Return `reference` as JSON; the same reference always gives the same bytes."""
    return msgspec.json.encode(reference)


def decode_reference(payload: bytes) -> Reference:
    """Return the reference in `payload`.

    Raises:
        BadMessage: it is none, its numbers cannot be used, or the statistics were taken in another way.
    """
    try:
        reference = msgspec.json.decode(payload, type=Reference)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise BadMessage(f"no sketch reference: {error}", hint="enrol the station again") from error
    sizes = (N_STATISTICS, N_STATISTICS, PROJECTIONS, PROJECTIONS)
    parts = (reference.centre, reference.sd, reference.projection_centre, reference.projection_sd)
    if tuple(map(len, parts)) != sizes or not all(math.isfinite(value) for part in parts for value in part):
        raise BadMessage("a sketch reference of the wrong size or with NaN", hint="enrol the station again")
    if min(reference.sd) <= 0 or min(reference.projection_sd) <= 0 or reference.frames < 0 or reference.seed < 0:
        raise BadMessage("a sketch reference with a width of zero or less", hint="enrol the station again")
    if reference.measures != MEASURES_VERSION:
        raise BadMessage(
            f"a sketch reference of measures {reference.measures}, not {MEASURES_VERSION}",
            hint="enrol the station again",
        )
    return reference
