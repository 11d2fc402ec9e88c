"""Epoch keys in the keyring, under AWS KMS and under Vault: one suite over all three, with a real service each.

AWS KMS is moto's behind a socket (`tests.kms_server`), Vault a real OpenBao (`tests.vault_server`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from consent.epochs import Epochs
from consent.errors import Conflict, EvidenceError, Unavailable
from consent.files import partial_path, short_name
from tests.consent.consent_samples import NOW
from tests.consent.key_places import (
    ORIGIN,
    OTHER,
    Place,
    credentials,
    make,
    refusal,
    restore,
    spellings,
)
from tests.kms_server import error
from tests.vault_server import VaultServer


def test_a_key_is_made_and_read_again(place: Place) -> None:
    """32 random bytes, the same for whoever opens the keyring next, in a file that only its owner reads."""
    assert place.epochs().numbers() == []
    with pytest.raises(Unavailable):
        _ = place.epochs().current
    place.epochs().ensure(1)
    place.epochs().ensure(2)
    one, two = place.epochs().read(1), place.epochs().read(2)
    assert len(one) == len(two) == 32
    assert one != two
    assert place.epochs().read(1) == one
    assert place.epochs().numbers() == [1, 2]
    assert place.epochs().current == 2
    assert place.epochs().service_of(1) == place.kind
    assert {path.name for path in place.ring.iterdir()} == {place.file(1).name, place.file(2).name}
    assert {path.stat().st_mode & 0o777 for path in place.ring.iterdir()} == {0o600}


def test_a_key_is_made_once(place: Place) -> None:
    """Asking again changes nothing."""
    place.epochs().ensure(1)
    key, files = place.epochs().read(1), place.files()
    place.epochs().ensure(1)
    assert place.epochs().read(1) == key
    assert place.files() == files


def test_no_plain_key_lies_in_a_wrapped_epochs_file(remote: Place) -> None:
    """In no spelling; nor do the credentials."""
    remote.epochs().ensure(1)
    key, content = remote.epochs().read(1), remote.file(1).read_bytes()
    blob = bytes.fromhex(json.loads(content)["wrapped"])
    assert not [spelt for spelt in spellings(key) if spelt in content or spelt in blob]
    assert not [secret for secret in credentials() if secret in content]


def test_a_destroyed_key_is_gone(place: Place) -> None:
    """At once, and its file with it; the others stay."""
    make(place, 1, 2)
    two = place.epochs().read(2)
    destroyed = place.epochs().destroy(1)
    assert (destroyed.epoch, destroyed.service) == (1, place.kind)
    assert destroyed.effective_at.utcoffset() == timedelta(0)
    for attempt in (place.epochs().read, place.epochs().destroy, place.epochs().service_of):
        with pytest.raises(Unavailable, match="epoch key 1 is gone"):
            attempt(1)
    assert place.epochs().numbers() == [2]
    assert place.epochs().read(2) == two
    assert not place.file(1).exists()


def test_a_copy_of_the_keyring_does_not_bring_a_destroyed_key_back(remote: Place) -> None:
    """What a key service destroyed is destroyed in every backup."""
    make(remote, 1, 2)
    backup = remote.files()
    remote.epochs().destroy(1)
    restore(remote, backup)
    with pytest.raises(Unavailable):
        remote.epochs().read(1)
    assert len(remote.epochs().read(2)) == 32


def test_a_destruction_that_broke_off_is_done_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file goes last; until it is gone the epoch is listed, refused by its service, and can be destroyed."""
    make(place, 1, 2)

    def fail(*_: object) -> None:
        raise OSError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", fail)
        with pytest.raises(Unavailable, match="removed"):
            place.epochs().destroy(1)
    assert place.epochs().numbers() == [1, 2]
    assert place.epochs().destroy(1).epoch == 1
    assert place.epochs().numbers() == [2]


def test_a_file_that_came_back_can_be_destroyed_again(place: Place) -> None:
    """As after a crash between the service and the file: the same answer, and the date of the first time."""
    make(place, 1, 2)
    before = place.files()
    first = place.epochs().destroy(1)
    restore(place, before)
    assert place.epochs().destroy(1) == first
    assert place.epochs().numbers() == [2]


def test_the_current_key_is_not_destroyed(place: Place) -> None:
    """Nor one that does not exist yet; nothing changes."""
    make(place, 1, 2)
    files = place.files()
    for epoch in (2, 3):
        with pytest.raises(Conflict):
            place.epochs().destroy(epoch)
    assert place.files() == files
    assert len(place.epochs().read(2)) == 32


def test_homes_in_one_keyring_do_not_touch_each_other(place: Place) -> None:
    """Each has its own numbers and keys, and destroys only its own, however often."""
    make(place, 1)
    other = place.epochs(OTHER)
    other.ensure(1)
    key = other.read(1)
    assert place.epochs().read(1) != key
    for epoch in (2, 3, 4):
        place.epochs().ensure(epoch)
        place.epochs().destroy(epoch - 1)
    assert other.numbers() == [1]
    assert other.read(1) == key
    assert place.epochs().numbers() == [4]
    assert len(place.epochs().read(4)) == 32


def test_other_files_of_the_keyring_are_no_epochs(place: Place) -> None:
    """Neither leftovers of a crash nor what somebody laid there."""
    make(place, 1)
    prefix = f"epoch-{short_name(ORIGIN)}"
    for name in ("-x.key", "-000002", "-2.key", "-000003.pem", "-.json", "-000004.key.old", "-٠٠٠٠٠٥.key"):
        (place.ring / f"{prefix}{name}").write_bytes(b"x")
    partial_path(place.file(6)).write_bytes(b"x")
    assert place.epochs().numbers() == [1]


@pytest.mark.parametrize("content", [b"", b"short", bytes(31), bytes(33)])
def test_a_damaged_key_is_refused(local: Place, content: bytes) -> None:
    """Of another length than 32 bytes."""
    local.epochs().ensure(1)
    local.file(1).write_bytes(content)
    with pytest.raises(EvidenceError):
        local.epochs().read(1)


def test_a_key_in_the_keyring_is_overwritten_before_it_is_removed(
    local: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the file system writes in place, the key's blocks hold it no longer."""
    make(local, 1, 2)
    key = local.epochs().read(1)
    twin = local.ring.parent / "same-blocks"
    twin.hardlink_to(local.file(1))
    destroyed = local.epochs().destroy(1)
    assert destroyed.effective_at == NOW
    assert len(twin.read_bytes()) == 32
    assert twin.read_bytes() != key


def test_a_service_that_is_down_refuses_and_changes_nothing(remote: Place) -> None:
    """Making, reading, destroying; all of it goes on when the service is back."""
    make(remote, 1, 2)
    keys, files = (remote.epochs().read(1), remote.epochs().read(2)), remote.files()
    with remote.down():
        for attempt, epoch in (
            (remote.epochs().ensure, 3),
            (remote.epochs().read, 2),
            (remote.epochs().destroy, 1),
        ):
            with pytest.raises(Unavailable, match="reached") as caught:
                attempt(epoch)
            assert caught.value.remedy
        assert remote.files() == files
        assert remote.epochs().numbers() == [1, 2]
    assert (remote.epochs().read(1), remote.epochs().read(2)) == keys
    remote.epochs().ensure(3)
    remote.epochs().destroy(1)
    assert remote.epochs().read(2) == keys[1]
    assert remote.epochs().numbers() == [2, 3]


def test_another_epochs_file_opens_nothing(remote: Place) -> None:
    """Laid in its place as it is; nor is the key that it names destroyed."""
    make(remote, 1, 2)
    two = remote.epochs().read(2)
    remote.file(1).write_bytes(remote.file(2).read_bytes())
    for attempt in (remote.epochs().read, remote.epochs().destroy):
        with pytest.raises(EvidenceError, match="another"):
            attempt(1)
    assert remote.epochs().read(2) == two


def test_another_homes_file_opens_nothing(remote: Place) -> None:
    """Though both homes use one service and one keyring."""
    make(remote, 1, 2)
    remote.epochs(OTHER).ensure(1)
    remote.file(1).write_bytes(remote.file(1, OTHER).read_bytes())
    for attempt in (remote.epochs().read, remote.epochs().destroy):
        with pytest.raises(EvidenceError, match="another"):
            attempt(1)
    assert len(remote.epochs(OTHER).read(1)) == 32


def test_a_forged_label_opens_nothing_either(remote: Place) -> None:
    """Home and epoch are bound to the wrapped key itself, not only written beside it."""
    make(remote, 1, 2)
    remote.epochs(OTHER).ensure(1)
    for source in (remote.file(2), remote.file(1, OTHER)):
        remote.file(1).write_bytes(source.read_bytes())
        remote.edit(1, origin=ORIGIN, epoch=1)
        with pytest.raises(EvidenceError):
            remote.epochs().read(1)


def test_a_key_wrapped_elsewhere_opens_nothing(remote: Place) -> None:
    """The blob of one epoch under the version of another, and the other way round."""
    make(remote, 1, 2)
    one, two = (json.loads(remote.file(epoch).read_bytes()) for epoch in (1, 2))
    for changes in ({"wrapped": two["wrapped"]}, {"version": two["version"]}):
        remote.file(1).write_text(json.dumps(one | changes))
        with pytest.raises(EvidenceError):
            remote.epochs().read(1)


@pytest.mark.parametrize("position", [0, 9, 20, 40, -20, -1])
def test_a_tampered_wrapped_key_does_not_open(remote: Place, position: int) -> None:
    """Wherever a bit is turned."""
    make(remote, 1)
    blob = bytearray.fromhex(json.loads(remote.file(1).read_bytes())["wrapped"])
    blob[position] ^= 1
    remote.edit(1, wrapped=blob.hex())
    with pytest.raises(EvidenceError):
        remote.epochs().read(1)


@pytest.mark.parametrize("wrapped", ["", "00", "00" * 7000, "766175 6c743a76313a"])
def test_a_wrapped_key_of_another_size_does_not_open(remote: Place, wrapped: str) -> None:
    """Nothing, too little, too much."""
    make(remote, 1)
    remote.edit(1, wrapped=wrapped)
    with pytest.raises(EvidenceError):
        remote.epochs().read(1)


@pytest.mark.parametrize("version", ["", "0", "../sys/seal", "alias/x", "a:0", "a:-1", "a:1\n", "a" * 3000])
def test_a_version_that_names_nothing_is_refused(remote: Place, version: str) -> None:
    """It is never sent as part of an address; nor is anything destroyed."""
    make(remote, 1, 2)
    remote.edit(1, version=version)
    for attempt in (remote.epochs().read, remote.epochs().destroy):
        with pytest.raises((EvidenceError, Unavailable)):
            attempt(1)
    assert remote.file(1).exists()
    assert len(remote.epochs().read(2)) == 32


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda _: b"\xff\xfe",
        lambda _: b"[" * 100_000,
        lambda _: b"[]",
        lambda _: b'"epoch"',
        lambda _: b"null",
        lambda good: good[:-5],
        lambda good: good.replace(b'"format": 1', b'"format": 2'),
        lambda good: good.replace(b'"version"', b'"revision"'),
        lambda good: good.replace(b'"wrapped": "', b'"wrapped": "xy'),
        lambda good: good.replace(b'"epoch": 1', b'"epoch": 2'),
        lambda good: good.replace(b'"kind"', b'"sort"'),
        lambda good: re.sub(rb'"service": \{[^}]*\}', b'"service": "aws-kms"', good),
        lambda good: re.sub(rb'"service": \{[^}]*\}', b'"service": null', good),
        lambda good: re.sub(rb'"version": "[^"]*"', b'"version": 3', good),
        lambda good: re.sub(rb'"wrapped": "[^"]*"', b'"wrapped": 3', good),
    ],
)
def test_a_damaged_file_is_refused(remote: Place, damage: Callable[[bytes], bytes]) -> None:
    """It is neither read nor destroyed: nobody knows what it meant."""
    make(remote, 1, 2)
    remote.file(1).write_bytes(damage(remote.file(1).read_bytes()))
    files = remote.files()
    for attempt in (remote.epochs().read, remote.epochs().destroy):
        with pytest.raises(EvidenceError):
            attempt(1)
    assert remote.files() == files


def test_without_credentials_everything_is_refused(remote: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing changes."""
    make(remote, 1, 2)
    files = remote.files()
    for name in ("VAULT_TOKEN", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    for attempt, epoch in (
        (remote.epochs().ensure, 3),
        (remote.epochs().read, 2),
        (remote.epochs().destroy, 1),
    ):
        with pytest.raises(Unavailable) as caught:
            attempt(epoch)
        assert re.search("AWS_PROFILE|VAULT_TOKEN", caught.value.remedy)
    assert remote.files() == files


def test_settings_may_change_between_epochs(aws: Place, vault: Place, ring: Path) -> None:
    """Each epoch is opened and destroyed where it was made: local, AWS, Vault, local again."""
    kinds = [None, aws.settings, vault.settings, None]
    keys = []
    for epoch, settings in enumerate(kinds, start=1):
        Epochs(ring, ORIGIN, settings).ensure(epoch)
        keys.append(Epochs(ring, ORIGIN).read(epoch))
    assert len(set(keys)) == 4
    Epochs(ring, OTHER, vault.settings).ensure(1)
    epochs = Epochs(ring, ORIGIN, vault.settings)
    assert [epochs.service_of(n) for n in epochs.numbers()] == ["local", "aws-kms", "vault-transit", "local"]
    assert [epochs.read(n) for n in epochs.numbers()] == keys
    assert [epochs.destroy(n).service for n in (1, 2, 3)] == ["local", "aws-kms", "vault-transit"]
    assert epochs.numbers() == [4]
    assert epochs.read(4) == keys[3]


def test_where_an_epoch_lies_twice_both_are_destroyed(remote: Place) -> None:
    """As when an old keyring was copied over a newer one."""
    make(remote, 1, 2)
    plain = remote.file(1).with_suffix(".key")
    plain.write_bytes(bytes(32))
    assert remote.epochs().numbers() == [1, 2]
    assert remote.epochs().destroy(1).service == remote.kind
    assert not plain.exists()
    assert remote.epochs().numbers() == [2]


def test_a_service_that_does_not_unwrap_is_found_out_before_it_is_relied_on(
    remote: Place, bao: VaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever may encrypt and not decrypt gets no epoch."""
    if remote.kind == "aws-kms":
        answers = iter([error("AccessDeniedException")])
        answer = remote.server.answer
        monkeypatch.setattr(
            remote.server,
            "answer",
            lambda headers, body: (
                next(answers) if headers["X-Amz-Target"].endswith(".Decrypt") else answer(headers, body)
            ),
        )
    else:
        rules = 'path "transit/{}/lender-*" {{ capabilities = ["create", "read", "update"] }}\n'
        bao.root.sys.create_or_update_policy("narrow", rules.format("keys") + rules.format("encrypt"))
        made = bao.root.auth.token.create(policies=["narrow"], no_default_policy=True)
        monkeypatch.setenv("VAULT_TOKEN", made["auth"]["client_token"])
    with pytest.raises(Unavailable, match="refused"):
        remote.epochs().ensure(1)
    assert remote.files() == {}


def test_no_message_holds_a_key_or_a_credential(remote: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever goes wrong: neither key nor token, nor what the service or its library said."""
    make(remote, 1, 2)
    key, good = remote.epochs().read(1), remote.file(1).read_bytes()
    blob = json.loads(good)["wrapped"]
    secrets = [s.decode() for s in (*spellings(key)[1:], *credentials())] + [blob, "quoted by KMS", "cipher:"]
    told = []
    for changes in ({"wrapped": blob[:-2] + "00"}, {"version": "a:7"}, {"origin": OTHER}, {"wrapped": "zz"}):
        remote.edit(1, **changes)
        told.append(refusal(remote.epochs().read, 1))
        remote.file(1).write_bytes(good)
    with remote.down():
        told += [refusal(remote.epochs().read, 1), refusal(remote.epochs().destroy, 1)]
    if remote.kind == "aws-kms":
        remote.server.script.append(error("AccessDeniedException"))
        told.append(refusal(remote.epochs().read, 1))
    else:
        bad = "s.leaked\ntoken"
        monkeypatch.setenv("VAULT_TOKEN", bad)
        secrets += [bad, "s.leaked"]
        told.append(refusal(remote.epochs().read, 1))
    assert len(told) >= 7
    assert not [text for text in told for secret in secrets if secret in text]
