"""The tables of cloud.toml that matter when one machine, or a trusted network, is not enough (`cloud.settings` reads them)."""

from __future__ import annotations

import msgspec


class BrokerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The MQTT broker, or several among which the stations are spread.

    `ca_file`, `cert_file` and `key_file` turn mutual TLS on: what `plumbline-cloud provision init` made. `shards` are the brokers
    as "HOST:PORT"; each station is always with the same one (`cloud.ports.shards`). Empty: the one at `host` and `port`.
    `public_shards` are the same brokers, in the same order, as stations reach them; empty: as the cloud does.
    """

    host: str = "127.0.0.1"
    port: int = 1883
    client_id: str = "plumbline-cloud"
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    shards: tuple[str, ...] = ()
    public_shards: tuple[str, ...] = ()


class IngestSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How summaries come in.

    `in_serve`: `plumbline-cloud serve` takes them itself; false where `plumbline-cloud ingest` does. A batch is committed when it
    holds `batch` messages or is `batch_ms` old.
    """

    in_serve: bool = True
    batch: int = 200
    batch_ms: int = 100


class KeepSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long what stations told is kept, in days. Totals and labels are kept for ever.

    Windows stay as they came for `fine_days`, then as one an hour until they are `hourly_days` old, then as one a day until they
    are `daily_days` old. Dead letters stay for `dead_letter_days`, and the newest `dead_letters` of them at most.
    """

    fine_days: int = 14
    hourly_days: int = 90
    daily_days: int = 730
    dead_letter_days: int = 90
    dead_letters: int = 10_000


class ProvisionSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The plant's certificate authority (`plumbline-cloud provision`): `folder` holds it; certificates of stations last `days`."""

    folder: str = "provision"
    days: int = 365


class BlobSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where bundles and images are kept: a folder of the registry (""), or an fsspec URL such as "s3://plumbline/blobs".

    `endpoint_url` is that of an S3 that is not Amazon's.
    """

    url: str = ""
    endpoint_url: str = ""


class MlflowSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An MLflow that mirrors what is released; "" for none. Needs the extra [mlflow]."""

    tracking_uri: str = ""
    model: str = "plumbline"
