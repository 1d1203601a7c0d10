"""How old a signature may be, and what a configurable one must cover."""

import base64
import hashlib
import hmac
from datetime import timedelta

import pytest

from connectors.voice.port import Assurance, BadSignature, Incoming
from connectors.voice.signature import check_hmac, fresh, same
from connectors.voice.vapi import Vapi
from tests.connectors.voice.requests import NOW, request

SECRET = "a secret"
STAMP = str(int(NOW.timestamp()))


def signed(payload: bytes, *, algorithm: str = "sha256", key: bytes = SECRET.encode()) -> "hmac.HMAC":
    return hmac.new(key, payload, algorithm)


def check(incoming: Incoming, **settings: str) -> Assurance:
    secret = settings.pop("secret", SECRET)
    return check_hmac(incoming, secret=secret, chosen={**Vapi.settings, **settings}, now=NOW)


@pytest.mark.parametrize("unit", [1, 1000])
@pytest.mark.parametrize(
    ("off", "expected"),
    [(0, True), (300, True), (-300, True), (301, False), (-301, False), (86_400, False)],
)
def test_five_minutes_either_way_in_seconds_or_milliseconds(off: int, unit: int, expected: bool) -> None:
    at = NOW + timedelta(seconds=off)
    assert fresh(str(int(at.timestamp()) * unit), NOW) is expected


@pytest.mark.parametrize("stamp", ["", " ", "soon", "-1772471100", "1772471100.0", "1e9", "١٧٧٢٤٧١١٠٠", "1" * 17])
def test_a_stamp_is_plain_digits(stamp: str) -> None:
    assert not fresh(stamp, NOW)


@pytest.mark.parametrize(
    ("given", "expected", "result"), [("a", "a", True), ("a", "b", False), ("é\udc80", "a", False)]
)
def test_any_text_can_be_compared(given: str, expected: str, result: bool) -> None:
    assert same(given, expected) is result


@pytest.mark.parametrize(
    ("form", "payload", "assurance"),
    [
        ("{timestamp}.{body}", STAMP.encode() + b'.{"a": "{timestamp}"}', Assurance.SIGNED),
        ("{svix-id}.{timestamp}.{body}", b"msg_1." + STAMP.encode() + b'.{"a": "{timestamp}"}', Assurance.SIGNED),
        (
            "{method}{url}{body}",
            b'POSThttps://gateway.example.invalid/v1/voice/x/key{"a": "{timestamp}"}',
            Assurance.SECRET,
        ),
        ("{body}", b'{"a": "{timestamp}"}', Assurance.SECRET),
        ("{timestamp}", STAMP.encode(), Assurance.SECRET),
    ],
)
def test_signed_means_body_and_time(form: str, payload: bytes, assurance: Assurance) -> None:
    """An action that moves money must not be opened by a signature that anyone may replay or put on other words."""
    headers = {"x-signature": signed(payload).hexdigest(), "x-timestamp": STAMP, "svix-id": "msg_1"}
    assert check(request(b'{"a": "{timestamp}"}', headers), payload_format=form) is assurance


@pytest.mark.parametrize("algorithm", ["sha256", "sha512", "sha1"])
def test_every_algorithm_and_encoding_vapi_offers(algorithm: str) -> None:
    mac = signed(b"{}", algorithm=algorithm)
    for encoding, value in (("hex", mac.hexdigest()), ("base64", base64.b64encode(mac.digest()).decode())):
        headers = {"X-Mine": f"v1={value}"}
        settings = {"signature_encoding": encoding, "signature_header": "X-Mine", "signature_prefix": "v1="}
        assert (
            check(request(b"{}", headers), algorithm=algorithm, payload_format="{body}", **settings) is Assurance.SECRET
        )


def test_a_base64_secret_is_decoded_first() -> None:
    mac = signed(b"{}", key=hashlib.sha256(b"raw").digest())
    settings = {"secret": base64.b64encode(hashlib.sha256(b"raw").digest()).decode(), "secret_is_base64": "true"}
    assert (
        check(request(b"{}", {"x-signature": mac.hexdigest()}), payload_format="{body}", **settings) is Assurance.SECRET
    )


@pytest.mark.parametrize(
    "settings",
    [
        {"algorithm": "md5"},
        {"signature_encoding": "rot13"},
        {"secret_is_base64": "true", "secret": "not base64!"},
        {"secret_is_base64": "true", "secret": ""},
        {"signature_prefix": "sha256="},
        {"secret": "another"},
    ],
)
def test_settings_that_do_not_fit_refuse(settings: dict[str, str]) -> None:
    headers = {"x-signature": signed(STAMP.encode() + b".{}").hexdigest(), "x-timestamp": STAMP}
    assert check(request(b"{}", headers)) is Assurance.SIGNED
    with pytest.raises(BadSignature):
        check(request(b"{}", headers), **settings)


@pytest.mark.parametrize("stamp", [None, "", str(int(NOW.timestamp()) - 301)])
def test_a_promised_time_must_be_there_and_fresh(stamp: str | None) -> None:
    headers = {"x-signature": signed((stamp or "").encode() + b".{}").hexdigest()}
    if stamp is not None:
        headers["x-timestamp"] = stamp
    with pytest.raises(BadSignature):
        check(request(b"{}", headers))
