"""What people do to released versions: retire them, take that back, and say what an alias means."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cloud.registry.catalog import Catalog
from cloud.store.versions import Versions
from contract.errors import RefusedError


@dataclass(frozen=True, slots=True)
class VersionDesk:
    """Acts on the versions of `catalog`. A version may be named by an alias; `now` is Unix seconds."""

    catalog: Catalog
    versions: Versions
    now: Callable[[], float]

    def adopt(self) -> None:
        """Give every released version its place (`Versions.adopt`)."""
        self.versions.adopt({each.version: each.created_at for each in self.catalog.all()}, self.now())

    def bundles(self) -> dict[str, str]:
        """Return the bundle of each version."""
        return {each.version: each.digest for each in self.catalog.all()}

    def resolve(self, name: str) -> str:
        """Return the version that is meant.

        Raises:
            NotFound: no such version or alias.
        """
        return self.catalog.get(self.versions.resolve(name)).version

    def retire(self, name: str, actor: str, reason: str, *, safe: str = "") -> str:
        """Let nobody be ordered to run a version from now on; return its name.

        Raises:
            NotFound: no such version.
            RefusedError, IllegalTransition: as `Versions.retire`.
        """
        version = self.resolve(name)
        self.versions.retire(version, self.bundles(), actor, reason, self.now(), safe=safe)
        return version

    def unretire(self, name: str, actor: str, reason: str) -> str:
        """Let a retired version be ordered again; return its name. Raises: as `retire`."""
        version = self.resolve(name)
        self.versions.unretire(version, actor, reason, self.now())
        return version

    def set_alias(self, alias: str, name: str, actor: str, reason: str, *, shown: str | None = None) -> str:
        """Let `alias` mean a version; return that.

        Args:
            shown: what the alias meant as the person saw it, "" for nothing; None not to ask.
        Raises:
            NotFound: no such version.
            RefusedError: the alias means something else meanwhile, or as `Versions.set_alias`.
        """
        if shown is not None:
            means = {each.alias: each.version for each in self.versions.aliases()}.get(alias, "")
            if means != shown:
                raise RefusedError(
                    f"'{alias}' means '{means or 'nothing'}' by now, not '{shown or 'nothing'}'",
                    hint="look at the page again",
                )
        version = self.resolve(name)
        self.versions.set_alias(alias, version, actor, reason, self.now())
        return version

    def drop_alias(self, alias: str, actor: str, reason: str) -> None:
        """Let `alias` mean nothing. Raises: as `Versions.drop_alias`."""
        self.versions.drop_alias(alias, actor, reason, self.now())
