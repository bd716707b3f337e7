"""The tables of revision 0003 as it made them: frozen, whatever becomes of `cloud.store.certificate_tables`."""

from __future__ import annotations

from sqlalchemy import Column, Float, Index, MetaData, String, Table, Text

_metadata = MetaData()

# A token is good for one key: `key_sha256` is that of the key which redeemed it, "" before.
enrol_tokens = Table(
    "enrol_tokens",
    _metadata,
    Column("token_sha256", String(64), primary_key=True),
    Column("station", String(63), nullable=False),
    Column("site", String(120), nullable=False, default="", server_default=""),
    Column("made_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("used_at", Float),
    Column("key_sha256", String(64), nullable=False, default="", server_default=""),
)

# `kind`: station, server, api or cloud. `issuer`: the SHA-256 of the CA's certificate. `serial`: hexadecimal.
certificates = Table(
    "certificates",
    _metadata,
    Column("serial", String(40), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("subject", String(120), nullable=False),
    Column("issuer", String(64), nullable=False),
    Column("key_sha256", String(64), nullable=False),
    Column("not_before", Float, nullable=False),
    Column("not_after", Float, nullable=False),
    Column("issued_at", Float, nullable=False),
    Column("revoked_at", Float),
    Column("reason", Text, nullable=False, default="", server_default=""),
    Index("certificates_by_subject", "subject"),
)
