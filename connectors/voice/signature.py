"""Proof of who sent a request: constant-time compares, the age of a signature, an HMAC whose parts are settings. Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import datetime, timedelta

from connectors.voice.port import Assurance, BadSignature, Incoming
from connectors.voice.reading import moment

TOLERANCE = timedelta(minutes=5)  # either way: an old request is a replay, one from the future was never sent

_STAMP = re.compile(r"[0-9]{1,16}")
_PLACEHOLDER = re.compile(r"\{(body|timestamp|method|url|svix-id)\}")
_ALGORITHMS = {"sha256": hashlib.sha256, "sha512": hashlib.sha512, "sha1": hashlib.sha1}


def fresh(stamp: str, now: datetime) -> bool:
    """Whether `stamp`, digits of seconds or milliseconds since 1970, is within the tolerance of `now`."""
    then = moment(stamp) if _STAMP.fullmatch(stamp) else None
    return then is not None and abs(now - then) <= TOLERANCE


def same(given: str, expected: str) -> bool:
    """Compare without telling by time how far they agree. Any text may come in a header."""
    return hmac.compare_digest(given.encode(errors="surrogatepass"), expected.encode(errors="surrogatepass"))


def check_hmac(request: Incoming, *, secret: str, chosen: Mapping[str, str], now: datetime) -> Assurance:
    """Check an HMAC made as `chosen` says (the settings of Vapi's HMAC credential, see `vapi.Vapi.settings`).

    SIGNED when the payload holds body and time, else SECRET: what is not signed could be anyone's, at any time.
    Raises `BadSignature`, also for settings that cannot be followed.
    """
    algorithm = _ALGORITHMS.get(chosen["algorithm"].lower())
    encoding, form = chosen["signature_encoding"].lower(), chosen["payload_format"]
    if algorithm is None or encoding not in ("hex", "base64"):
        raise BadSignature("the endpoint's signature settings are not usable")
    timed = "{timestamp}" in form
    if timed and not fresh(request.headers.get(chosen["timestamp_header"].lower(), ""), now):
        raise BadSignature("no time, or one too far from now")
    if not same(request.headers[chosen["signature_header"].lower()], hmac_of(request, secret=secret, chosen=chosen)):
        raise BadSignature("the signature does not match")
    return Assurance.SIGNED if timed and "{body}" in form else Assurance.SECRET


def hmac_of(request: Incoming, *, secret: str, chosen: Mapping[str, str]) -> str:
    """What the signature header of `request` must say. Raises `BadSignature` for a secret that cannot be used."""
    parts = {
        "body": request.body,
        "timestamp": request.headers.get(chosen["timestamp_header"].lower(), "").encode(errors="surrogatepass"),
        "method": request.method.upper().encode(errors="surrogatepass"),
        "url": request.url.encode(errors="surrogatepass"),
        "svix-id": request.headers.get(chosen["message_id_header"].lower(), "").encode(errors="surrogatepass"),
    }
    pieces = _PLACEHOLDER.split(chosen["payload_format"])  # text, name, text, …: what a body contains is no placeholder
    signed = b"".join(
        parts[piece] if at % 2 else piece.encode(errors="surrogatepass") for at, piece in enumerate(pieces)
    )
    digest = hmac.new(_key(secret, chosen), signed, _ALGORITHMS[chosen["algorithm"].lower()])
    hexadecimal = chosen["signature_encoding"].lower() == "hex"
    made = digest.hexdigest() if hexadecimal else base64.b64encode(digest.digest()).decode()
    return chosen["signature_prefix"] + made


def _key(secret: str, chosen: Mapping[str, str]) -> bytes:
    if chosen["secret_is_base64"].lower() != "true":
        return secret.encode(errors="surrogatepass")
    try:
        key = base64.b64decode(secret, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not key:
        raise BadSignature("the endpoint's secret is not base64")
    return key
