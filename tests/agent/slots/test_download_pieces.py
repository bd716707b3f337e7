"""A download that is checked piece by piece: what is wrong costs a piece, and what never ends is ended (OTA-6)."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from odd_server import OddServer, odd_server
from piece_archive import Archive, archive_of
from update_plant import FakeClock

from agent.clock import SystemClock
from agent.slots.download import MAX_TIMES_WRONG, HttpDownloader
from contract.errors import BadBundle, LinkDown, NotFound

MIB = 1 << 20
ARCHIVE = archive_of(3 * MIB + 777, 1_000, MIB)


@dataclass
class Place:
    server: OddServer
    folder: Path
    clock: FakeClock
    client: httpx.Client
    archive: Archive = ARCHIVE

    def downloader(self, **more) -> HttpDownloader:
        return HttpDownloader(self.client, self.server.url, self.folder, more.pop("clock", self.clock), **more)

    def fetch(self, stop=lambda: False, *, by_piece: bool = True, **more) -> Path | None:
        manifest = self.archive.manifest_sha256 if by_piece else ""
        return self.downloader(**more).fetch(self.archive.digest, len(self.archive.body), stop, manifest)

    def part(self) -> Path:
        return self.folder / f"{self.archive.digest}.part"

    def arrives(self, **more) -> None:
        path = self.fetch(**more)
        assert path is not None and path.read_bytes() == self.archive.body
        assert [each.name for each in self.folder.iterdir()] == [self.part().name]

    def break_after(self, size: int, **more) -> None:
        """Leave the first `size` bytes on the disk."""
        self.server.cut_after = size
        with pytest.raises(LinkDown):
            self.fetch(**more)
        self.server.cut_after = None


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with odd_server(ARCHIVE.body) as server, httpx.Client(timeout=60.0, trust_env=False) as client:
        yield Place(server, tmp_path / "incoming", FakeClock(), client)


def test_connection_cut_at_every_mib_and_a_bit_still_ends_with_the_bundle(place: Place) -> None:
    place.server.cut_after = MIB
    for _ in range(4):
        with pytest.raises(LinkDown):
            place.fetch()
    place.arrives()
    assert place.server.starts() == [0, MIB, 2 * MIB, 3 * MIB, 4 * MIB]


def test_connections_shorter_than_a_piece_make_progress_too(place: Place) -> None:
    place.server.cut_after = 300_000
    for _ in range(len(ARCHIVE.body) // 300_000):
        with pytest.raises(LinkDown):
            place.fetch()
    place.arrives()


@pytest.mark.parametrize("at", [0, 100, 700, 10_000, MIB + 5_000, 3 * MIB + 1_000, len(ARCHIVE.body) - 1])
def test_a_byte_that_comes_wrong_costs_one_piece(place: Place, at: int) -> None:
    place.server.flips[at] = 1
    place.arrives()
    first, again = place.server.starts()
    assert first == 0 and at - MIB <= again <= at


def test_a_piece_that_is_wrong_every_time_is_refused_and_what_was_good_is_kept(place: Place) -> None:
    place.server.flips[2 * MIB] = 10**6
    with pytest.raises(BadBundle, match="comes wrong at byte"):
        place.fetch()
    assert len(place.server.asked) == MAX_TIMES_WRONG
    assert MIB < place.part().stat().st_size <= 2 * MIB
    place.server.flips.clear()
    place.arrives()  # it healed, and one piece was what it cost
    assert place.server.starts()[-1] > MIB


def test_a_file_that_changes_in_mid_resume_is_noticed_within_a_piece(place: Place) -> None:
    place.break_after(2 * MIB)
    place.server.body = archive_of(3 * MIB + 777, 1_000, MIB, seed=9).body
    place.server.sent = 0
    with pytest.raises(BadBundle):
        place.fetch()
    assert place.part().stat().st_size >= MIB
    place.server.body = ARCHIVE.body
    place.arrives()


def test_another_archive_with_another_manifest_is_refused_within_its_first_bytes(place: Place) -> None:
    place.server.body = archive_of(3 * MIB + 777, 1_000, MIB, seed=9).body
    with pytest.raises(BadBundle, match="manifest of SHA-256"):
        place.fetch()
    assert not place.part().exists()


@pytest.mark.parametrize("at", [3, 600, 40_000, MIB + 100_000, 2 * MIB - 1])
def test_a_disk_that_rotted_meanwhile_is_cut_back_to_its_last_good_piece(place: Place, at: int) -> None:
    place.break_after(2 * MIB + 5)
    rotten = bytearray(place.part().read_bytes())
    assert len(rotten) == 2 * MIB + 5
    rotten[at] ^= 0x40
    place.part().write_bytes(rotten)
    place.arrives()
    assert at - MIB <= place.server.starts()[-1] <= at


def test_rot_in_the_piece_under_way_is_found_when_that_piece_is_complete(place: Place) -> None:
    place.break_after(2 * MIB + 50_000)
    rotten = bytearray(place.part().read_bytes())
    rotten[-1] ^= 1
    place.part().write_bytes(rotten)
    place.arrives()
    assert place.server.starts()[1] == 2 * MIB + 50_000 and MIB < place.server.starts()[2] <= 2 * MIB + 50_000


def test_a_part_longer_than_the_bundle_is_thrown_away(place: Place) -> None:
    place.folder.mkdir()
    place.part().write_bytes(ARCHIVE.body + b"more")
    place.arrives()


def test_range_ignored_lets_the_known_bytes_by_and_keeps_them(place: Place) -> None:
    place.break_after(2 * MIB)
    place.server.ignore_range = True
    place.arrives()
    assert place.server.starts() == [0, 2 * MIB]


def test_a_206_of_another_range_or_size_is_not_taken(place: Place) -> None:
    place.break_after(MIB)
    place.server.wrong_range = -5
    with pytest.raises(LinkDown, match="another range"):
        place.fetch()
    place.server.wrong_range, place.server.body = 0, ARCHIVE.body + bytes(512)
    with pytest.raises(BadBundle, match="bytes, not"):
        place.fetch()
    place.server.body = ARCHIVE.body
    place.arrives()


@pytest.mark.parametrize("by_piece", [False, True])
def test_a_206_that_nobody_asked_for_is_not_taken(place: Place, by_piece: bool) -> None:
    place.server.status, place.server.headers = 206, {"Content-Range": "bytes 0-9/10"}
    with pytest.raises(LinkDown, match="another range"):
        place.fetch(by_piece=by_piece)


def test_without_piece_hashes_a_file_that_changed_starts_over_by_its_etag(place: Place) -> None:
    place.server.etag = '"one"'
    place.server.body = archive_of(3 * MIB + 777, 1_000, MIB, seed=9).body
    place.break_after(MIB, by_piece=False)
    place.server.etag, place.server.body = '"two"', ARCHIVE.body
    place.arrives(by_piece=False)
    assert place.server.asked[-1][1:] == (f"bytes={MIB}-", '"one"')


def test_without_piece_hashes_a_weak_etag_is_no_promise_about_bytes(place: Place) -> None:
    place.server.etag = 'W/"one"'
    place.break_after(MIB, by_piece=False)
    place.arrives(by_piece=False)
    assert place.server.asked[-1][1:] == (f"bytes={MIB}-", "")


def test_old_bundles_without_pieces_go_on_working(tmp_path: Path) -> None:
    old = archive_of(MIB, 10, by_piece=False)
    with odd_server(old.body) as server, httpx.Client(timeout=60.0, trust_env=False) as client:
        place = Place(server, tmp_path / "incoming", FakeClock(), client, old)
        place.break_after(500_000)
        place.arrives()  # a file is a piece
        server.flips[5_000] = 1
        place.downloader().discard(old.digest)
        place.arrives()


def test_what_comes_encoded_though_identity_was_asked_for_is_not_taken(place: Place) -> None:
    place.server.extra_headers["Content-Encoding"] = "gzip"
    with pytest.raises(LinkDown, match="encoded"):
        place.fetch()
    assert not place.part().exists()


def test_retries_end_when_too_many_bytes_were_spent(place: Place) -> None:
    """A middlebox that ignores Range and cuts every connection: it would go on for ever."""
    place.server.ignore_range, place.server.cut_after = True, MIB
    outcomes = []
    for _ in range(100):
        try:
            place.fetch()
        except LinkDown:
            outcomes.append("again")
        except BadBundle as error:
            outcomes.append(error.message)
            break
    assert "were spent" in outcomes[-1]
    assert place.server.sent <= 3 * len(ARCHIVE.body) + 17 * MIB


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_obeyed_and_capped(place: Place, status: int) -> None:
    downloader = place.downloader()
    ask = lambda: downloader.fetch(ARCHIVE.digest, len(ARCHIVE.body), lambda: False)  # noqa: E731
    place.server.status, place.server.headers = status, {"Retry-After": "120"}
    for _ in range(3):
        with pytest.raises(LinkDown):
            ask()
    assert len(place.server.asked) == 1
    place.clock.sleep(121)
    place.server.headers = {"Retry-After": "99999999"}
    with pytest.raises(LinkDown, match=str(status)):
        ask()
    place.server.status = 0
    place.clock.sleep(3601)
    assert ask() is not None


@pytest.mark.parametrize(("status", "kind"), [(404, NotFound), (410, NotFound), (403, NotFound), (500, LinkDown)])
def test_statuses_in_mid_resume_keep_what_is_here(place: Place, status: int, kind: type[Exception]) -> None:
    place.break_after(2 * MIB)
    place.server.status = status
    with pytest.raises(kind, match=str(status)):
        place.fetch()
    place.server.status = 0
    place.arrives()
    assert place.server.starts()[-1] == 2 * MIB


def test_a_redirect_within_the_server_is_followed(place: Place) -> None:
    place.server.elsewhere[f"/targets/bundles/{ARCHIVE.digest}.plb"] = "/mirror/file"
    place.arrives()
    assert [path for path, _, _ in place.server.asked][-1] == "/mirror/file"


@pytest.mark.parametrize("where", ["http://127.0.0.1:9/x", "https://127.0.0.1/x", "http://example.com/", "//[bad", ""])
def test_a_redirect_to_another_origin_is_not_followed(place: Place, where: str) -> None:
    place.server.elsewhere[f"/targets/bundles/{ARCHIVE.digest}.plb"] = where
    with pytest.raises(LinkDown, match="302"):
        place.fetch()
    assert len(place.server.asked) == 1


def test_redirects_without_end_are_ended(place: Place) -> None:
    place.server.elsewhere |= {f"/targets/bundles/{ARCHIVE.digest}.plb": "/0"} | {
        f"/{n}": f"/{n + 1}" for n in range(9)
    }
    with pytest.raises(LinkDown, match="302"):
        place.fetch()
    assert len(place.server.asked) == 4


@pytest.mark.parametrize("how", ["drips", "is silent", "is slowed"])
def test_stop_is_obeyed_at_once_though_the_server(place: Place, how: str) -> None:
    place.server.drip_s, place.server.silent = (0.05 if how == "drips" else 0.0), how == "is silent"
    stop, ended = threading.Event(), []
    rate = 10_000.0 if how == "is slowed" else 0.0

    def work() -> None:
        ended.append(place.fetch(stop.is_set, clock=SystemClock(), max_bytes_per_s=rate))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    while not place.server.asked:
        time.sleep(0.01)
    time.sleep(0.1)
    began = time.monotonic()
    stop.set()
    thread.join(60.0)
    # 0.2 s as a rule; the rest is for a busy machine. The client's own timeout would be 60 s.
    assert ended == [None] and time.monotonic() - began < 30.0


@pytest.mark.parametrize("drip_s", [0.0, 0.02])
def test_a_server_without_progress_is_given_up(place: Place, drip_s: float) -> None:
    place.server.drip_s, place.server.silent = drip_s, not drip_s
    with pytest.raises(LinkDown, match="sends"):
        place.fetch(clock=SystemClock(), stall_s=0.5)


def test_a_certificate_that_is_not_trusted_is_said_to_be_so(tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(_self_signed(tmp_path / "server.pem"))
    with odd_server(ARCHIVE.body, context) as server:
        with httpx.Client(timeout=60.0, trust_env=False) as client:
            place = Place(server, tmp_path / "incoming", FakeClock(), client)
            with pytest.raises(LinkDown) as refused:
                place.fetch()
            assert "certificate" in refused.value.hint and not server.asked
        trusted = ssl.create_default_context(cafile=str(tmp_path / "server.pem"))
        with httpx.Client(timeout=60.0, trust_env=False, verify=trusted) as client:
            Place(server, tmp_path / "incoming", FakeClock(), client).arrives()


def _self_signed(path: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    began = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(began)
        .not_valid_after(began + datetime.timedelta(days=3))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return path
