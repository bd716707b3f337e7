"""`plumbline-cloud keys pending | sign | publish`: signatures that are made elsewhere, at another time."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloud.clock import SystemClock
from cloud.commands.output import Subparsers, print_json
from cloud.settings import load_settings
from contract.errors import NotFound, RefusedError

if TYPE_CHECKING:
    from cloud.registry.signing_request import SigningRequest

_STEPS = """\
examples:
  plumbline-cloud keys pending --config plant/cloud.toml
  plumbline-cloud keys sign 13.targets.request.json --keys /media/stick      (where the keys are; needs no network)
  plumbline-cloud keys publish 13.targets.request.json --config plant/cloud.toml
"""


def register(actions: Subparsers) -> None:
    """Add the actions."""
    pending = _add(actions, "pending", "show what waits for signatures, and whose", run_pending)
    pending.add_argument(
        "--drop", action="store_true", help="give all of it up; what stations are given does not change"
    )
    add_server_arguments(pending)

    sign = _add(actions, "sign", "show what is to be signed, and sign it with the keys of a folder", run_sign)
    sign.add_argument("file", nargs="+", type=Path, metavar="FILE", help="a request; the signatures are added to it")
    sign.add_argument(
        "--keys", action="append", type=Path, required=True, metavar="DIR", help="a folder with keys; may be repeated"
    )
    sign.add_argument("--yes", action="store_true", help="sign without asking")
    sign.add_argument("--json", action="store_true", help="print JSON; needs --yes")

    publish = _add(actions, "publish", "publish what has its signatures, and list its releases", run_publish)
    publish.add_argument("file", nargs="*", type=Path, metavar="FILE", help="a request that was signed elsewhere")
    add_server_arguments(publish)


def add_server_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what every action on the server takes."""
    parser.add_argument(
        "--keys",
        action="append",
        type=Path,
        default=[],
        metavar="DIR",
        help="a further folder with keys; may be repeated",
    )
    parser.add_argument("--config", type=Path, default=Path("cloud.toml"), help="cloud.toml (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def open_here(args: argparse.Namespace) -> tuple[Any, Any]:
    """Return (registry, keys) of the server that `--config` names, with the keys of `--keys` too."""
    from cloud.registry.keys import load_keys
    from cloud.registry.release import Registry

    settings = load_settings(args.config)
    for folder in args.keys:
        if not folder.is_dir():
            raise NotFound(f"no folder '{folder}'", hint="plug in the stick that --keys names")
    return Registry(settings.path("registry")), load_keys(settings.path(settings.keys), *args.keys)


def run_pending(args: argparse.Namespace) -> int:
    """Show or drop what waits; return 0."""
    registry, keys = open_here(args)
    repository, now = registry.tuf(keys), SystemClock().now()
    if args.drop:
        repository.drop_pending()
        for released in registry.pending.releases():
            registry.pending.drop_release(released.version)
    waiting = repository.pending()
    releases = [each.version for each in registry.pending.releases()]
    if args.json:
        requests = [_as_json(each, registry.pending.path(each), now) for each in waiting]
        print_json({"requests": requests, "releases": releases})
        return 0
    print_waiting(registry, waiting, now)
    if releases:
        print(f"not listed before that: {', '.join(releases)}")
    return 0


def print_waiting(registry: Any, waiting: list[SigningRequest], now: float) -> None:
    """Print what waits and what to run next."""
    from cloud.registry.signing_request import is_complete
    from cloud.registry.signing_words import describe, how_to_sign

    for request in waiting:
        print("\n".join(describe(request, now)))
        print(f"  file: {registry.pending.path(request)}")
    lacking = [registry.pending.path(each) for each in waiting if not is_complete(each)]
    if lacking:
        print(f"next, {how_to_sign(lacking)}")
    elif waiting:
        print("next: plumbline-cloud keys publish")
    else:
        print("nothing waits for signatures")


def run_sign(args: argparse.Namespace) -> int:
    """Show each request, ask, and sign it; return 0."""
    from cloud.registry.durable_file import write_durably
    from cloud.registry.keys import load_keys
    from cloud.registry.remembered_root import check_remembered, remember_root
    from cloud.registry.signing_request import check_request, encode_request, is_complete, needs, sign_request
    from cloud.registry.signing_words import describe

    if args.json and not args.yes:
        raise RefusedError("--json shows nothing to a person who must judge", hint="add --yes where a script may sign")
    keys, now, shown = load_keys(*args.keys), SystemClock().now(), []
    for path in args.file:
        request = read_request(path)
        check_request(request)
        known = [check_remembered(folder, request) for folder in keys.folders]
        if not args.json:
            print("\n".join(describe(request, now)))
            if request.roots and not any(known):
                print("  the folder of the keys remembers no root yet: make sure this comes from your server")
        signed, names = sign_request(request, keys)
        if not names:
            can = sorted({name for need in needs(request) for name in need.missing})
            raise NotFound(
                f"no key in {', '.join(str(f) for f in keys.folders)} can sign {request.role} {request.version}",
                hint=f"these can: {', '.join(can) or 'none that has not'}",
            )
        if not args.yes and not _agreed(f"sign {request.role} {request.version} with {', '.join(names)}?"):
            raise RefusedError(f"{request.role} {request.version} was not signed", hint="answer yes, or add --yes")
        write_durably(path, (encode_request(signed),))
        for folder in keys.folders:
            _remember(remember_root, folder, request)
        if args.json:
            shown.append(_as_json(signed, path, now) | {"signed_by": names})
        else:
            print(f"signed by {', '.join(names)}: {path}")
            print("\n".join(f"  has {need.in_words()}" for need in needs(signed)))
            what = f"plumbline-cloud keys publish {path}" if is_complete(signed) else "take it to the next holder"
            print(f"next: {what}")
    if args.json:
        print_json(shown)
    return 0


def run_publish(args: argparse.Namespace) -> int:
    """Publish; return 0."""
    from cloud.registry.release import publish_pending

    registry, keys = open_here(args)
    now = SystemClock().now()
    done = publish_pending(registry, keys, [read_request(path) for path in args.file], now)
    waiting = registry.tuf(keys).pending()
    if args.json:
        print_json(
            {
                "published": [{"role": each.role, "version": each.version} for each in done.metadata],
                "listed": [each.version for each in done.releases],
                "waiting": [_as_json(each, registry.pending.path(each), now) for each in waiting],
            }
        )
        return 0
    for each in done.metadata:
        print(f"published {each.role} {each.version}")
    for released in done.releases:
        print(f"released {released.version}: bundle {released.digest[:12]}, {released.size_bytes} bytes")
    if waiting or not done.metadata:
        print_waiting(registry, waiting, now)
    return 0


def read_request(path: Path) -> SigningRequest:
    """Return the request in a file.

    Raises:
        NotFound: there is no such file.
        BadBundle: it holds none.
    """
    from cloud.registry.signing_request import MAX_REQUEST_BYTES, decode_request

    try:
        with path.open("rb") as file:
            return decode_request(file.read(MAX_REQUEST_BYTES + 1))
    except OSError as error:
        hint = "plumbline-cloud keys pending names it"
        raise NotFound(f"cannot read '{path}': {error.strerror}", hint=hint) from error


def _as_json(request: SigningRequest, path: Path, now: float) -> dict[str, Any]:
    from cloud.registry.signing_request import is_complete, needs
    from cloud.registry.signing_words import describe

    return {
        "role": request.role,
        "version": request.version,
        "expires_at": request.metadata.signed.expires.timestamp(),
        "file": str(path),
        "complete": is_complete(request),
        "needs": [
            {"whose": n.whose, "threshold": n.threshold, "signed": n.signed, "missing": n.missing}
            for n in needs(request)
        ],
        "changes": describe(request, now),
    }


def _agreed(question: str) -> bool:
    print(f"{question} [y/N] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _remember(remember: Any, folder: Path, request: SigningRequest) -> None:
    from contract.errors import StorageFull

    try:
        remember(folder, request)
    except StorageFull as error:
        print(f"note: {error.one_line()}: the root is not remembered", file=sys.stderr)


def _add(actions: Subparsers, name: str, words: str, run: Any) -> argparse.ArgumentParser:
    parser = actions.add_parser(
        name,
        help=words,
        description=words[0].upper() + words[1:] + ".",
        epilog=_STEPS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser
