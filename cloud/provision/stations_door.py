"""What the broker takes for a station's name: the line of mosquitto.conf that keeps a station's certificate from naming the cloud.

The plugin's roles belong to names, whichever listener somebody came in by. mosquitto makes the name of whoever comes in by the
stations' listener from the certificate alone, in one of two ways:

- `use_identity_as_username`: the first common name, any text. Who has the stations' authority can sign one that says "cloud:admin".
- `use_subject_as_username`: the whole subject as RFC 2253 writes it (OpenSSL's XN_FLAG_RFC2253), "CN=line1". Each part of it is a
  type, "=" and a value, so what is printed is empty or holds a "=", whatever was signed; the cloud's names hold none.

The listener takes the name as the client id too, so a station cannot end the cloud's connection by its client id either.
"""

from __future__ import annotations

from enum import Enum

from contract.errors import InvalidConfig
from contract.ids import check_station_id

_IDENTITY, _SUBJECT = "use_identity_as_username", "use_subject_as_username"


class Naming(Enum):
    """How a broker names a station."""

    SUBJECT = "CN={}"
    COMMON_NAME = "{}"  # plants made before 2026-12, until `provision update-broker`

    def user(self, station: str) -> str:
        """Return the name that the plugin knows a station by."""
        return self.value.format(check_station_id(station))


def naming_of(conf: str) -> Naming | None:
    """Return how a broker with this mosquitto.conf names stations, None when it does not say so of one door for stations."""
    lines = conf.splitlines()
    found = {_naming(lines[begin:end]) for begin, end in _doors(lines)}
    return found.pop() if len(found) == 1 else None


def with_subjects(conf: str) -> str:
    """Return mosquitto.conf with its doors for stations named by subject, and everything else as it was.

    Raises:
        InvalidConfig: it has no door for stations as `provision init` makes it.
    """
    lines = conf.splitlines(keepends=True)
    doors = _doors(lines)
    if not doors:
        hint = f"by hand: '{_SUBJECT} true' in each listener that trusts the stations' authority, and no '{_IDENTITY}'"
        raise InvalidConfig(
            "mosquitto.conf has no listener with the 'cafile .../ca.pem' of `provision init`", hint=hint
        )
    for begin, end in doors:
        if _naming(lines[begin:end]) is Naming.SUBJECT:
            continue
        for i in range(begin, end):
            if _option(lines[i])[0] in (_IDENTITY, _SUBJECT):
                lines[i] = ""
        lines[begin] = f"{lines[begin]}{_SUBJECT} true\n"
    return "".join(lines)


def _doors(lines: list[str]) -> list[tuple[int, int]]:
    """Return where each listener begins and ends that trusts the stations' authority: the broker's copy of it is "ca.pem"."""
    begins = [i for i, line in enumerate(lines) if _option(line)[0] == "listener"]
    blocks = zip(begins, [*begins[1:], len(lines)], strict=False)
    return [(begin, end) for begin, end in blocks if _last(lines[begin:end], "cafile").rpartition("/")[2] == "ca.pem"]


def _option(line: str) -> tuple[str, str]:
    """Return an option's name and value, two times "" for a line without."""
    name, _, value = line.strip().partition(" ")
    return name, value.strip()


def _last(block: list[str], name: str) -> str:
    """Return an option's value, "" for none. The last counts, as for mosquitto."""
    return next((value for option, value in map(_option, reversed(block)) if option == name), "")


def _is_on(block: list[str], name: str) -> bool:
    return _last(block, name) in ("true", "1")


def _naming(block: list[str]) -> Naming | None:
    # mosquitto looks for the common name first when both are on.
    if _is_on(block, _IDENTITY):
        return Naming.COMMON_NAME
    return Naming.SUBJECT if _is_on(block, _SUBJECT) else None
