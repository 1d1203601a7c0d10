"""The scanner that looks for people in logs and stores finds them, however they are spelt."""

import base64
import json
from pathlib import Path
from urllib.parse import quote

import pytest
import redis

from tests.leaks import assert_no_leaks, leaks, places

NUMBER, NAME = "+41446681800", "Zoé Quillet"


@pytest.mark.parametrize(
    "text",
    [
        f"call from {NUMBER}",
        "GET /?phone=%2B41446681800",
        "sip:41446681800@example.com",
        "446681800 was called",
        json.dumps({"name": NAME}),
        f"name={quote(NAME)}",
        base64.b64encode(NAME.encode()).decode(),
    ],
)
def test_a_leak_is_found(text: str) -> None:
    with pytest.raises(AssertionError, match="text 0"):
        assert_no_leaks([NUMBER, NAME], texts=[text])


def test_files_and_redis_are_looked_into(tmp_path: Path, redis_url: str) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "gateway.db").write_bytes(b"\x00\x01" + NAME.encode() + b"\x00")
    with redis.Redis.from_url(redis_url) as server:
        server.set(f"caller:{NUMBER}", "1")
        server.hset("job", "description", "x" * 500 + NAME)
        server.rpush("queue", "nobody")
    found = leaks([NUMBER, NAME], places(files=[tmp_path], redis_url=redis_url))
    assert len(found) == 3
    assert any("gateway.db" in one for one in found)
    assert any("value of b'job'" in one for one in found)


def test_nothing_seeded_or_nothing_to_look_at_is_no_success() -> None:
    with pytest.raises(AssertionError, match="nothing was seeded"):
        assert_no_leaks([], texts=["x"])
    with pytest.raises(AssertionError, match="nothing to look at"):
        assert_no_leaks([NAME])


def test_what_is_sealed_passes() -> None:
    assert_no_leaks([NUMBER, NAME], texts=["call ca_01m80d9gnadyx8edy7mxycaa83 ended"])
