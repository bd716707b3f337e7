"""Reads deploy/: a small resolver of what the kustomizations there use (resources, images, generated config maps, patches)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
ROOTS = ("base", "training", "overlays/small", "overlays/large")
KNOWN_FIELDS = {
    "apiVersion", "kind", "namespace", "resources", "labels", "images", "configMapGenerator", "patches",
}  # fmt: skip


def documents(path: Path) -> list[dict[str, Any]]:
    return [each for each in yaml.safe_load_all(path.read_text("utf-8")) if each]


def key(document: dict[str, Any]) -> tuple[str, str, str]:
    return document["apiVersion"], document["kind"], document["metadata"]["name"]


class Rendered:
    """What a kustomization comes to, as far as these tests ask."""

    def __init__(self, folder: Path) -> None:
        self.resources: dict[tuple[str, str, str], dict[str, Any]] = {}
        self.config_maps: dict[str, dict[str, Path]] = {}
        self.images: dict[str, str] = {}
        self.files: set[Path] = set()
        self._take(folder.resolve())

    def _take(self, folder: Path) -> None:
        (root,) = documents(folder / "kustomization.yaml")
        self.files.add(folder / "kustomization.yaml")
        assert set(root) <= KNOWN_FIELDS, set(root) - KNOWN_FIELDS
        for name in root.get("resources", ()):
            path = (folder / name).resolve()
            assert path.exists(), f"{folder}: no {name}"
            if path.is_dir():
                self._take(path)
                continue
            self.files.add(path)
            for document in documents(path):
                assert key(document) not in self.resources, f"{key(document)} twice"
                self.resources[key(document)] = document
        for generator in root.get("configMapGenerator", ()):
            assert (generator["name"] in self.config_maps) == (generator.get("behavior") == "replace")
            self.config_maps[generator["name"]] = {name: folder / name for name in generator["files"]}
            for name in generator["files"]:
                assert (folder / name).is_file(), f"{folder}: no {name}"
                self.files.add(folder / name)
        for image in root.get("images", ()):
            self.images[image["name"]] = f"{image['newName']}:{image['newTag']}"
        for patch in root.get("patches", ()):
            self.files.add(folder / patch["path"])
            for change in documents(folder / patch["path"]):
                assert key(change) in self.resources, f"{patch['path']} patches {key(change)}, which is not there"
                self.resources[key(change)] = merged(self.resources[key(change)], change)

    def of_kind(self, *kinds: str) -> Iterator[dict[str, Any]]:
        return (each for each in self.resources.values() if each["kind"] in kinds)

    def pods(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield (name, pod template) of everything that makes pods."""
        for each in self.of_kind("Deployment", "StatefulSet", "Job"):
            yield each["metadata"]["name"], each["spec"]["template"]


def merged(old: Any, change: Any) -> Any:
    """Return a strategic merge: mappings by key, lists of named things by name, anything else replaced."""
    if isinstance(old, dict) and isinstance(change, dict):
        return {**old, **{k: merged(old[k], v) if k in old else v for k, v in change.items()}}
    if isinstance(old, list) and isinstance(change, list) and all(isinstance(e, dict) and "name" in e for e in change):
        by_name = {each["name"]: each for each in old}
        assert set(by_name) >= {each["name"] for each in change}, "a patch adds to a list: say so here first"
        changes = {each["name"]: each for each in change}
        return [merged(each, changes.get(each["name"], {})) for each in old]
    return change


def containers(template: dict[str, Any]) -> list[dict[str, Any]]:
    return [*template["spec"].get("initContainers", ()), *template["spec"]["containers"]]
