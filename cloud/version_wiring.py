"""What people see of versions and do to them, put together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cloud.api.version_desk import VersionDesk
from cloud.api.version_facts import VersionBook
from cloud.registry.release import Registry
from cloud.retrain.dataset_book import DatasetBook
from cloud.retrain.dataset_store import DEFAULT_FOLDER
from cloud.retrain.version_lineage import VersionLineage
from cloud.settings import CloudSettings
from cloud.store_wiring import Stores


@dataclass(frozen=True, slots=True)
class VersionParts:
    """What is known of versions, what may be done to them, and the datasets behind them."""

    book: VersionBook
    desk: VersionDesk
    datasets: DatasetBook


def make_version_parts(
    settings: CloudSettings, stores: Stores, registry: Registry, now: Callable[[], float]
) -> VersionParts:
    """Return them, each version in its place (`VersionDesk.adopt`)."""

    runs = settings.path("runs")
    lineage = VersionLineage(
        registry.catalog, runs, stores.rollouts.all, lambda bundle: stores.versions.running().get(bundle, ())
    )
    book = VersionBook(registry, stores.versions, stores.database, now, lineage.of)
    desk = VersionDesk(registry.catalog, stores.versions, now)
    desk.adopt()
    return VersionParts(book, desk, DatasetBook(settings.path(DEFAULT_FOLDER), runs))
