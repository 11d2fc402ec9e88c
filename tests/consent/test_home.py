"""A home is whole or not there, and its keys are elsewhere."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from consent.errors import AssentError, ConfigError, Conflict, Unavailable
from consent.files import short_name
from consent.home import CONFIG_FILE, Home, keys_beside
from consent.keyring import Keyring
from tests.consent.consent_samples import given


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "lender" / "home"


def test_a_new_home_opens_and_works(root: Path) -> None:
    """All its stores are there, share one log name, and survive reopening."""
    made = Home.create(root, currency="INR")
    (entry,) = made.ledger.append([given(origin="imported")])
    (key,) = made.directory.find_or_create(["C-1"])
    data_key = made.data_keys.find_or_create("spending", [key])
    opened = Home.open(root)
    assert opened.settings == made.settings
    assert opened.settings.currency == "INR"
    assert opened.ledger.history(entry.event.subject_key) == [entry]
    assert opened.ledger.verifier.name == opened.settings.origin
    assert opened.directory.find(["C-1"]) == [key]
    assert opened.data_keys.find("spending", [key]) == data_key
    assert opened.gate.timeline().ledger_size == 1
    assert opened.path("vault", "x") == root / "vault" / "x"


def test_two_homes_have_nothing_in_common(tmp_path: Path) -> None:
    """Each log has a name and a key of its own."""
    one, two = Home.create(tmp_path / "one"), Home.create(tmp_path / "two")
    assert one.settings.origin != two.settings.origin
    assert one.ledger.verifier != two.ledger.verifier
    assert one.directory.find_or_create(["C-1"]) != two.directory.find_or_create(["C-1"])


def test_nobody_else_can_read_it(root: Path) -> None:
    """Directories are 0700 and files 0600, whatever the umask."""
    old = os.umask(0)
    try:
        home = Home.create(root)
        home.ledger.append([given(origin="imported")])
        home.directory.find_or_create(["C-1"])
    finally:
        os.umask(old)
    everything = [root, *root.rglob("*"), home.keys, *home.keys.rglob("*")]
    assert {p.stat().st_mode & 0o077 for p in everything} == {0}


def test_what_exists_is_never_replaced(root: Path) -> None:
    """A second home, or anything else in its place, is a conflict; an empty directory is none."""
    Home.create(root)
    before = (root / CONFIG_FILE).read_bytes()
    with pytest.raises(Conflict):
        Home.create(root)
    assert (root / CONFIG_FILE).read_bytes() == before
    (root.parent / "file").write_text("mine")
    with pytest.raises(Conflict):
        Home.create(root.parent / "file")
    (root.parent / "full").mkdir()
    (root.parent / "full" / "file").write_text("mine")
    with pytest.raises(Conflict):
        Home.create(root.parent / "full")
    (root.parent / "empty").mkdir()
    assert Home.create(root.parent / "empty").ledger.size() == 0


def test_existing_keys_are_used_and_not_overwritten(root: Path) -> None:
    """A keyring that is there already serves the new home."""
    keyring = Keyring.create(root.parent / "keys")
    before = keyring.secret("directory")
    assert Home.create(root, keys=root.parent / "keys").keyring.secret("directory") == before


@pytest.mark.parametrize("where", ["", "keys", "deep/keys", "../home/keys", "../link/keys"])
def test_keys_never_lie_inside_the_home(root: Path, where: str) -> None:
    """They would be in its backups, and an erased person's data keys with them; links do not help."""
    root.parent.mkdir()
    (root.parent / "link").symlink_to(root)
    with pytest.raises(ConfigError, match="inside the home"):
        Home.create(root, keys=root / where)
    assert not root.exists()


def test_a_path_with_dots_that_leads_elsewhere_is_fine(root: Path) -> None:
    """It is the place that counts, not the spelling."""
    Home.create(root, keys=root / ".." / "keys")
    Home.open(root, keys=root.parent / "keys").ledger.size()


def test_keys_are_found_beside_the_home_or_where_the_environment_says(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First what is said, then ASSENT_KEYS, then beside the home."""
    monkeypatch.delenv("ASSENT_KEYS", raising=False)
    Home.create(root)
    assert Home.open(root).keys == keys_beside(root)
    keys_beside(root).rename(root.parent / "mounted")
    monkeypatch.setenv("ASSENT_KEYS", str(root.parent / "mounted"))
    assert Home.open(root).ledger.size() == 0
    monkeypatch.setenv("ASSENT_KEYS", "nowhere")
    with pytest.raises(Unavailable, match="keyring"):
        Home.open(root).keyring  # noqa: B018
    assert Home.open(root, keys=root.parent / "mounted").ledger.size() == 0


@pytest.mark.parametrize("currency", ["", "yuan", "cny", "CN", "C1Y", "ＣＮＹ", 'CN"'])
def test_a_currency_is_three_capital_letters(root: Path, currency: str) -> None:
    """Anything else is refused before anything is made."""
    with pytest.raises(ConfigError, match="currency"):
        Home.create(root, currency=currency)
    assert not root.parent.exists()


def test_a_missing_home_is_unavailable(root: Path) -> None:
    """Neither an absent nor an empty directory is a home."""
    with pytest.raises(Unavailable):
        Home.open(root)
    root.mkdir(parents=True)
    with pytest.raises(Unavailable):
        Home.open(root)


@pytest.mark.parametrize(
    "config",
    [
        b"",
        b"format = 1\norigin = 'assent/x'",
        b"format = 3\norigin = 'assent/x'",
        b"origin = 'assent/x'",
        b"format = 2",
        b"format = 2\norigin = 5",
        b"format = 2\norigin = 'assent/x'\nretries = 3",
        b"format = 2\norigin = 'assent/x'\nreject_above = 1.01",
        b"format = 2\norigin = 'assent/x'\nreject_above = nan",
        b"format = 2\norigin = 'assent/x'\nreject_above = 'many'",
        b"format = 2\norigin = 'assent/x'\ncurrency = 'yuan'",
        b"format = 2\norigin = 'assent/x'\ncurrency = 156",
        b"format = 2\norigin = 'assent/x'\nkeys = 'many/keys'",
        b"format = 2\norigin = 'assent/x'\nledger = 5",
        b"format = 2\norigin = 'assent/x'\nkey_service = 'many'",
        b"format = 2\norigin = ",
        b"\xff\xfe\x00binary",
    ],
)
def test_settings_that_cannot_be_understood_are_refused(root: Path, config: bytes) -> None:
    """Neither guessed at nor quoted."""
    Home.create(root)
    (root / CONFIG_FILE).write_bytes(config)
    with pytest.raises(ConfigError) as caught:
        Home.open(root)
    assert caught.value.remedy
    assert not re.search("many|yuan|retries", str(caught.value))


def test_settings_may_be_left_out(root: Path) -> None:
    """Only format and origin are needed."""
    Home.create(root)
    (root / CONFIG_FILE).write_text('format = 2\norigin = "assent/x"\n')
    assert (Home.open(root).settings.currency, Home.open(root).settings.reject_above) == ("CNY", 0.05)


def test_a_home_has_an_epoch_key_of_its_own_in_the_keyring(tmp_path: Path) -> None:
    """Named after its log and numbered, so that homes may share a keyring; without it no data key opens."""
    one = Home.create(tmp_path / "one", keys=tmp_path / "keys")
    two = Home.create(tmp_path / "two", keys=tmp_path / "keys")
    files = {home: home.keys / f"epoch-{short_name(home.settings.origin)}-000001.key" for home in (one, two)}
    assert {p.name for p in (tmp_path / "keys").glob("epoch-*")} == {p.name for p in files.values()}
    assert all(re.fullmatch("epoch-[0-9a-f]{16}-000001[.]key", p.name) for p in files.values())
    assert files[one].read_bytes() != files[two].read_bytes()
    for home in (one, two):
        home.data_keys.find_or_create("spending", ["0" * 32])
    files[one].unlink()
    with pytest.raises(Unavailable, match="epoch"):
        Home.open(tmp_path / "one").data_keys.find("spending", ["0" * 32])
    assert Home.open(tmp_path / "two").data_keys.find("spending", ["0" * 32])


def test_a_failure_half_way_leaves_no_home(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was begun is cleared away, and the next attempt succeeds with the keys that were made."""
    with monkeypatch.context() as patch:
        patch.setattr("consent.home.write_atomically", _fail)
        with pytest.raises(OSError, match="disk full"):
            Home.create(root)
    assert [p.name for p in root.parent.iterdir()] == ["home.keys"]
    assert Home.create(root).ledger.size() == 0


def _fail(*_: object) -> None:
    raise OSError("disk full")


def test_a_kill_half_way_leaves_no_home(root: Path) -> None:
    """At whatever moment: there is no home, or a whole one; and it can always be made in the end."""
    script = "import sys; from consent.home import Home; from pathlib import Path; print('.', flush=True)\n"
    script += "for i in range(1000): Home.create(Path(sys.argv[1]) / str(i))"
    for attempt in range(3):
        place = root / str(attempt)
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(place)],
            stdout=subprocess.PIPE,
            cwd=Path(__file__).resolve().parents[2],
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.02 + 0.11 * attempt)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        made = [p for p in place.iterdir() if p.name.isdigit()] if place.exists() else []
        for home in made:
            assert Home.open(home).ledger.audit().findings == ()
        (place / str(len(made))).parent.mkdir(parents=True, exist_ok=True)
        try:
            Home.create(place / str(len(made)))
        except AssentError as error:  # pragma: no cover
            raise AssertionError("what was left behind is in the way") from error


def test_a_keyring_elsewhere_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--keys` at init is enough; ASSENT_KEYS and the argument still win."""
    monkeypatch.delenv("ASSENT_KEYS", raising=False)
    made = Home.create(tmp_path / "home", keys=tmp_path / "密 钥")
    made.directory.find_or_create(["甲"])
    opened = Home.open(tmp_path / "home")
    assert opened.keys == tmp_path / "密 钥"
    assert opened.directory.find(["甲"]) == made.directory.find(["甲"])
    monkeypatch.setenv("ASSENT_KEYS", str(tmp_path / "mounted"))
    assert Home.open(tmp_path / "home").keys == tmp_path / "mounted"
    assert Home.open(tmp_path / "home", keys=tmp_path / "named").keys == tmp_path / "named"
