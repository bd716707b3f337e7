"""How many files this process may hold open: each connection is one, here and at the broker."""

from __future__ import annotations

import resource

from contract.errors import InvalidConfig

_OTHERS = 200
"""Files beside the connections: libraries, logs, the database, the listener."""


def raise_file_limit(connections: int) -> None:
    """Raise the soft limit as far as it may be; children, the broker among them, inherit it.

    Raises:
        InvalidConfig: the hard limit does not allow so many connections.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = connections + _OTHERS
    if hard != resource.RLIM_INFINITY and hard < needed:
        hint = f"raise it (ulimit -Hn {needed} as root, or LimitNOFILE=), or simulate at most {max(hard - _OTHERS, 0)}"
        raise InvalidConfig(f"{connections} stations need {needed} open files; the hard limit is {hard}", hint=hint)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(needed, 65_536) if hard == resource.RLIM_INFINITY else hard, hard))
