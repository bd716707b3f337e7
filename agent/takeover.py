"""A model that is loaded beside the line to take over from the one in charge."""

from __future__ import annotations

from collections.abc import Callable

from agent.loading import Loading, Model


class Takeover:
    """At most one is wanted; what is loaded for nobody any more is freed once it is there. One thread's."""

    def __init__(self) -> None:
        self._wanted: Loading | None = None
        self._abandoned: list[Loading] = []

    @property
    def under_way(self) -> bool:
        """Whether one is wanted and was not yet taken."""
        return self._wanted is not None

    @property
    def loading(self) -> bool:
        """Whether it is being loaded right now."""
        return self._wanted is not None and not self._wanted.done()

    def begin(self, load: Callable[[], Model]) -> None:
        """Load another one, and want the one before no more."""
        self.abandon()
        self._wanted = Loading(load)

    def abandon(self) -> None:
        """Want none."""
        if self._wanted is not None:
            self._abandoned.append(self._wanted)
            self._wanted = None

    def take(self) -> Loading | None:
        """Return what was loaded, or failed to, once; None while nothing has come of it. Call at every frame boundary."""
        for loading in [each for each in self._abandoned if each.done()]:
            self._abandoned.remove(loading)
            if loading.model is not None:
                loading.model.close()
        if self._wanted is None or not self._wanted.done():
            return None
        taken, self._wanted = self._wanted, None
        return taken
