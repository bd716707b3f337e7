from __future__ import annotations

import subprocess
import sys
from base64 import b64decode, b64encode

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope
from securesystemslib.signer import CryptoSigner

from contract.errors import BadOrder
from contract.messages import Order, Probation
from contract.signature import ORDER_TYPE, OrderKey, sign_order, verify_order

ORDER = Order("line3-cam1", "ab" * 32, 1234, "roll-1", 7, 0, 1000.0, 2000.0, Probation(256, 0.9))
SIGNER, FOREIGN = CryptoSigner.generate_ed25519(), CryptoSigner.generate_ed25519()
KEY, FOREIGN_KEY = (OrderKey(s.public_key.keyid, s.public_key.keyval["public"]) for s in (SIGNER, FOREIGN))
ENVELOPE = sign_order(ORDER, SIGNER)


def signed(payload: bytes, payload_type: str, signer: CryptoSigner = SIGNER) -> str:
    envelope = Envelope(payload, payload_type, {})
    envelope.sign(signer)
    return msgspec.json.encode(envelope.to_dict()).decode()


def test_signed_order_comes_back_whole() -> None:
    assert verify_order(ENVELOPE, [FOREIGN_KEY, KEY]) == ORDER


def test_envelope_is_plain_dsse() -> None:
    envelope = Envelope.from_dict(msgspec.json.decode(ENVELOPE))
    assert envelope.payload_type == ORDER_TYPE
    envelope.verify([SIGNER.public_key], 1)


@pytest.mark.parametrize(
    "envelope",
    [
        sign_order(ORDER, FOREIGN),
        signed(msgspec.json.encode(ORDER), "application/vnd.plumbline.config+json"),
        signed(b"{}", ORDER_TYPE),
        signed(b"\xff", ORDER_TYPE),
        signed(msgspec.json.encode(msgspec.structs.replace(ORDER, v=2)), ORDER_TYPE),
        ENVELOPE.replace('"sig":"', '"sig":"!'),
        ENVELOPE[:-1],
        "",
        "[]",
        "null",
        '{"payload":"","payloadType":"' + ORDER_TYPE + '","signatures":[]}',
        " " * 70_000 + ENVELOPE,
    ],
)
def test_anything_off_is_a_bad_order(envelope: str) -> None:
    with pytest.raises(BadOrder):
        verify_order(envelope, [KEY])


def test_a_key_that_borrows_the_pinned_keys_name_signs_nothing() -> None:
    impostor = CryptoSigner.generate_ed25519(keyid=KEY.keyid)
    with pytest.raises(BadOrder, match="signature"):
        verify_order(sign_order(ORDER, impostor), [KEY])


def test_no_pinned_key_means_no_order() -> None:
    with pytest.raises(BadOrder, match="pinned"):
        verify_order(ENVELOPE, [])


@pytest.mark.parametrize("public", ["", "zz", "00" * 31, "ff" * 32])
def test_damaged_pinned_key_is_a_bad_order_and_no_crash(public: str) -> None:
    with pytest.raises(BadOrder):
        verify_order(ENVELOPE, [OrderKey(KEY.keyid, public)])


@given(st.integers(0, len(b64decode(msgspec.json.decode(ENVELOPE)["payload"])) - 1), st.integers(1, 255))
def test_any_changed_payload_byte_breaks_the_signature(at: int, change: int) -> None:
    wire = msgspec.json.decode(ENVELOPE)
    payload = bytearray(b64decode(wire["payload"]))
    payload[at] ^= change
    wire["payload"] = b64encode(bytes(payload)).decode()
    with pytest.raises(BadOrder):
        verify_order(msgspec.json.encode(wire).decode(), [KEY])


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: raw.decode("latin1")))
def test_arbitrary_text_is_a_bad_order(text: str) -> None:
    with pytest.raises(BadOrder):
        verify_order(text, [KEY])


def test_a_station_verifies_without_the_cryptography_package() -> None:
    code = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "cryptography":
            raise ImportError(name)
sys.meta_path.insert(0, Absent())
from contract.errors import BadOrder
from contract.signature import OrderKey, verify_order
envelope, keyid, public, foreign = sys.argv[1:]
assert verify_order(envelope, [OrderKey(keyid, public)]).desired_seq == 7
assert "cryptography" not in sys.modules
try:
    verify_order(envelope, [OrderKey(keyid, foreign)])
except BadOrder:
    print("refused")
"""
    arguments = [sys.executable, "-c", code, ENVELOPE, KEY.keyid, KEY.public, FOREIGN_KEY.public]
    assert subprocess.run(arguments, capture_output=True, text=True, check=True).stdout.strip() == "refused"
