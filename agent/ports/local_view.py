"""What the local API needs of the station it stands in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from agent.ports.slots import InstalledBundle


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A bundle that was loaded, which artefact of it runs, and when it was loaded (Unix seconds)."""

    bundle: InstalledBundle
    artefact: str
    artefact_sha256: str
    loaded_at: float


class StationView(Protocol):
    """Facts about a running station. Thread-safe; nothing here is waited for by the frame line."""

    station: str
    simulated: bool

    def status(self) -> Mapping[str, Any]:
        """Return what `plumbline-agent status` shows.

        Raises:
            TransientError: the database cannot be read now.
        """

    def in_charge(self) -> InstalledBundle | None:
        """Return the bundle that decides, None while there is none."""

    def why_void(self) -> str:
        """Return "" while the thresholds' guarantee holds for every camera; otherwise what voids it."""

    def why_unhealthy(self) -> str:
        """Return "" while frames get through and are stored; otherwise what is wrong, in words for a person."""

    def uplink_trouble(self) -> str:
        """Return what shuts the station out of the broker, in words for a person; "" for nothing. The line goes on without it."""

    def controller_trouble(self) -> str:
        """Return why no verdict reaches the line's controller, in words for a person; "" for nothing."""

    def metrics(self) -> str:
        """Return the station's counters in Prometheus' text format."""


@dataclass(frozen=True, slots=True)
class AlsoSeen:
    """A further defect that the model sees in an image, and how sure it is, 0..1."""

    label: str
    confidence: float


@dataclass(frozen=True, slots=True)
class Judged:
    """One image's verdict, as the API answers it. `error` is "" unless the image could not be judged; `cause` is REVIEW's.

    `also`: further defects beside `label`, likeliest first, where the model's labels do not exclude each other.
    """

    verdict: str
    label: str
    confidence: float
    ms: float
    cause: str = ""
    error: str = ""
    also: tuple[AlsoSeen, ...] = ()


class ImageJudge(Protocol):
    """Judges an image that somebody sent, where it cannot hold up the line. One caller at a time."""

    def judge(self, bundle: InstalledBundle, image: bytes) -> Judged:
        """Return the verdict on the encoded image.

        Raises:
            BadImage: it is no usable image.
            TransientError: the judge died, or did not answer in time; ask again.
            BadModel: the bundle does not load there.
        """

    def close(self) -> None:
        """Free what it holds."""
