"""What a person may say of a part: one of the model's labels, or several defects where its labels do not exclude each other.

Several are written as one, "dent;scratch", in the model's order, so that two people who mean the same say the same. A name that
holds a semicolon itself is put into quotes, as in CSV: "a;b" in quotes is one label and without them two.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
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
        """Return what a person says as it is stored: the name of a label, or several as above. What is stored comes out as it is.

        Raises:
            RefusedError: the model has no such label, or these do not go together.
        """
        if not self.names:
            return label
        # As a person writes it, a name is a name, whatever it holds; stored, it would be in quotes.
        if label in self.names:
            return self.check_all([label])
        said = said_labels(label)
        if len(said) > 1 and not self.several:
            unknown = f"'{label}' is no label of the running model"
            raise RefusedError(unknown, hint=f"use one of: {', '.join(self.names)}")
        return self.check_all(said)

    def check_all(self, labels: Sequence[str]) -> str:
        """Return names of labels as they are stored.

        Raises:
            RefusedError: as `check`.
        """
        if not self.names:
            return stored(dict.fromkeys(labels))
        said = frozenset(labels)
        unknown = sorted(said - frozenset(self.names))
        if unknown or not said:
            name = unknown[0] if unknown else ""
            raise RefusedError(
                f"'{name}' is no label of the running model", hint=f"use one of: {', '.join(self.names)}"
            )
        if len(said) > 1 and not self.several:
            told = ", ".join(f"'{each}'" for each in labels)
            raise RefusedError(f"{told}: a part has one label of this model", hint="name the one it is")
        if said & self.good and len(said) > 1:
            raise RefusedError(
                f"'{stored(labels)}' says that a part is good and has a defect", hint="leave one of them out"
            )
        ordered = [name for name in self.names if name in said]
        joined = stored(ordered)
        if joined in self.names and joined != ordered[0]:
            joined = stored(ordered, always=True)  # without quotes it would be that one label
        if len(joined) > MAX_CHARS:
            raise RefusedError(f"{len(joined)} characters of labels are more than {MAX_CHARS}", hint="name the worst")
        return joined

    def keys(self) -> dict[str, str]:
        """Return the label of each key, by the place that the model gives it."""
        return dict(zip(KEYS, self.names, strict=False))


def stored(names: Iterable[str], *, always: bool = False) -> str:
    """Return names as one text, from which `said_labels` takes them again. `always`: each is in quotes, needed or not.

    >>> stored(["dent", "scratch"]), stored(["a;b"]), stored(["a;b", "dent"])
    ('dent;scratch', '"a;b"', '"a;b";dent')
    """
    return SEPARATOR.join(_quoted(name) if always or _needs_quotes(name) else name for name in names)


def said_labels(truth: str) -> tuple[str, ...]:
    """Return the labels that a stored truth names, the first first; blanks around them do not count."""
    if '"' not in truth:
        return tuple(name.strip() for name in truth.split(SEPARATOR))
    try:
        rows = csv.reader(io.StringIO(truth, newline=""), delimiter=SEPARATOR, skipinitialspace=True)
        return tuple(name.strip() for name in next(rows))
    except csv.Error:
        return (truth,)


def is_right(answer: str, truth: str | None) -> bool:
    """Return whether a model's answer is (one of) what people say of a part."""
    # The whole, too: before names were put into quotes, one that holds a semicolon was stored as it is.
    return truth is not None and (answer == truth or answer in said_labels(truth))


def _needs_quotes(name: str) -> bool:
    # A quote inside a name is a character as any other; only one at its beginning opens a quoted name.
    return SEPARATOR in name or name.startswith('"')


def _quoted(name: str) -> str:
    doubled = name.replace('"', '""')
    return f'"{doubled}"'
