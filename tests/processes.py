"""Commands as processes that never outlive the tests: started, awaited until ready, stopped or killed, their output kept."""

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

PROJECT = Path(__file__).parents[1]
TETHER = Path(__file__).with_name("tether.py")
GATEWAY = (sys.executable, "-c", "import sys; from gateway.cli import main; sys.exit(main())")  # what its script does
READY_IN = timedelta(seconds=90)  # far beyond what it takes, so that a busy machine fails nothing
LOOK_EVERY_S = 0.01


class ProcessFailed(AssertionError):
    """A process ended, or did not become ready; the text carries the end of its output."""


def free_port() -> int:
    """A port of 127.0.0.1 that nobody holds now. Somebody may take it before you do: start again if so."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def program(name: str) -> str:
    """A program of the environment that runs the tests, such as "lint-imports"."""
    return str(Path(sys.executable).with_name(name))


def until(what: str, holds: Callable[[], bool], within: timedelta = READY_IN) -> None:
    """Return as soon as `holds()`; TimeoutError with `what` in its text when it does not in time."""
    give_up_at = time.monotonic() + within.total_seconds()
    while not holds():
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"waited {within} in vain until {what}")
        time.sleep(LOOK_EVERY_S)


async def until_async(what: str, holds: Callable[[], Awaitable[bool]], within: timedelta = READY_IN) -> None:
    """As `until`, for a question that must be awaited, such as a row in the database."""
    give_up_at = time.monotonic() + within.total_seconds()
    while not await holds():
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"waited {within} in vain until {what}")
        await asyncio.sleep(LOOK_EVERY_S)


def new_folder(purpose: str, *, quick: bool = False) -> Path:
    """A new folder of our own under the system's temporary one, readable by every user (PostgreSQL may not be root).

    quick  in memory where there is room for it. A database is 300 files: copied on a disk, even one that is never
           waited for, that is five to ten times the processor's time.
    """
    folder = Path(tempfile.mkdtemp(prefix=f"gateway-{purpose}-", dir=memory() if quick else None))
    folder.chmod(0o755)
    return folder


def memory(*, programs: bool = False) -> Path | None:
    """A folder that lies in memory and has a gigabyte to spare, or None. Containers often have 64 MB of it.

    programs  it must be one that programs may be run from, too.
    """
    folder = Path("/dev/shm")
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK) or shutil.disk_usage(folder).free < 1 << 30:
        return None
    return None if programs and os.statvfs(folder).f_flag & os.ST_NOEXEC else folder


@dataclass
class Process:
    """One running command. Its output goes to `log`, both streams in one file.

    command    program and arguments
    env        the whole environment of the command, not an addition to ours
    user       "uid:gid" to run as, when we are root and it must not be
    stop_by    the signal that asks it to end; SIGKILL follows after `patience`
    remove     folders that go with us should we be killed; ending in order leaves them to whoever made them
    """

    command: Sequence[str]
    log: Path
    env: Mapping[str, str]
    cwd: Path = PROJECT
    user: str | None = None
    stop_by: signal.Signals = signal.SIGTERM
    patience: timedelta = timedelta(seconds=10)
    remove: tuple[Path, ...] = ()
    pid: int = field(default=0, init=False)
    _tether: subprocess.Popen[str] | None = field(default=None, init=False, repr=False)

    def start(self) -> Self:
        """Start it; returns as soon as it has a process id, which is before it is ready."""
        order = {
            "command": list(self.command),
            "cwd": str(self.cwd),
            "env": dict(self.env),
            "log": str(self.log),
            "user": self.user,
            "stop": int(self.stop_by),
            "patience_s": self.patience.total_seconds(),
            "remove": [str(folder) for folder in self.remove],
        }
        self._tether = subprocess.Popen(
            [sys.executable, "-I", "-S", str(TETHER), json.dumps(order)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._tether.stdout is not None
        line = self._tether.stdout.readline()
        if not line:
            raise ProcessFailed(f"{self.command[0]} could not be started")
        self.pid = int(line)
        return self

    @property
    def exit_code(self) -> int | None:
        """None while it runs; 128 + n when signal n ended it."""
        return None if self._tether is None else self._tether.poll()

    def wait(self, within: timedelta = timedelta(seconds=30)) -> int:
        """Wait for its end and answer its exit code."""
        assert self._tether is not None
        try:
            return self._tether.wait(within.total_seconds())
        except subprocess.TimeoutExpired:
            raise ProcessFailed(f"{self.name} still runs after {within}:\n{self.tail()}") from None

    def send(self, number: signal.Signals) -> None:
        """Send this one process a signal. SIGKILL and SIGSTOP are what the crash tests are made of."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        if self.exit_code is None:
            with contextlib.suppress(ProcessLookupError):
                self.send(signal.SIGKILL)
            self.wait()

    def stop(self) -> int:
        """Ask it to end, kill it after `patience`; answers the exit code. Repeats change nothing."""
        assert self._tether is not None
        assert self._tether.stdin is not None
        if self.exit_code is None:
            with contextlib.suppress(BrokenPipeError):
                self._tether.stdin.write("stop")
                self._tether.stdin.flush()
        with contextlib.suppress(BrokenPipeError):
            self._tether.stdin.close()
        code = self.wait(self.patience + timedelta(seconds=10))
        if self._tether.stdout is not None:
            self._tether.stdout.close()
        return code

    @property
    def name(self) -> str:
        """What a failure calls it: the program and what it was told to do."""
        if self.command[: len(GATEWAY)] == list(GATEWAY):
            return " ".join(["gateway", *self.command[len(GATEWAY) :]])
        return " ".join([Path(self.command[0]).name, *self.command[1:3]])

    def output(self) -> str:
        """Everything it has printed so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def tail(self, lines: int = 30) -> str:
        """The end of what it has printed."""
        return "\n".join(self.output().splitlines()[-lines:])

    def wait_until(self, ready: Callable[[], bool], within: timedelta = READY_IN) -> Self:
        """Return as soon as `ready()` holds; fail at once when the process ends, or after `within`."""

        def over() -> bool:
            if ready():
                return True
            if self.exit_code is not None:
                raise ProcessFailed(f"{self.name} ended with {self.exit_code}:\n{self.tail()}")
            return False

        try:
            until("it is ready", over, within)
        except TimeoutError as late:
            raise ProcessFailed(f"{self.name}: {late}\n{self.tail()}") from None
        return self

    def wait_for_line(self, pattern: str, within: timedelta = READY_IN) -> re.Match[str]:
        """The first match of `pattern` (a regular expression) in its output, as soon as it is there."""
        found: list[re.Match[str]] = []

        def printed() -> bool:
            found.extend(re.finditer(pattern, self.output(), re.MULTILINE))
            return bool(found)

        self.wait_until(printed, within)
        return found[0]

    def __enter__(self) -> Self:
        return self if self.pid else self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()


def gateway_environment(settings: Mapping[str, str]) -> dict[str, str]:
    """What a `gateway` process gets to see: the caller's own `GATEWAY_…` settings never, only those given here.

    It may keep the bytecode it compiles: without, each of the many processes that tests start compiles all anew.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    return {**kept, "PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1", **settings}


class Gateway:
    """Starts `gateway …` commands with one set of settings, and ends all of them when it is closed.

    settings  `GATEWAY_…` variables for every process started here
    folder    holds the logs; also the working directory, so that nothing of the project's `.env` is read
    """

    def __init__(self, settings: Mapping[str, str], folder: Path) -> None:
        self.settings = dict(settings)
        self.folder = folder
        self.processes: list[Process] = []

    def start(self, *arguments: str, more: Mapping[str, str] | None = None) -> Process:
        """Start `gateway <arguments>`; ready or not is the caller's question."""
        log = self.folder / f"{len(self.processes):02}-{arguments[0]}.log"
        command = [*GATEWAY, *arguments]
        env = gateway_environment({**self.settings, **(more or {}), "PYTHONPATH": str(PROJECT)})
        process = Process(command, log, env, cwd=self.folder).start()
        self.processes.append(process)
        return process

    def serve(self, *, more: Mapping[str, str] | None = None) -> tuple[Process, str]:
        """Start `gateway serve` on a free port; answers it and its address once it prints that it is ready."""
        process = self.start("serve", "--host", "127.0.0.1", "--port", "0", more=more)
        address = process.wait_for_line(r"http://127\.0\.0\.1:\d+")
        return process, address.group()

    def worker(self, *, more: Mapping[str, str] | None = None) -> Process:
        """Start `gateway worker`; answers it once it has printed a line with the word "ready"."""
        process = self.start("worker", more=more)
        process.wait_for_line(r"\bready\b")
        return process

    def relay(self, *, more: Mapping[str, str] | None = None) -> Process:
        """Start `gateway relay`; answers it once it has printed a line with the word "ready"."""
        process = self.start("relay", more=more)
        process.wait_for_line(r"\bready\b")
        return process

    def run(self, *arguments: str, within: timedelta = timedelta(seconds=60), check: bool = True) -> str:
        """Run one command to its end and answer its standard output; fails when it does, unless `check` is off."""
        done = subprocess.run(
            [*GATEWAY, *arguments],
            cwd=self.folder,
            env=gateway_environment({**self.settings, "PYTHONPATH": str(PROJECT)}),
            capture_output=True,
            text=True,
            timeout=within.total_seconds(),
            check=False,
        )
        if check and done.returncode:
            raise ProcessFailed(
                f"gateway {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
            )
        return done.stdout

    def output(self) -> str:
        """All that all processes printed: where nobody's name, number or token may be found."""
        return "\n".join(process.output() for process in self.processes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for process in reversed(self.processes):
            process.stop()


def remove_folder(folder: Path) -> None:
    """Remove a folder made by `new_folder`, also after a half start."""
    shutil.rmtree(folder, ignore_errors=True)
