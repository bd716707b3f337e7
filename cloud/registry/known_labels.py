"""The labels of the newest release: what people may say of an image."""

from __future__ import annotations

from cloud.registry.bundle import open_bundle
from cloud.registry.release import Registry
from cloud.review.label_choice import LabelChoice
from contract.manifest import LabelKind, OutputKind


class KnownLabels:
    """The labels of the newest release, read from its bundle once."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._read: tuple[str, LabelChoice] = ("", LabelChoice())

    def choice(self) -> LabelChoice:
        """Return what people may say, anything where nothing is released yet.

        Raises:
            NotFound, BadBundle: the newest release's bundle is gone or damaged.
        """
        newest = self._registry.catalog.all()
        if not newest:
            return LabelChoice()
        digest = newest[0].digest
        if self._read[0] != digest:
            manifest, _ = open_bundle(self._registry.blobs.path(digest))
            choice = LabelChoice(
                tuple(label.name for label in manifest.labels),
                frozenset(label.name for label in manifest.labels if label.kind is LabelKind.GOOD),
                manifest.artefacts[0].output is OutputKind.INDEPENDENT,
            )
            self._read = (digest, choice)
        return self._read[1]
