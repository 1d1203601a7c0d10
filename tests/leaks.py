"""Looks for seeded secrets, names and numbers in everything a run has left behind: logs, files, Redis.

A story is told with values that stand nowhere else; afterwards none of them may be found in clear.
"""

import base64
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import redis


def spellings(secret: str) -> set[bytes]:
    """How `secret` may stand somewhere: as it is, escaped for JSON and URLs, in base64; a number also as bare digits."""
    raw = secret.encode()
    found = {raw, quote(secret, safe="").encode(), json.dumps(secret)[1:-1].encode(), secret.encode("utf-16-le")}
    found |= {base64.b64encode(raw).rstrip(b"="), base64.urlsafe_b64encode(raw).rstrip(b"=")}
    if secret.startswith("+"):
        digits = re.sub(r"\D", "", secret)
        found |= {digits.encode(), digits[-9:].encode()}
    return {one for one in found if len(one) >= 5}


def places(
    *, texts: Iterable[str] = (), files: Iterable[Path] = (), redis_url: str = ""
) -> Iterator[tuple[str, bytes]]:
    """Every place to look at, by name: texts, files (folders with all below them), keys and values of a Redis."""
    for number, text in enumerate(texts):
        yield f"text {number}", text.encode()
    for path in files:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                yield str(file), file.read_bytes()
    if redis_url:
        with redis.Redis.from_url(redis_url) as server:
            for key in server.scan_iter(count=1000):
                yield f"redis key {key!r}", key
                yield f"redis value of {key!r}", _value(server, key)


def leaks(secrets: Iterable[str], found: Iterable[tuple[str, bytes]]) -> list[str]:
    """Where secrets stand, as "secret in place"."""
    wanted = {secret: spellings(secret) for secret in secrets}
    return [
        f"{secret!r} in {place}"
        for place, content in found
        for secret, ways in wanted.items()
        if any(way in content for way in ways)
    ]


def assert_no_leaks(
    secrets: Iterable[str], *, texts: Iterable[str] = (), files: Iterable[Path] = (), redis_url: str = ""
) -> None:
    """Fail with every place in which one of `secrets` stands in clear."""
    secrets = list(secrets)
    if not secrets:
        raise AssertionError("nothing was seeded, so nothing can be found")
    looked_at = list(places(texts=texts, files=files, redis_url=redis_url))
    if not looked_at:
        raise AssertionError("there was nothing to look at")
    if found := leaks(secrets, looked_at):
        raise AssertionError("in clear:\n" + "\n".join(found))


def _value(server: Any, key: bytes) -> bytes:
    """A Redis value of whatever type: what it keeps, and its members, since a dump compresses long ones."""
    members: list[bytes]
    match server.type(key):
        case b"string":
            members = [server.get(key) or b""]
        case b"hash":
            members = [part for pair in server.hgetall(key).items() for part in pair]
        case b"list":
            members = server.lrange(key, 0, -1)
        case b"set":
            members = list(server.smembers(key))
        case b"zset":
            members = server.zrange(key, 0, -1)
        case _:
            members = []
    return b" ".join([server.dump(key) or b"", *members])
