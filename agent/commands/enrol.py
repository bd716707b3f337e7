"""`plumbline-agent enrol`: become a station of a plant by a one-time token, or renew the certificate now."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

_EPILOG = """\
The private key is made on this device and never leaves it. The plant's certificate authority is trusted for its fingerprint
alone; `plumbline-cloud provision token STATION` prints the whole command. A plant that answers "not now" (it is being asked too
much, or its broker is away) is asked again when it says, for --wait seconds in all.

examples:
  plumbline-agent enrol --url https://10.0.0.5:8080 --token=TOKEN --ca-sha256 FINGERPRINT --out line3-cam1
  plumbline-agent enrol --renew --config line3-cam1/agent.toml
"""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "enrol",
        help="become a station of a plant by a one-time token, or renew the certificate",
        description="Make a key, have the plant certify it, and write everything this station needs to start.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--url", help="the plant's HTTPS address")
    parser.add_argument("--token", help="the one-time token; '-' reads it from standard input")
    parser.add_argument("--ca-sha256", metavar="FINGERPRINT", help="SHA-256 of the plant's certificate authority")
    parser.add_argument("--out", type=Path, help="folder to make")
    parser.add_argument("--renew", action="store_true", help="renew the certificate of the station in --config")
    parser.add_argument("--config", type=Path, default=Path("agent.toml"), help="agent.toml (default %(default)s)")
    parser.add_argument(
        "--wait", type=_seconds, default=300.0, metavar="SECONDS",
        help="how long a plant that says 'not now' is waited for (default %(default)g; 0: not at all)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Enrol, or renew."""
    return _renew(args) if args.renew else _enrol(args)


def _enrol(args: argparse.Namespace) -> int:
    from agent.uplink.enrolment import enrol, fetch_authority
    from agent.uplink.identity_files import IdentityFiles
    from contract.errors import InvalidConfig
    from contract.provisioning import CertificateNote, EnrolRequest

    missing = [
        f"--{name}" for name in ("url", "token", "ca-sha256", "out") if not getattr(args, name.replace("-", "_"))
    ]
    if missing:
        raise InvalidConfig(f"{', '.join(missing)} missing", hint="plumbline-cloud provision token prints the command")
    if not args.url.startswith("https://"):
        raise InvalidConfig(f"'{args.url[:80]}' is no https:// address", hint="a token must not be read on its way")
    if (args.out / "agent.toml").exists():
        raise InvalidConfig(f"'{args.out / 'agent.toml'}' is there already", hint="choose another --out, or --renew")
    token = sys.stdin.readline().strip() if args.token == "-" else args.token
    patience = _Patience(args.wait)
    authority = patience.ask(lambda: fetch_authority(args.url, args.ca_sha256))
    args.out.mkdir(parents=True, exist_ok=True)
    files = IdentityFiles(args.out)
    key = files.pending_key()
    answer = patience.ask(lambda: enrol(args.url, authority, EnrolRequest(token, key.request)))
    note = CertificateNote(answer.not_before, answer.not_after)
    files.take(key, answer.certificate, answer.ca, note, more_comes=True)
    for name, text in answer.files.items():
        if name != "agent.toml":
            files.write(name, text.encode())
    files.write("station.token", f"{answer.station_token}\n".encode(), mode=0o600)
    # The config comes last: a folder with a config is whole.
    files.write("agent.toml", answer.files["agent.toml"].encode())
    # Until here the same token is answered again, but only to the same key.
    files.forget_pending_key()
    config = args.out / "agent.toml"
    if args.json:
        print(json.dumps({"station": answer.station, "config": str(config), "not_after": answer.not_after}))
    else:
        print(f"this device is {answer.station}; start it with: plumbline-agent run --config {config}")
    return 0


def _renew(args: argparse.Namespace) -> int:
    from datetime import datetime, timezone

    import httpx

    from agent.settings import load_settings
    from agent.store_wiring import read_bytes
    from agent.uplink.identity_files import IdentityFiles
    from agent.uplink.renewal import renew_now
    from agent.uplink.tls import StationTls
    from contract.errors import InvalidConfig

    settings = load_settings(args.config)
    cloud = settings.cloud
    if not (cloud.url and cloud.cert_file and cloud.token_file):
        hint = "set url, token_file, ca_file, cert_file and key_file, as enrolment writes them"
        raise InvalidConfig("[cloud] in agent.toml has no certificate to renew", hint=hint)
    certificate = [settings.path(each) for each in (cloud.ca_file, cloud.cert_file, cloud.key_file)]
    tls = StationTls(*certificate, strict=True)
    token = read_bytes(settings.path(cloud.token_file), "cloud.token_file").decode(errors="replace").strip()
    files = IdentityFiles(settings.path(cloud.cert_file).parent)
    with httpx.Client(headers={"Authorization": f"Bearer {token}"}, verify=tls.context, timeout=60.0) as client:
        end = _Patience(args.wait).ask(lambda: renew_now(files, client, cloud.url, settings.station))
    if args.json:
        print(json.dumps({"station": settings.station, "not_after": end}))
    else:
        print(
            f"renewed; the certificate of {settings.station} ends {datetime.fromtimestamp(end, timezone.utc):%Y-%m-%d}"
        )
    return 0


class _Patience:
    """Asks again when it is told to, as long as `wait_s` lasts."""

    def __init__(self, wait_s: float) -> None:
        self._left_s = wait_s

    def ask(self, act: Callable[[], T]) -> T:
        from agent.uplink.enrolment import NotNow

        while True:
            try:
                return act()
            except NotNow as error:
                if error.after_s > self._left_s:
                    raise
                print(f"{error.one_line()}; asking again in {error.after_s:.0f} s", file=sys.stderr, flush=True)
                self._left_s -= error.after_s
                time.sleep(error.after_s)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0.0 <= seconds <= 86_400.0:
        raise argparse.ArgumentTypeError("must be 0 to 86400")
    return seconds
