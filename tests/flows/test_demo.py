"""`gateway demo`, as whoever types it sees it: in a terminal of 80 columns, to its end or until Ctrl-C."""

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import time
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from select import select
from xml.etree import ElementTree

import httpx2
import pytest

from connectors.crm.catalog import CATALOG
from gateway.cli import main
from tests.processes import GATEWAY, PROJECT, gateway_environment

PATIENCE = timedelta(minutes=3)
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07|\x1b[=>]")


@dataclass
class Terminal:
    """A command in a real (pseudo-)terminal: libraries write, and colour, differently where there is one."""

    process: subprocess.Popen[bytes]
    screen: int
    raw: bytes = b""

    @property
    def lines(self) -> list[str]:
        shown = self.raw.decode(errors="replace")  # the last character may have come by half
        return ESCAPES.sub("", shown).replace("\r", "").split("\n")

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def read_until(self, words: str) -> None:
        """Read what is printed until `words` are there; "" reads to its end."""
        give_up_at = time.monotonic() + PATIENCE.total_seconds()
        while not words or words not in self.text:
            assert time.monotonic() < give_up_at, self.text
            if not select([self.screen], [], [], 1.0)[0]:
                continue
            try:
                chunk = os.read(self.screen, 65536)
            except OSError:  # Linux: the other end is closed
                chunk = b""
            if not chunk:
                assert not words, f"it ended before {words!r}:\n{self.text}"
                return
            self.raw += chunk

    def press_ctrl_c(self) -> None:
        os.write(self.screen, b"\x03")

    def ended(self, within: timedelta = timedelta(seconds=30)) -> int:
        return self.process.wait(within.total_seconds())


def opened(command: Sequence[str], columns: int = 80) -> Terminal:
    """Start a command in a terminal of that width, with nothing of our own settings."""
    screen, keyboard = pty.openpty()
    fcntl.ioctl(keyboard, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    env = gateway_environment({"TERM": "xterm-256color", "PYTHONPATH": str(PROJECT)})
    for name in ("COLUMNS", "LINES", "NO_COLOR"):
        env.pop(name, None)
    process = subprocess.Popen(
        command,
        stdin=keyboard,
        stdout=keyboard,
        stderr=keyboard,
        env=env,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # so that Ctrl-C reaches it
    )
    os.close(keyboard)
    return Terminal(process, screen)


def close(terminal: Terminal) -> None:
    if terminal.process.poll() is None:
        terminal.process.send_signal(signal.SIGKILL)
        terminal.process.wait()
    os.close(terminal.screen)


def width(line: str) -> int:
    """Columns that a line takes."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in line)


def test_a_story_is_told_to_its_end(tmp_path: Path) -> None:
    """The first minute with the product: it must go well, fit the screen, and leave no line of a log in between.

    The picture in README.md is made by what it shows, and fetches nothing from elsewhere.
    """
    newcomer = opened([*GATEWAY, "demo", "--story", "newcomer", "--once", "--picture", str(tmp_path / "demo.svg")])
    callback = opened([*GATEWAY, "demo", "--story", "callback", "--once"])
    try:
        for terminal in (newcomer, callback):
            terminal.read_until("")
            assert terminal.ended() == 0, terminal.text
    finally:
        close(newcomer)
        close(callback)
    for terminal in (newcomer, callback):
        _fits_and_is_clean(terminal)
        assert re.search(r"^http://127\.0\.0\.1:\d+/docs$", terminal.text, re.MULTILINE)
        assert "each once" in terminal.text
    svg = (tmp_path / "demo.svg").read_text()
    shown = " ".join(ElementTree.fromstring(svg).itertext()).replace("\xa0", " ")
    assert "It all went as told." in shown
    assert "url(http" not in svg
    assert "@import" not in svg


@pytest.mark.parametrize("crm", sorted(CATALOG.keys() - {"hubspot"}))
def test_the_same_story_is_told_on_every_crm(crm: str) -> None:
    """A tenant has the CRM it has: `make demo CRM=…` must go as well with it as with the first one."""
    terminal = opened([*GATEWAY, "demo", "--crm", crm, "--once"])
    try:
        terminal.read_until("")
        assert terminal.ended() == 0, terminal.text
        _fits_and_is_clean(terminal)
        assert f"Connecting {CATALOG[crm].manifest.name} by OAuth" in terminal.text
        assert "9 promised, 9 arrived, each once" in terminal.text
    finally:
        close(terminal)


def test_a_crm_without_a_sandbox_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--crm", "filofax"]) == 2
    assert "hubspot, pipedrive, salesforce, zoho" in capsys.readouterr().err


def _fits_and_is_clean(terminal: Terminal) -> None:
    copied = re.compile(r"(http|gwk_)\S+")  # an address or a key stays in one piece, to be copied
    assert [line for line in terminal.lines if width(line) > 80 and not copied.fullmatch(line)] == []
    assert [line for line in terminal.lines if line.startswith("{") or "Traceback" in line or "rror" in line] == []
    assert "It all went as told." in terminal.text


def test_it_keeps_serving_until_ctrl_c() -> None:
    """Its addresses can be opened and copied whole; Ctrl-C ends it at once, with nothing ugly after it."""
    terminal = opened([*GATEWAY, "demo"])
    try:
        terminal.read_until("Still serving")
        docs, link, log, key = re.findall(r"^(http://127\.0\.0\.1:\d+\S+|gwk_\S+)$", terminal.text, re.MULTILINE)
        with httpx2.Client(trust_env=False, timeout=30) as client:
            assert client.get(docs).status_code == 200
            assert "Continue" in client.get(link).text
            assert client.get(log).status_code == 200
            origin = docs.removesuffix("/docs")
            shown = client.get(f"{origin}/v1/connections", headers={"authorization": f"Bearer {key}"})
            assert [one["state"] for one in shown.json()["items"]] == ["active"]
        terminal.press_ctrl_c()
        pressed = time.monotonic()
        terminal.read_until("")
        assert terminal.ended() == 0
        assert time.monotonic() - pressed < 20, "a busy machine takes some seconds; nobody waits for more"
    finally:
        close(terminal)
    _fits_and_is_clean(terminal)
    after = terminal.text.split("Still serving", 1)[1]
    assert [line for line in after.splitlines()[1:] if line.strip(" ^C")] == []


BROKEN = """
import sys
from connectors.sandbox import faults, serve
make = serve.PROVIDERS["hubspot"]
def broken(**options):
    face = make(**options)
    face.faults.add(faults.Fault(kind=faults.Kind.HTML, status=404, path="/oauth/*/token"))
    return face
serve.PROVIDERS = {"hubspot": broken}
from gateway.cli import main
sys.exit(main(["demo", "--once"]))
"""


def test_a_broken_sandbox_is_one_line_and_a_1(tmp_path: Path) -> None:
    """A script must be able to tell; a person must be told."""
    done = subprocess.run(
        [GATEWAY[0], "-c", BROKEN],
        cwd=tmp_path,
        env=gateway_environment({"PYTHONPATH": str(PROJECT)}),
        capture_output=True,
        text=True,
        timeout=PATIENCE.total_seconds(),
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("gateway: the demo did not go as told: ")


def test_a_story_nobody_knows_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--story", "opera"]) == 2
    assert "callback, lead, newcomer" in capsys.readouterr().err
