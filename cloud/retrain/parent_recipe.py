"""A child has its parent's network: what its recipe may say about it, and what it takes over."""

from __future__ import annotations

import msgspec

from cloud.retrain.run_records import Recipe
from contract.errors import InvalidConfig

_OF_THE_NETWORK = ("model", "width", "head")


def recipe_of_child(recipe: Recipe, parent: Recipe, given: frozenset[str] = frozenset()) -> Recipe:
    """Return `recipe` with the parent's network.

    Args:
        given: fields that a person set; the others' defaults give way. Fields unlike their default count as set.
    Raises:
        InvalidConfig: a set field contradicts the parent.
    """
    usual = Recipe()
    for name in _OF_THE_NETWORK:
        asked, had = getattr(recipe, name), getattr(parent, name)
        if asked != had and (name in given or asked != getattr(usual, name)):
            raise InvalidConfig(
                f"--{name} {_shown(asked)} contradicts the parent, which has {_shown(had)}",
                hint=f"leave --{name} out, or train a new base model without --parent",
            )
    return msgspec.structs.replace(recipe, **{name: getattr(parent, name) for name in _OF_THE_NETWORK})


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(getattr(value, "value", value))
