"""The fleet page's address: what is filtered and sorted for, so that a link shows another person the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar
from urllib.parse import urlencode

from cloud.store.fleet_rows import DriftPhase, FleetFilter, LinkState, SortBy

_E = TypeVar("_E", bound=Enum)
_MOST_CHARS = 120
NO_MODEL = "none"


@dataclass(frozen=True, slots=True)
class FleetAddress:
    """What the page shows. "" is no filter. `model` is a version's name, or `NO_MODEL`; `needs`: those that need somebody."""

    text: str = ""
    site: str = ""
    board: str = ""
    link: str = ""
    drift: str = ""
    model: str = ""
    update: str = ""
    simulated: str = ""
    needs: str = ""
    sort: str = ""
    descending: str = ""
    start: str = ""
    view: str = ""

    def query(self) -> str:
        """Return it as the part of an address behind the "?", "" where everything is as usual."""
        return urlencode({name: value for name in self.__slots__ if (value := getattr(self, name))})

    def path(self) -> str:
        """Return the page's path with it."""
        return f"/fleet?{query}" if (query := self.query()) else "/fleet"

    def sort_by(self) -> SortBy:
        """Return what is sorted by; by name where it names nothing."""
        return _known(SortBy, self.sort) or SortBy.NAME

    def first(self) -> int:
        """Return the number of the first row, 0 where it is none."""
        return int(self.start) if self.start.isascii() and self.start.isdigit() and len(self.start) < 9 else 0

    def chosen(self, bundles: Mapping[str, str], needy: frozenset[str]) -> FleetFilter:
        """Return the filter. What names nothing that can be filtered by, filters for nothing.

        Args:
            bundles: what people call each bundle, by its digest.
            needy: the stations that need somebody.
        """
        bundle: str | None = None
        if self.model:
            digests = [digest for digest, version in bundles.items() if version == self.model]
            # One that is not in the catalogue any more goes by its digest.
            bundle = "" if self.model == NO_MODEL else digests[0] if digests else self.model
        return FleetFilter(
            text=self.text.strip(),
            site=self.site or None,
            board=self.board or None,
            link=_known(LinkState, self.link),
            drift=_known(DriftPhase, self.drift),
            bundle=bundle,
            update=self.update or None,
            simulated={"yes": True, "no": False}.get(self.simulated),
            among=needy if self.needs == "yes" else None,
        )


def address_of(query: Mapping[str, str]) -> FleetAddress:
    """Return the address that a request's query gives; whatever it does not know, it leaves out."""
    found = {}
    for name in FleetAddress.__slots__:
        value = query.get(name, "").replace("\0", "")[:_MOST_CHARS]
        found[name] = value.encode("utf-8", "ignore").decode()
    return FleetAddress(**found)


def _known(kind: type[_E], value: str) -> _E | None:
    return next((each for each in kind if each.value == value), None)
