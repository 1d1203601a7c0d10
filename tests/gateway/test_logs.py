"""Logs carry ids and no people."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from gateway import logs
from gateway.settings import Settings


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Logs as `serve` sets them up, into a string; as before afterwards."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    out = io.StringIO()
    logs.set_up(Settings(log_level="DEBUG"), out)
    yield out
    root.handlers[:], root.level = before, level
    logging.captureWarnings(False)
    structlog.reset_defaults()


MASKED = [
    ("call from +41446681800 ended", "call from [number] ended"),
    ("call from 044 668 18 00.", "call from [number]."),
    ("sip:+41446681800@10.0.0.1", "sip:"),
    ("to 0041 44 668 18 00", "to [number]"),
    ("jean.dupont@example.com wrote", "[email] wrote"),
    ("Authorization: Bearer abcdefgh12345678", "Authorization: [token]"),
    ("gwk_01m80d9p9sp77g99pjradcs1k9_nAIouVrCf3eSuQr_Sx2zB0c-3qJCLE_Z3L-tMOrec1Mcc9c4758", "[token]"),
    ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl", "[token]"),
]
KEPT = [
    "connection cn_01m80d9gnadyx8edy7mxycaa83 paused",
    "call ca_01m80d9gnadyx8edy7mxycaa83, request rq_7ae9f8acc24c1",
    "listening on 127.0.0.1:8000",
    "peer 10.200.100.5:44321 and 10.200.100.5",
    "due 2026-11-22T01:14:26Z",
    "gateway/app.py:61 entry",
    "HTTP 429 after 1500 ms",
    "revision 0001",
]


@pytest.mark.parametrize(("text", "written"), MASKED, ids=[text[:20] for text, _ in MASKED])
def test_numbers_addresses_and_tokens_are_masked(text: str, written: str) -> None:
    assert logs.masked(text).startswith(written)


@pytest.mark.parametrize("text", KEPT)
def test_ids_times_and_places_stay_readable(text: str) -> None:
    """A log in which everything is masked helps nobody at three in the morning."""
    assert logs.masked(text) == text


@given(st.text(max_size=3000))
def test_masking_ends_and_cuts(text: str) -> None:
    assert len(logs.masked(text)) <= logs.LONGEST


@given(st.from_regex(r"\A(\+41|0041|0)(44|76|79)[0-9]{7}\Z"), st.sampled_from(["", " ", "-", ".", " / "]))
def test_swiss_numbers_in_any_spelling_are_masked(number: str, between: str) -> None:
    spelt = between.join([number[:-7], number[-7:-4], number[-4:-2], number[-2:]]).strip()
    assert number[-7:-4] not in logs.masked(f"from {spelt} now").replace("[number]", "")


def test_a_line_is_json_with_the_ids_in_force(stream: io.StringIO) -> None:
    logs.request_id.set("rq_1")
    with logs.bound(tenant_id="tn_1"):
        logs.log.info("planned", call_id="ca_1", token="abc", caller={"phone": "+41446681800", "password": "x"})
    logs.request_id.set(None)
    line = json.loads(stream.getvalue())
    assert line["tenant_id"] == "tn_1"
    assert (line["event"], line["level"], line["request_id"], line["call_id"]) == ("planned", "info", "rq_1", "ca_1")
    assert line["token"] == "[secret]"
    assert line["caller"] == {"phone": "[number]", "password": "[secret]"}


@pytest.mark.parametrize("how", ["ours", "library"])
def test_an_exception_is_class_and_place_never_its_text(stream: io.StringIO, how: str) -> None:
    """SQLAlchemy puts parameters into its exceptions, httpx2 URLs with tokens."""
    try:
        _fail("Jean Dupont, +41446681800")
    except ValueError as error:
        if how == "ours":
            logs.log.error("it broke", exc_info=error)
        else:
            logging.getLogger("some.library").exception("it broke")
    written = stream.getvalue()
    line = json.loads(written)
    assert (line["error"], line["level"]) == ("ValueError", "error")
    assert "_fail" in line["at_line"]
    assert "Dupont" not in written
    assert "Traceback" not in written


def test_libraries_speak_from_warning_on(stream: io.StringIO) -> None:
    """httpx2 logs whole URLs at INFO, with numbers and tokens in them."""
    logging.getLogger("httpx2").info("GET https://api.example.com/?phone=1")
    logging.getLogger("uvicorn.access").error("GET /oauth/callback?code=1")
    logging.getLogger("rq.worker").warning("lost %s", "+41446681800")
    (line,) = stream.getvalue().splitlines()
    assert json.loads(line)["event"] == "lost [number]"
    assert json.loads(line)["library"] == "rq.worker"


def _fail(what: str) -> None:
    raise ValueError(what)
