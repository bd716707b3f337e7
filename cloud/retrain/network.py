"""The network of a run: built fresh, or again from a checkpoint, whatever pruning left of it."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from cloud.retrain.checkpoint import read_weights, restore
from cloud.retrain.models.build import build_model
from cloud.retrain.models.surface import channels_of
from cloud.retrain.prune import prune
from cloud.retrain.run_folder import RunFolder
from cloud.retrain.run_records import Recipe
from contract.manifest import Label, LabelKind
from contract.preprocess import PreprocessSpec


def good_places(labels: Sequence[Label]) -> tuple[int, ...]:
    """Return the places of the labels that mean a good part."""
    return tuple(place for place, label in enumerate(labels) if label.kind is LabelKind.GOOD)


def fresh_network(recipe: Recipe, spec: PreprocessSpec, labels: Sequence[Label]) -> nn.Module:
    """Return an untrained network as `recipe` says. Raises InvalidConfig where it cannot be."""
    return build_model(recipe, spec.channels, len(labels), spec.height, good=good_places(labels))


def network_of(run: RunFolder) -> nn.Module:
    """Return a finished run's network with its weights.

    Raises:
        NotFound: it is no finished run.
        BadModel: its checkpoint is damaged, or does not fit its recipe.
    """
    info = run.info()
    weights = read_weights(run.checkpoint)
    spec, surface = info.preprocess, info.recipe.model.startswith("surface")
    model = build_model(
        info.recipe,
        spec.channels,
        len(info.labels),
        spec.height,
        good=good_places(info.labels),
        stage_channels=channels_of(weights) if surface else None,
    )
    restore(model, weights, run.checkpoint)
    return model


def starting_network(
    recipe: Recipe, spec: PreprocessSpec, labels: Sequence[Label], parent: RunFolder | None
) -> nn.Module:
    """Return what training starts from: the parent's network, pruned as `recipe` says, or an untrained one."""
    if parent is None:
        return fresh_network(recipe, spec, labels)
    model = network_of(parent)
    return prune(model, recipe.prune) if recipe.prune > 0 else model
