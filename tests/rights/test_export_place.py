"""Where a package is written: whole or not at all, for its owner only, and never where it does not belong."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from consent.errors import BadInput, Conflict, EvidenceError, Unavailable
from consent.home import CONFIG_FILE, Home
from rights.export import export_person
from rights.unnamed_file import unnamed_file
from tests.consent.consent_samples import ANNA as SOMEBODY
from tests.ingestion.conftest import grant_event
from tests.rights.borrowers import ANNA, CONTROLLER, Borrowers

_RUN = """
import os, resource, signal, sys
from pathlib import Path
from consent.home import Home
from rights.export import export_person
{before}
export_person(Home.open(Path(sys.argv[1])), sys.argv[2], Path(sys.argv[3]), overwrite=True, on_progress=progress)
"""


def in_a_process(home: Home, out: Path, before: str, temporary: Path) -> subprocess.CompletedProcess[bytes]:
    """Write Anna's package in a process of its own, after some lines that define `progress`."""
    return subprocess.run(
        [sys.executable, "-c", _RUN.format(before=before), home.root, ANNA, out],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "TMPDIR": str(temporary)},
        capture_output=True,
        check=False,
    )


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tmp").mkdir()
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def test_for_its_owner_only(borrowers: Borrowers, folder: Path) -> None:
    """Mode 0600, and the files in it as well; nothing else lies beside it."""
    export_person(borrowers.home, ANNA, folder / "p.zip")
    assert (folder / "p.zip").stat().st_mode & 0o777 == 0o600
    with zipfile.ZipFile(folder / "p.zip") as package:
        assert {info.external_attr >> 16 for info in package.infolist()} == {0o100600}
        assert len({info.date_time for info in package.infolist()}) == 1
    assert names(folder) == ["p.zip"]


def test_what_is_there_stays_unless_it_may_be_overwritten(borrowers: Borrowers, folder: Path) -> None:
    """A file, or a link that leads nowhere, is in the way; with `overwrite` the link is replaced, not followed."""
    (folder / "p.zip").write_text("mine")
    (folder / "l.zip").symlink_to(folder / "target")
    for name in ("p.zip", "l.zip"):
        with pytest.raises(Conflict):
            export_person(borrowers.home, ANNA, folder / name)
    assert (folder / "p.zip").read_text() == "mine"
    for name in ("p.zip", "l.zip"):
        export_person(borrowers.home, ANNA, folder / name, overwrite=True)
        assert zipfile.is_zipfile(folder / name)
        assert not (folder / name).is_symlink()
    assert names(folder) == ["l.zip", "p.zip"]


def test_a_file_that_appears_meanwhile_is_not_overwritten(borrowers: Borrowers, folder: Path) -> None:
    """The name is taken in one step: whoever came first keeps it."""

    def come_first(what: str, *_: int) -> None:
        if what == "writing the pages":
            (folder / "p.zip").write_text("mine")

    with pytest.raises(Conflict):
        export_person(borrowers.home, ANNA, folder / "p.zip", on_progress=come_first)
    assert (folder / "p.zip").read_text() == "mine"
    assert names(folder) == ["p.zip"]


@pytest.mark.parametrize(
    "place",
    ["none/p.zip", "p", "p.txt", "is_a_directory.zip", ".zip", "file/p.zip", "../none/../out/none/p.zip"],
)
def test_places_that_cannot_be_used(borrowers: Borrowers, folder: Path, place: str) -> None:
    """No such directory, not a .zip, a directory, below a file: refused before anything is read."""
    (folder / "is_a_directory.zip").mkdir()
    (folder / "file").touch()
    for overwrite in (False, True):
        with pytest.raises(BadInput):
            export_person(borrowers.home, ANNA, folder / place, overwrite=overwrite)
    assert names(folder) == ["file", "is_a_directory.zip"]


def test_never_in_the_home_or_beside_the_keys(borrowers: Borrowers, folder: Path) -> None:
    """A package is plain text, and would go into their backups; a link does not help."""
    home = borrowers.home
    (folder / "link").symlink_to(home.root)
    roundabout = home.root / "vault" / ".." / "p.zip"
    for place in (home.root / "p.zip", home.keys / "p.zip", folder / "link" / "vault" / "p.zip", roundabout):
        with pytest.raises(BadInput, match="home"):
            export_person(home, ANNA, place)
    assert not [*home.root.rglob("*.zip"), *home.keys.rglob("*.zip")]


@pytest.mark.parametrize("step", ["looking at what there is", "writing records", "writing the pages"])
def test_killed_in_the_middle(borrowers: Borrowers, folder: Path, step: str) -> None:
    """Nothing is left beside the place, nor among temporary files; what was there before stays."""
    (folder / "p.zip").write_text("before")
    before = f"""
def progress(what, done, in_all):
    if what == {step!r}:
        os.kill(os.getpid(), signal.SIGKILL)
"""
    done = in_a_process(borrowers.home, folder / "p.zip", before, folder.parent / "tmp")
    assert done.returncode == -signal.SIGKILL
    assert names(folder) == ["p.zip"]
    assert (folder / "p.zip").read_text() == "before"
    assert not names(folder.parent / "tmp")
    export_person(borrowers.home, ANNA, folder / "p.zip", overwrite=True)  # nothing is locked or broken


@pytest.mark.parametrize("size", [10, 20_000])
def test_no_room_left(borrowers: Borrowers, folder: Path, size: int) -> None:
    """Is said so, and nothing is left."""
    before = f"""
from consent.errors import Unavailable
def progress(what, done, in_all):
    if what == "writing records":
        resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))
def hook(kind, error, trace):
    sys.stderr.write(f"{{kind.__name__}}: {{error}}")
sys.excepthook = hook
"""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    done = in_a_process(borrowers.home, folder / "p.zip", before, folder.parent / "tmp")
    assert done.stderr == b"Unavailable: p.zip cannot be written"
    assert not names(folder)
    assert not names(folder.parent / "tmp")


def test_a_damaged_home_gives_no_package(folder: Path) -> None:
    """Evidence that is broken is never passed over, and nothing half is left."""
    home = Home.create(folder.parent / "home")
    with (home.root / CONFIG_FILE).open("a") as file:
        file.write(CONTROLLER)
    (key,) = home.directory.find_or_create([SOMEBODY])
    home.ledger.append([grant_event(key, "spending", "credit_scoring")])
    home = Home.open(home.root)
    export_person(home, SOMEBODY, folder / "whole.zip")
    (home.path("vault") / "spending").mkdir()
    (home.path("vault") / "spending" / "00000000.json").write_text("{}")
    with pytest.raises(EvidenceError):
        export_person(home, SOMEBODY, folder / "p.zip")
    assert names(folder) == ["whole.zip"]


# ------------------------------------------------------------------------------------------- the file itself


def fill(path: Path, raised: Exception | None, first: bytes | None = None) -> None:
    """Write the file half; somebody else may write it first, or something may go wrong."""
    with unnamed_file(path, overwrite=False) as file:
        file.write(b"half")
        if first is not None:
            path.write_bytes(first)
        if raised is not None:
            raise raised


@pytest.fixture(params=["unnamed", "partial"])
def _kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With files that no directory names, and as on a file system that has none."""
    if request.param == "partial":
        monkeypatch.delattr(os, "O_TMPFILE")


@pytest.mark.usefixtures("_kind")
class TestFile:
    """Both ways to write the file keep the same promises."""

    def test_whole(self, folder: Path) -> None:
        """It has its name when it is whole, and not before."""
        with unnamed_file(folder / "p.zip", overwrite=False) as file:
            file.write(b"whole")
            file.flush()
            assert not (folder / "p.zip").exists()
        assert (folder / "p.zip").read_bytes() == b"whole"
        assert (folder / "p.zip").stat().st_mode & 0o777 == 0o600
        assert names(folder) == ["p.zip"]

    def test_overwritten(self, folder: Path) -> None:
        """In one step."""
        (folder / "p.zip").write_bytes(b"before")
        with unnamed_file(folder / "p.zip", overwrite=True) as file:
            file.write(b"after")
            assert (folder / "p.zip").read_bytes() == b"before"
        assert (folder / "p.zip").read_bytes() == b"after"
        assert names(folder) == ["p.zip"]

    @pytest.mark.parametrize(
        ("raised", "expected"), [(KeyError(), KeyError), (OSError(), Unavailable), (Conflict("x"), Conflict)]
    )
    def test_given_up(self, folder: Path, raised: Exception, expected: type[Exception]) -> None:
        """After an error nothing is left."""
        with pytest.raises(expected):
            fill(folder / "p.zip", raised)
        assert not names(folder)

    def test_taken_meanwhile(self, folder: Path) -> None:
        """The first one keeps the name."""
        with pytest.raises(Conflict):
            fill(folder / "p.zip", None, first=b"first")
        assert (folder / "p.zip").read_bytes() == b"first"
        assert names(folder) == ["p.zip"]

    def test_what_a_killed_job_left(self, folder: Path) -> None:
        """Is removed; a link laid in its place is not followed."""
        (folder / "victim").write_bytes(b"victim")
        (folder / "p.zip.partial").symlink_to(folder / "victim")
        with unnamed_file(folder / "p.zip", overwrite=True) as file:
            file.write(b"whole")
        assert (folder / "victim").read_bytes() == b"victim"
        assert names(folder) == ["p.zip", "victim"]


def test_a_file_system_without_second_names(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A memory stick, say: it is renamed there, and a name that was taken meanwhile is respected."""
    monkeypatch.delattr(os, "O_TMPFILE")
    monkeypatch.setattr(os, "link", _refused)
    with unnamed_file(folder / "p.zip", overwrite=False) as file:
        file.write(b"whole")
    with pytest.raises(Conflict), unnamed_file(folder / "q.zip", overwrite=False):
        (folder / "q.zip").touch()
    assert names(folder) == ["p.zip", "q.zip"]


def _refused(*_: object, **__: object) -> None:
    raise PermissionError
