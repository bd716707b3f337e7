"""Datasets over HTTP: which there are, what is in each by count, and what changed from one to another. No image leaves by it."""

from __future__ import annotations

from typing import Annotated, Any, Protocol

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel, ConfigDict

from cloud.api.auth import Guards, Scope
from cloud.api.version_bodies import VersionName

# A path names a dataset too, on the command line: over HTTP only names do.
_REFERENCE = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}(@[0-9a-fA-F]{1,12})?$"
Reference = Annotated[str, Path(pattern=_REFERENCE, description="NAME, or NAME@ID", examples=["tiles@3f9c"])]
AskedReference = Annotated[str, Query(pattern=_REFERENCE, description="NAME, or NAME@ID", examples=["tiles"])]


class Datasets(Protocol):
    """Tells of datasets. Each answer is JSON-ready."""

    def all(self) -> list[dict[str, Any]]:
        """Return the counts of every dataset, by name and age."""

    def get(self, reference: str) -> dict[str, Any]:
        """Return the counts of NAME, or NAME@PREFIX."""

    def diff(self, before: str, after: str) -> dict[str, Any]:
        """Return what changed."""

    def of_version(self, version: str) -> dict[str, Any]:
        """Return the counts of what a released version learnt from."""


class DatasetTold(BaseModel):
    """A dataset in counts of images. `labels`: by label and split; `kinds`: what each label means."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "tiles", "id": "3f9c0a51b7e2", "latest": True, "images": 120, "parts": 60,
                    "labels": {"good": {"train": 40, "calibration": 8, "holdout": 20, "drift": 0}},
                    "kinds": {"good": "good"}, "splits": {"train": 40, "calibration": 8, "holdout": 20},
                    "sources": {"s1": 120}, "labellers": {"eva": 120}, "masks": 0, "several_labels": 0, "warnings": [],
                }
            ]
        }
    )  # fmt: skip

    name: str
    id: str
    latest: bool
    images: int
    parts: int
    labels: dict[str, dict[str, int]]
    kinds: dict[str, str]
    splits: dict[str, int]
    sources: dict[str, int]
    labellers: dict[str, int]
    masks: int
    several_labels: int
    warnings: list[str]


class ChangeTold(BaseModel):
    """One image. `before` and `after` are labels or splits, "" where it was not there."""

    file: str
    sha256: str
    before: str
    after: str


class DiffTold(BaseModel):
    """What changed: `counts` of all of it, and the first 500 images of each kind."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "before": "tiles@3f9c", "after": "tiles", "same": 118,
                    "counts": {"added": 2, "removed": 0, "relabelled": 0, "moved": 0, "masked": 0},
                    "added": [{"file": "a.png", "sha256": "ab" * 32, "before": "", "after": "good"}],
                    "removed": [], "relabelled": [], "moved": [], "masked": [],
                }
            ]
        }
    )  # fmt: skip

    before: str
    after: str
    same: int
    counts: dict[str, int]
    added: list[ChangeTold]
    removed: list[ChangeTold]
    relabelled: list[ChangeTold]
    moved: list[ChangeTold]
    masked: list[ChangeTold]


def dataset_routes(guards: Guards, datasets: Datasets) -> APIRouter:
    """Return the routes under /v1 about datasets."""
    routes = APIRouter(prefix="/v1", tags=["datasets"], dependencies=[Depends(guards.needs(Scope.READ))])

    @routes.get("/datasets", summary="Every dataset that has a name")
    def all_datasets() -> list[DatasetTold]:
        return [DatasetTold(**each) for each in datasets.all()]

    @routes.get("/datasets/diff", summary="What changed from one dataset to another")
    def diff(before: AskedReference, after: AskedReference) -> DiffTold:
        return DiffTold(**datasets.diff(before, after))

    @routes.get("/datasets/{reference}", summary="One dataset")
    def one(reference: Reference) -> DatasetTold:
        return DatasetTold(**datasets.get(reference))

    @routes.get("/versions/{version}/dataset", summary="What a version learnt from")
    def of_version(version: VersionName) -> DatasetTold:
        return DatasetTold(**datasets.of_version(version))

    return routes
