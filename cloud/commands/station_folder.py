"""Writes a station's folder, to be copied to its device."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from cloud.provision.agent_folder import CA, IDENTITY, NOTE, TOKEN
from cloud.registry.durable_file import write_durably
from contract.errors import InvalidConfig, StorageFull
from contract.provisioning import CertificateNote, Enrolled

_TRIAL = "trial"


def check_free(out: Path) -> None:
    """Raise InvalidConfig when a station's config is there already, or no file can be written there.

    Tried, not asked: what comes next ends the credentials of a device that may be running.
    """
    if (out / "agent.toml").exists():
        raise InvalidConfig(f"{out / 'agent.toml'} is there already", hint="choose another --out")
    made = not out.exists()
    try:
        write_durably(out / _TRIAL, (b"",), mode=0o600)
        (out / _TRIAL).unlink()
        if made:
            out.rmdir()
    except (StorageFull, OSError) as error:
        said = error.message if isinstance(error, StorageFull) else error
        raise InvalidConfig(f"cannot write in {out}: {said}", hint="choose a --out you may write") from error


def write_files(
    out: Path, files: Mapping[str, str], token: str, before_config: Callable[[], None] = lambda: None
) -> Path:
    """Write a station's files and its token, the config last: a folder with a config is whole. Return the config's path.

    `before_config` lets the station speak: its token must be on the disk, and nobody takes an unfinished folder to a device.

    Raises:
        InvalidConfig: it cannot be written there.
    """
    config = out / "agent.toml"
    try:
        for name, text in files.items():
            if name != config.name:
                write_durably(out / name, (text.encode(),))
        write_durably(out / TOKEN, (token.encode(), b"\n"), mode=0o600)
        before_config()
        write_durably(config, (files[config.name].encode(),))
    except StorageFull as error:
        raise InvalidConfig(f"cannot write in {out}: {error.message}", hint="choose a --out you may write") from error
    return config


def write_station(out: Path, answer: Enrolled, key: str) -> Path:
    """Write the folder of a station whose key the cloud made; return its config's path.

    Raises:
        InvalidConfig: it cannot be written there.
    """
    note = CertificateNote(answer.not_before, answer.not_after)
    try:
        write_durably(out / IDENTITY, (answer.certificate.encode(), key.encode()), mode=0o600)
        write_durably(out / CA, (answer.ca.encode(),))
        write_durably(out / NOTE, (msgspec.json.encode(note),))
    except StorageFull as error:
        raise InvalidConfig(f"cannot write in {out}: {error.message}", hint="choose a --out you may write") from error
    return write_files(out, answer.files, answer.station_token)
