"""Orders: "station S, run bundle B now", signed (DESIGN 6, the order side)."""

from __future__ import annotations

from pathlib import Path

from cloud.registry.keys import ORDER, ORDER_RECORD_FILE, Keys, load_keys
from cloud.registry.order_keys import standing_order_keys
from contract.errors import InvalidConfig
from contract.ids import check_station_id, is_digest
from contract.messages import ConfigOrder, Order, Probation
from contract.signature import sign_configuration, sign_order

DEFAULT_LIFETIME_S = 14 * 86400.0


class KeyedOrderSigner:
    """Signs orders with the order key of `keys` (`cloud.ports.registry.OrderSigner`)."""

    def __init__(self, keys: Keys) -> None:
        """Raises NotFound when the order key is not here: better at start than at the first rollout."""
        self._signer = keys.signer(ORDER)

    def sign(self, order: Order) -> str:
        """Return the order in a signed DSSE envelope, as JSON text."""
        return sign_order(order, self._signer)


class CurrentOrderSigner:
    """Signs with the order key that is current in `folder`: a rotation takes effect in a running server at once."""

    def __init__(self, folder: Path) -> None:
        """Raises NotFound when the order key is not here: better at start than at the first rollout."""
        self._folder = folder
        self._read: tuple[object, Keys] = (self._stamp(), load_keys(folder))
        self._keys().signer(ORDER)

    def sign(self, order: Order) -> str:
        """Return the order in a signed DSSE envelope, as JSON text."""
        return sign_order(order, self._keys().signer(ORDER))

    def sign_configuration(self, order: ConfigOrder) -> str:
        """Return the settings in a signed DSSE envelope, as JSON text."""
        return sign_configuration(order, self._keys().signer(ORDER))

    def standing_order_keys(self) -> str:
        """Return what goes into `DesiredState.order_keys`."""
        return standing_order_keys(self._keys())

    def _keys(self) -> Keys:
        stamp = self._stamp()
        if stamp != self._read[0]:
            self._read = (stamp, load_keys(self._folder))
        return self._read[1]

    def _stamp(self) -> object:
        # A rotation replaces this file and only then counts, so whoever sees the new file finds the new key.
        try:
            found = (self._folder / ORDER_RECORD_FILE).stat()
        except FileNotFoundError:
            return None
        return (found.st_ino, found.st_mtime_ns, found.st_size)


def issue_order(
    keys: Keys,
    *,
    station: str,
    bundle: str,
    size_bytes: int,
    deployment: str,
    desired_seq: int,
    probation: Probation,
    now: float,
    release_counter: int = 0,
    lifetime_s: float = DEFAULT_LIFETIME_S,
) -> str:
    """Return a signed order as the JSON text of its envelope, to go into `DesiredState.envelope`.

    Args:
        bundle: SHA-256 of the released archive; `size_bytes` its length. "" and 0: run nothing.
        desired_seq: higher than that of every order this station was ever given.
        now: Unix seconds; the order is accepted until `now + lifetime_s`, and followed to its end whenever that is.
    Raises:
        InvalidConfig: an argument is out of range.
        NotFound: the order key is not here.
    """
    runs_nothing = not bundle and size_bytes == 0
    if not runs_nothing and not is_digest(bundle):
        raise InvalidConfig(f"'{bundle[:80]}' is no bundle digest", hint="use the SHA-256 of a released bundle")
    if (
        desired_seq < 1
        or (size_bytes < 1 and not runs_nothing)
        or release_counter < 0
        or not deployment
        or lifetime_s <= 0
    ):
        raise InvalidConfig("an order needs a deployment, and a positive desired_seq, size and lifetime")
    order = Order(
        station=check_station_id(station),
        bundle=bundle,
        size_bytes=size_bytes,
        deployment=deployment,
        desired_seq=desired_seq,
        release_counter=release_counter,
        issued_at=now,
        expires_at=now + lifetime_s,
        probation=probation,
    )
    return sign_order(order, keys.signer(ORDER))
