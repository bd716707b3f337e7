"""`python -m firmware_config.provisioning FILE...`: what plumbline-firstboot.service runs."""

from __future__ import annotations

import argparse
import io
import os
import pwd
import sys
from contextlib import redirect_stdout
from pathlib import Path

from agent.commands import enrol
from contract.errors import PlumblineError, TransientError
from firmware_config.provisioning.first_boot import Place, Provision, provision

# EX_TEMPFAIL of sysexits.h. The unit starts again on every failure but 1 and 2.
TRY_AGAIN = 75
# With the requests themselves it must be over before the unit's TimeoutStartSec, which would end it without a word of why.
_WAIT_S = 120
_EPILOG = """\
Exit code 0: this machine is a station now, or no file is there. Else the file is kept, and why is said: 75: nobody answered, or
not now, which the unit tries again by itself; 1: the file or the token is wrong, which a person mends.

example:
  python -m firmware_config.provisioning /boot/firmware/plumbline-provision.toml
"""


def main(arguments: list[str] | None = None) -> int:
    """Provision from the first file that is there."""
    parser = argparse.ArgumentParser(
        prog="python -m firmware_config.provisioning",
        description="Enrol this machine once with the one-time token of a file, write agent.toml, destroy the file.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, nargs="+", help="where such a file may lie (see provision.toml.example)")
    parser.add_argument("--config", type=Path, default=Path("/etc/plumbline/agent.toml"), help="default %(default)s")
    parser.add_argument("--state", type=Path, default=Path("/var/lib/plumbline"), help="default %(default)s")
    parser.add_argument("--user", default="plumbline", help="whose the state is (default %(default)s)")
    args = parser.parse_args(arguments)
    file = next((each for each in args.file if each.is_file()), None)
    if file is None:
        print("no provisioning file is there", file=sys.stderr)
        return 0
    try:
        station = provision(file, Place(args.config, args.state, _owner(args.user)), _enrol)
    except (PlumblineError, OSError) as error:
        what = error.one_line() if isinstance(error, PlumblineError) else str(error)
        print(f"error: {what} ('{file}' is kept)", file=sys.stderr)
        return TRY_AGAIN if isinstance(error, TransientError) else 1
    print(f"this machine is station {station} now; '{file}' is destroyed")
    return 0


def _owner(user: str) -> tuple[int, int] | None:
    """Return the ids of `user`; None where this process may give nothing away."""
    if os.geteuid() != 0:
        return None
    try:
        found = pwd.getpwnam(user)
    except KeyError:
        raise SystemExit(f"error: there is no user '{user}' (scripts/install-agent makes it)") from None
    return found.pw_uid, found.pw_gid


def _enrol(wanted: Provision, folder: Path) -> None:
    # In this process: the token must not stand in a command line, which every user may read.
    parser = argparse.ArgumentParser()
    enrol.register(parser.add_subparsers())
    words = ["--url", wanted.url, "--ca-sha256", wanted.ca_sha256, f"--token={wanted.token}", "--out", str(folder)]
    args = parser.parse_args(["enrol", *words, "--wait", str(_WAIT_S)])
    with redirect_stdout(io.StringIO()):
        args.run(args)


if __name__ == "__main__":
    sys.exit(main())
