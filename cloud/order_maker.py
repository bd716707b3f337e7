"""Orders made: numbered, signed, and signed anew before they expire (DESIGN 6)."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from cloud.ports.registry import OrderSigner, Releases
from cloud.ports.rollouts import RolloutBook, StandingOrder
from cloud.rollout.settings import RolloutSettings
from contract.errors import NotFound
from contract.messages import Order, Probation


class OrderMaker:
    """Makes orders that bear the next number of their station. Any thread may ask."""

    def __init__(
        self,
        *,
        rollouts: RolloutBook,
        releases: Releases,
        signer: OrderSigner,
        settings: RolloutSettings,
        now: Callable[[], float],
    ) -> None:
        self._rollouts, self._releases, self._signer = rollouts, releases, signer
        self._settings, self._now = settings, now

    def candidate(
        self, station: str, bundle: str, deployment: str, *, agrees: bool, shadow_only: bool = False
    ) -> StandingOrder:
        """Return an order to try a bundle; `agrees`: it must decide as the one in charge does; `shadow_only`: unseen, and no more.

        Raises:
            NotFound: the bundle is in no release.
        """
        settings = self._settings
        probation = Probation(
            settings.probation_frames,
            settings.min_agreement if agrees else 0.0,
            settings.probation_timeout_s,
            shadow_share=settings.shadow_share,
            # A station whose alarm this answers is meant to decide otherwise.
            max_mix_shift=settings.max_mix_shift if agrees and settings.min_agreement else 1.0,
            max_memory_mib=settings.max_memory_mib,
            serve_s=0.0 if shadow_only else settings.serve_s,
            shadow_only=shadow_only,
        )
        return self._make(station, bundle, deployment, probation)

    def way_back(self, station: str, bundle: str, deployment: str) -> StandingOrder:
        """Return an order for a bundle that ran there before; "" for none at all.

        OTA-3: a rollback is a new order for old bytes. What it replaces is known to be wrong, and what it brings ran there:
        it is kept as soon as it loads, for a line that stands still gives it no frame to show itself on.

        Raises:
            NotFound: the bundle is in no release.
        """
        return self._make(station, bundle, deployment, Probation(0, 0.0, self._settings.probation_timeout_s))

    def renewed(self, standing: StandingOrder) -> StandingOrder:
        """Return the same order under the next number, to hold as long again."""
        assert standing.facts is not None
        now = self._now()
        order = msgspec.structs.replace(
            standing.facts,
            desired_seq=self._rollouts.next_seq(standing.station),
            issued_at=now,
            expires_at=now + self._settings.order_valid_s,
        )
        return self._sign(order)

    def _make(self, station: str, bundle: str, deployment: str, probation: Probation) -> StandingOrder:
        size_bytes = counter = 0
        if bundle:
            release = self._releases.by_digest(bundle)
            if release is None:
                raise NotFound(f"bundle {bundle[:12]} is in no release", hint="restore the registry from its backup")
            size_bytes, counter = release.size_bytes, release.release_counter
        now = self._now()
        order = Order(
            station=station,
            bundle=bundle,
            size_bytes=size_bytes,
            deployment=deployment,
            desired_seq=self._rollouts.next_seq(station),
            release_counter=counter,
            issued_at=now,
            expires_at=now + self._settings.order_valid_s,
            probation=probation,
        )
        return self._sign(order)

    def _sign(self, order: Order) -> StandingOrder:
        signed = self._signer.sign(order)
        return StandingOrder(order.station, order.desired_seq, order.bundle, signed, published=False, facts=order)
