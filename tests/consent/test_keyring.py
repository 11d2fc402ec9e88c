"""The local keyring."""

from pathlib import Path

import pytest

from consent.epochs import Epochs
from consent.errors import ConfigError, Conflict, EvidenceError, Unavailable
from consent.keyring import Keyring


@pytest.fixture
def path(tmp_path: Path) -> Path:
    Keyring.create(tmp_path / "keys")
    return tmp_path / "keys"


def test_a_new_keyring_is_private(path: Path) -> None:
    """A directory of mode 0700 with files of mode 0600, each a key of 32 bytes."""
    assert path.stat().st_mode & 0o777 == 0o700
    assert {f.name for f in path.iterdir()} == {"log.key", "root.key"}
    assert {f.stat().st_mode & 0o777 for f in path.iterdir()} == {0o600}
    assert {len(f.read_bytes()) for f in path.iterdir()} == {32}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610, 0o777])
@pytest.mark.parametrize("which", ["", "root.key", "epoch"])
def test_a_keyring_that_others_can_read_is_refused(path: Path, which: str, mode: int) -> None:
    """Group and others have no rights, on the directory and on every file, epoch keys as well."""
    Epochs(path, "assent/x").ensure(1)
    Keyring.open(path)
    which = next(path.glob("epoch-*")).name if which == "epoch" else which
    (path / which).chmod(mode if which else mode | 0o700)
    with pytest.raises(ConfigError, match="other users"):
        Keyring.open(path)


def test_keys_are_never_overwritten(path: Path, tmp_path: Path) -> None:
    """Neither a keyring nor anything else that lies where one should be made."""
    before = {f.name: f.read_bytes() for f in path.iterdir()}
    with pytest.raises(Conflict):
        Keyring.create(path)
    assert {f.name: f.read_bytes() for f in path.iterdir()} == before
    (tmp_path / "file").write_text("mine")
    with pytest.raises(Conflict):
        Keyring.create(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_an_empty_directory_is_filled(tmp_path: Path) -> None:
    """As a mounted volume: made by somebody else, perhaps open to all, private afterwards."""
    (tmp_path / "mount").mkdir(mode=0o755)
    Keyring.create(tmp_path / "mount")
    Keyring.open(tmp_path / "mount")


def test_a_keyring_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupted half-way, it does not exist, and can be made again."""

    def fail() -> bytes:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("consent.keyring.new_key", fail)
        with pytest.raises(KeyboardInterrupt):
            Keyring.create(tmp_path / "keys")
    assert not (tmp_path / "keys").exists()
    Keyring.create(tmp_path / "keys")


def test_a_missing_keyring_is_unavailable(tmp_path: Path) -> None:
    """So is a single key that is gone; nothing is made up in its place."""
    with pytest.raises(Unavailable):
        Keyring.open(tmp_path / "keys")
    keyring = Keyring.create(tmp_path / "keys")
    (tmp_path / "keys" / "root.key").unlink()
    with pytest.raises(Unavailable, match=r"root\.key"):
        keyring.secret("directory")


def test_a_damaged_key_is_broken_evidence(path: Path) -> None:
    """A key of another length is no key."""
    (path / "log.key").write_bytes(b"short")
    with pytest.raises(EvidenceError, match=r"log\.key"):
        Keyring.open(path).log_signer("assent/x")


def test_secrets_are_stable_and_apart(path: Path, tmp_path: Path) -> None:
    """One key per use, the same after reopening, another in another keyring, none of them a file's content."""
    uses = {use: Keyring.open(path).secret(use) for use in ("directory", "import", "tables")}
    assert len(set(uses.values())) == 3
    assert Keyring.open(path).secret("import") == uses["import"]
    assert Keyring.create(tmp_path / "other").secret("import") != uses["import"]
    assert not set(uses.values()) & {f.read_bytes() for f in path.iterdir()}
    one, two = (Keyring.open(path).log_signer("assent/x") for _ in range(2))
    assert one.verifier == two.verifier
