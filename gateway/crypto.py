"""Sealing: what is written about people and grants, and how it is found again. Pure; keys are arguments.

A sealed value is `0x01 ‖ version ‖ nonce(12) ‖ ciphertext ‖ tag`, AES-256-GCM. The associated data names where it
stands (tenant, purpose, table, column, natural key): a value moved to another row does not open (security.md §2).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

FORMAT = 1
INDEX_BYTES = 16  # of HMAC-SHA256: 128 bits


class Purpose(StrEnum):
    """Each tenant has an independent random key per purpose."""

    DATA = "data"
    INDEX = "index"
    CACHE = "cache"


class CannotOpen(Exception):
    """The value was not sealed here, with this key, for this place."""


class BadSealingKey(Exception):
    """The text is not a sealing key. The message never contains it."""


@dataclass(frozen=True)
class Kek:
    """A key that wraps tenants' keys. `id`: first 8 hex of SHA-256("gateway-kek" ‖ key)."""

    key: bytes = field(repr=False)

    @property
    def id(self) -> str:
        return hashlib.sha256(b"gateway-kek" + self.key).hexdigest()[:8]


def read_kek(text: str) -> Kek:
    """A sealing key from its base64url text (32 bytes)."""
    try:
        key = base64.urlsafe_b64decode(text.strip() + "=" * (-len(text.strip()) % 4))
    except (binascii.Error, ValueError):
        raise BadSealingKey("a sealing key is 32 bytes as base64url; `gateway key new-sealing` makes one") from None
    if len(key) != 32:
        raise BadSealingKey("a sealing key is 32 bytes as base64url; `gateway key new-sealing` makes one")
    return Kek(key)


def new_kek_text() -> str:
    return base64.urlsafe_b64encode(os.urandom(32)).decode().rstrip("=")


def derived(kek: Kek, info: str) -> bytes:
    """A 32-byte key for one use of its own (the disk spool)."""
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=info.encode()).derive(kek.key)


@dataclass(frozen=True)
class SealingKey:
    """One tenant's key for one purpose and version, ready to use."""

    tenant: str
    purpose: Purpose
    version: int
    key: bytes = field(repr=False)
    _aead: AESGCM = field(init=False, repr=False, compare=False)
    _whose: bytes = field(init=False, repr=False, compare=False)  # what all its associated data begin with

    def __post_init__(self) -> None:
        object.__setattr__(self, "_aead", AESGCM(self.key))
        object.__setattr__(self, "_whose", _where(self.tenant, self.purpose))

    def seal(self, plain: bytes, *place: str) -> bytes:
        """Seal `plain` for `place` = (table, column, natural key…)."""
        nonce = os.urandom(12)
        head = bytes((FORMAT, self.version))
        return head + nonce + self._aead.encrypt(nonce, plain, self._whose + _where(*place))

    def open(self, sealed: bytes, *place: str) -> bytes:
        """The plain value. Raises `CannotOpen`."""
        if len(sealed) < 30 or sealed[0] != FORMAT:
            raise CannotOpen("not a sealed value")
        try:
            return self._aead.decrypt(sealed[2:14], sealed[14:], self._whose + _where(*place))
        except InvalidTag:
            raise CannotOpen("sealed elsewhere, or with another key") from None

    def index(self, value: str) -> bytes:
        """A keyed hash to find `value` by, 16 bytes. Pseudonymous, not anonymous: whoever has the key can enumerate."""
        return hmac.digest(self.key, value.encode(), "sha256")[:INDEX_BYTES]


def version_of(sealed: bytes) -> int:
    return sealed[1] if len(sealed) > 1 else 0


def wrap(kek: Kek, key: SealingKey) -> bytes:
    nonce = os.urandom(12)
    return nonce + AESGCM(kek.key).encrypt(nonce, key.key, _where(key.tenant, key.purpose, str(key.version), "wrapped"))


def unwrap(
    keks: Sequence[Kek], wrapped: bytes, *, kek_id: str, tenant: str, purpose: Purpose, version: int
) -> SealingKey:
    """The key inside `wrapped`. Raises `CannotOpen` when no known sealing key made it."""
    for kek in keks:
        if kek.id == kek_id:
            try:
                where = _where(tenant, purpose, str(version), "wrapped")
                return SealingKey(tenant, purpose, version, AESGCM(kek.key).decrypt(wrapped[:12], wrapped[12:], where))
            except InvalidTag:
                raise CannotOpen("the wrapped key was changed") from None
    raise CannotOpen(f"sealing key {kek_id} is not among GATEWAY_SEALING_KEYS")


def new_key(tenant: str, purpose: Purpose, version: int = 1) -> SealingKey:
    return SealingKey(tenant, purpose, version, os.urandom(32))


_CHECKED = b"gateway sealing check"


def check_value(kek: Kek) -> bytes:
    """A constant sealed with `kek`: kept, it shows at the next start whether the key is still the same."""
    nonce = os.urandom(12)
    return nonce + AESGCM(kek.key).encrypt(nonce, _CHECKED, kek.id.encode())


def checks_out(kek: Kek, value: bytes) -> bool:
    try:
        return AESGCM(kek.key).decrypt(value[:12], value[12:], kek.id.encode()) == _CHECKED
    except InvalidTag:
        return False


def _where(*parts: str) -> bytes:
    """Length-prefixed, so that ("ab", "c") and ("a", "bc") differ."""
    return b"".join([len(part).to_bytes(4) + part for part in [part.encode() for part in parts]])
