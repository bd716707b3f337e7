"""What a person may say of a part: one of the model's labels, or several defects where its labels do not exclude each other.

Several are written as one, "dent;scratch", in the model's order, so that two people who mean the same say the same.
"""

from __future__ import annotations

from dataclasses import dataclass

from contract.errors import RefusedError

SEPARATOR = ";"
MAX_CHARS = 120
KEYS = "123456789abcdefghijklmnpqrstvwxy"
"""The key of each label by its place: digits, then letters without "o", "u" and "z", which do something else on the page."""


@dataclass(frozen=True, slots=True)
class LabelChoice:
    """The labels of a model in its order, which of them are `good`, and whether a part may have `several`.

    Without names anything may be said: no model is released yet.
    """

    names: tuple[str, ...] = ()
    good: frozenset[str] = frozenset()
    several: bool = False

    def check(self, label: str) -> str:
        """Return what a person says as it is stored.

        Raises:
            RefusedError: the model has no such label, or these do not go together.
        """
        if not self.names or label in self.names:
            return label
        known = f"use one of: {', '.join(self.names)}"
        if not (self.several and SEPARATOR in label):
            raise RefusedError(f"'{label}' is no label of the running model", hint=known)
        said = {each.strip() for each in label.split(SEPARATOR)}
        unknown = sorted(said - set(self.names))
        if unknown:
            raise RefusedError(f"'{unknown[0]}' is no label of the running model", hint=known)
        if said & self.good and len(said) > 1:
            raise RefusedError(f"'{label}' says that a part is good and has a defect", hint="leave one of them out")
        joined = SEPARATOR.join(name for name in self.names if name in said)
        if len(joined) > MAX_CHARS:
            raise RefusedError(f"{len(joined)} characters of labels are more than {MAX_CHARS}", hint="name the worst")
        return joined

    def keys(self) -> dict[str, str]:
        """Return the label of each key, by the place that the model gives it."""
        return dict(zip(KEYS, self.names, strict=False))


def said_labels(truth: str) -> tuple[str, ...]:
    """Return the labels that a stored truth names, the first first."""
    return tuple(truth.split(SEPARATOR))


def is_right(answer: str, truth: str | None) -> bool:
    """Return whether a model's answer is (one of) what people say of a part."""
    return truth is not None and (answer == truth or answer in said_labels(truth))
