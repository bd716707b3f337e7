"""The labels of the newest release: what people may say of an image."""

from __future__ import annotations

from cloud.registry.bundle import open_bundle
from cloud.registry.release import Registry


def known_labels(registry: Registry) -> list[str]:
    """Return them in the model's order, [] where nothing is released yet.

    Raises:
        NotFound, BadBundle: the newest release's bundle is gone or damaged.
    """
    newest = registry.catalog.all()
    if not newest:
        return []
    manifest, _ = open_bundle(registry.blobs.path(newest[0].digest))
    return [label.name for label in manifest.labels]
