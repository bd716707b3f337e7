"""`python -m firmware_config.provisioning.trial_start`: start the agent of this environment once, beside whatever runs here.

It runs as systemd would run it, on generated images, in a folder of its own, without a network, and has to say that it is up,
that frames get through (its watchdog is fed by nothing else), and to end well when told to.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from contract.errors import RefusedError

_EPILOG = """\
Exit code 0: it came up, judged and ended well; 1: it did not, with its last words.

example:
  /opt/plumbline/versions/0.2.0-1f2e3d4c5b6a/bin/python -m firmware_config.provisioning.trial_start --within-s 60
"""
_CONFIG = """station = "trial"
home = "state"
board = "none"
[source]
kind = "simulated"
[broker]
host = ""
[api]
port = 0
"""
_WATCHDOG_S = 4.0


def try_start(folder: Path, within_s: float) -> float:
    """Start, watch and stop the agent of this environment in `folder`; return the seconds until it was up and judged.

    Raises:
        RefusedError: it does not come up within `within_s`, or does not end well.
    """
    config, address = folder / "agent.toml", folder / "notify"
    config.write_text(_CONFIG)
    environment = {
        **{key: value for key, value in os.environ.items() if key not in ("WATCHDOG_PID", "PYTHONPATH")},
        "NOTIFY_SOCKET": str(address),
        "WATCHDOG_USEC": str(int(_WATCHDOG_S * 1e6)),
    }
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, (folder / "log").open("w+b") as log:
        manager.bind(str(address))
        manager.settimeout(0.2)
        began_s = time.monotonic()
        process = subprocess.Popen(
            (sys.executable, "-m", "agent", "run", "--config", str(config)),
            cwd=folder, env=environment, stdout=log, stderr=log,
        )  # fmt: skip
        try:
            missing = {"READY=1", "WATCHDOG=1"}
            while missing and process.poll() is None and time.monotonic() - began_s < within_s:
                try:
                    missing -= set(manager.recv(4096).decode(errors="replace").splitlines())
                except TimeoutError:
                    continue
            took_s = time.monotonic() - began_s
            process.send_signal(signal.SIGTERM)
            code = process.wait(30.0)
        except subprocess.TimeoutExpired:
            code = -1
        finally:
            process.kill()
            process.wait()
        log.seek(0)
        words = log.read().decode(errors="replace").strip().splitlines()
    last = words[-1] if words else "it said nothing"
    if missing:
        raise RefusedError(f"the agent did not say {' nor '.join(sorted(missing))} within {within_s:g} s: {last}")
    if code:
        raise RefusedError(f"the agent ended with code {code}: {last}")
    return took_s


def main(arguments: list[str] | None = None) -> int:
    """Try it once."""
    parser = argparse.ArgumentParser(
        prog="python -m firmware_config.provisioning.trial_start",
        description="Start the agent of this environment once, in a folder of its own, as systemd would.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--within-s", type=float, default=90.0, help="default %(default)g")
    args = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="plumbline-trial-") as folder:
        try:
            took_s = try_start(Path(folder), args.within_s)
        except RefusedError as error:
            print(f"error: {error.one_line()}", file=sys.stderr)
            return 1
    print(f"a trial start: up and judging after {took_s:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
