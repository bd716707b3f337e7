"""Which label names mean a good part."""

from __future__ import annotations

from collections.abc import Sequence

from contract.errors import BadDataset
from contract.manifest import Label, LabelKind

GOOD_NAMES = frozenset({"good", "ok", "free", "pass", "normal"})
_LONGEST_NAME = 100


def make_labels(names: Sequence[str], good: Sequence[str] | None, background: str | None = None) -> tuple[Label, ...]:
    """Return the labels in order, each GOOD or DEFECT.

    Args:
        names: class names.
        good: the GOOD ones; None takes those called good, ok, free, pass or normal, in any case.
        background: what an image is called that nothing is marked on; GOOD too where `good` is None.
    Raises:
        BadDataset: `good` names a class that the data does not have, or a name cannot be shown.
    """
    for name in names:
        check_name(name)
    if good is not None:
        unknown = sorted(set(good) - set(names))
        if unknown:
            raise BadDataset(f"no image is labelled '{unknown[0]}'", hint=f"the labels are {', '.join(names)}")
    chosen = {n for n in names if n.lower() in GOOD_NAMES or n == background} if good is None else set(good)
    return tuple(Label(n, LabelKind.GOOD if n in chosen else LabelKind.DEFECT) for n in names)


def check_name(name: str) -> None:
    """Check that screens, tables and file names can show a label.

    Raises:
        BadDataset: it is blank, over 100 characters long, or holds a character that is not printable.
    """
    if not name.strip() or name != name.strip() or len(name) > _LONGEST_NAME or not name.isprintable():
        raise BadDataset(
            f"{name[:_LONGEST_NAME]!a} cannot be shown as a label",
            hint=f"use 1 to {_LONGEST_NAME} printable characters, without blanks around them",
        )


def no_good_warning(labels: Sequence[Label]) -> str | None:
    """Return what to tell a person when no label is GOOD, else None."""
    if any(label.kind is LabelKind.GOOD for label in labels):
        return None
    return "no label means a good part, so no part will ever PASS automatically; name good labels with --good"
