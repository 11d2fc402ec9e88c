"""What is Vault's own: one version per epoch, trimmed from the oldest; seals, tokens, certificates."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.keywrap import aes_key_wrap_with_padding

from consent import vault_transit
from consent.epochs import Epochs
from consent.errors import ConfigError, EvidenceError, Unavailable
from consent.vault_transit import VaultTransit
from tests.consent.consent_samples import NOW
from tests.consent.key_places import (
    AAD,
    KEY,
    NAME,
    ORIGIN,
    Place,
    facts,
    forget,
    make,
    refusal,
    restore,
    scripted_server,
    silent_server,
)
from tests.vault_server import VaultServer


def test_vault_trims_what_is_destroyed(vault: Place, bao: VaultServer) -> None:
    """Not merely refused: the version is no longer there, and even its owner cannot lower the floor again."""
    make(vault, 1, 2, 3)
    destroyed = vault.epochs().destroy(1)
    assert destroyed.effective_at == NOW
    found = facts(bao)
    assert (
        found["min_available_version"]
        == found["min_decryption_version"]
        == found["min_encryption_version"]
        == 2
    )
    assert set(found["keys"]) == {"2", "3"}
    with pytest.raises(Exception, match="min available version"):
        bao.root.secrets.transit.update_key_configuration(name=f"lender-{NAME}", min_decryption_version=1)
    vault.epochs().destroy(2)
    assert set(facts(bao)["keys"]) == {"3"}
    assert len(vault.epochs().read(3)) == 32


def test_vault_destroys_its_newest_version_too(vault: Place, bao: VaultServer) -> None:
    """As when the next epoch lies elsewhere: a version that nobody uses takes its place."""
    make(vault, 1)
    before = vault.files()
    Epochs(vault.ring, ORIGIN).ensure(2)
    vault.epochs().destroy(1)
    assert set(facts(bao)["keys"]) == {"2"}
    restore(vault, before)
    vault.epochs().destroy(1)
    assert set(facts(bao)["keys"]) == {"2"}


@pytest.mark.parametrize("steps", [0, 1, 2, 3])
def test_vault_destruction_goes_on_where_it_broke_off(vault: Place, bao: VaultServer, steps: int) -> None:
    """After the newer version was made, after either floor was raised, after the trim."""
    service = vault.service()
    version = service.create(NAME, 1)
    blob = service.wrap(version, KEY, AAD)
    transit, name = bao.root.secrets.transit, f"lender-{NAME}"
    done = [
        lambda: transit.rotate_key(name=name),
        lambda: transit.update_key_configuration(name=name, min_encryption_version=2),
        lambda: transit.update_key_configuration(name=name, min_decryption_version=2),
        lambda: transit.trim_key(name=name, min_version=2),
    ]
    for step in done[: steps + 1]:
        step()
    for _ in range(2):
        service.destroy(version)
        assert (set(facts(bao)["keys"]), facts(bao)["latest_version"]) == ({"2"}, 2)
    with pytest.raises(Unavailable, match="no longer in Vault"):
        service.unwrap(version, blob, AAD)


def test_vault_destroys_a_version_whose_neighbours_are_in_use(vault: Place, bao: VaultServer) -> None:
    """Unused versions below go along; those above stay, and floors that are higher already are left."""
    service = vault.service()
    versions = [service.create(NAME, epoch) for epoch in range(1, 5)]
    blobs = [service.wrap(version, KEY, AAD) for version in versions]
    bao.root.secrets.transit.update_key_configuration(name=f"lender-{NAME}", min_encryption_version=4)
    service.destroy(versions[1])
    found = facts(bao)
    assert (found["min_available_version"], found["min_encryption_version"]) == (3, 4)
    assert [service.unwrap(v, b, AAD) for v, b in list(zip(versions, blobs, strict=True))[2:]] == [KEY, KEY]
    service.destroy(versions[0])
    assert facts(bao) == found


def test_vault_is_sealed_and_unsealed(vault: Place, bao: VaultServer) -> None:
    """Refused meanwhile, with what to do; nothing is lost."""
    make(vault, 1, 2)
    key, files = vault.epochs().read(1), vault.files()
    bao.seal()
    try:
        for attempt, epoch in (
            (vault.epochs().ensure, 3),
            (vault.epochs().read, 1),
            (vault.epochs().destroy, 1),
        ):
            with pytest.raises(Unavailable, match="sealed"):
                attempt(epoch)
    finally:
        bao.unseal()
    assert vault.files() == files
    assert vault.epochs().read(1) == key


@pytest.mark.parametrize("other", ["nobody", "s.0123456789", "ключ", "a b", "s.x\r\nX-Evil: 1"])
def test_vault_refuses_other_tokens(vault: Place, monkeypatch: pytest.MonkeyPatch, other: str) -> None:
    """Unknown ones, and ones that are no tokens at all."""
    make(vault, 1)
    monkeypatch.setenv("VAULT_TOKEN", other)
    with pytest.raises(Unavailable, match="refused the token"):
        vault.epochs().read(1)
    assert other not in refusal(vault.epochs().read, 1)


def test_vault_finds_its_token_in_the_users_file(
    vault: Place, tmp_path: Path, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Vault's own login leaves it; a file that cannot be read is no token."""
    monkeypatch.delenv("VAULT_TOKEN")
    (tmp_path / ".vault-token").write_text(token + "\n")
    make(vault, 1)
    assert len(vault.epochs().read(1)) == 32
    (tmp_path / ".vault-token").write_bytes(b"\xff\xfe")
    with pytest.raises(Unavailable, match="token"):
        vault.epochs().read(1)


def test_vault_is_not_believed_without_its_certificate(vault: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The token is not sent to a server that nobody vouches for, nor is a missing file of certificates skipped."""
    make(vault, 1)
    monkeypatch.delenv("VAULT_CACERT")
    with pytest.raises(Unavailable, match="reached"):
        vault.epochs().read(1)
    monkeypatch.setenv("VAULT_CACERT", "/nowhere.pem")
    with pytest.raises(Unavailable):
        vault.epochs().read(1)


def test_vault_namespaces_are_heeded(vault: Place, bao: VaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key of one namespace is not there in another."""
    make(vault, 1)
    monkeypatch.setenv("VAULT_NAMESPACE", "elsewhere")
    with pytest.raises(Unavailable):
        vault.epochs().read(1)


@pytest.mark.parametrize("mount", ["nowhere", "sys", "secret/transit"])
def test_vault_without_the_engine_is_refused(vault: Place, bao: VaultServer, mount: str) -> None:
    """Whether the token may look there or not."""
    service = VaultTransit(bao.address, "lender", mount)
    with pytest.raises(Unavailable):
        service.create(NAME, 1)
    service._client.token = bao.root.token
    with pytest.raises(Unavailable):
        service.create(NAME, 1)


def test_vault_that_lost_the_key_is_refused_and_makes_none(vault: Place, bao: VaultServer) -> None:
    """A restored or emptied Vault; that it is missing is not taken for its destruction."""
    make(vault, 1, 2)
    files = vault.files()
    forget(bao)
    for attempt in (vault.epochs().read, vault.epochs().destroy):
        with pytest.raises(Unavailable, match="does not know"):
            attempt(1)
    with pytest.raises(Unavailable):
        vault.service().wrap(f"{NAME}:1", KEY, AAD)
    assert vault.files() == files
    assert vault.service()._read(NAME) is None


def test_vault_of_an_older_state_is_refused(vault: Place, bao: VaultServer) -> None:
    """A version that it does not have yet is not destroyed by it, and opens nothing."""
    service = vault.service()
    service.create(NAME, 1)
    with pytest.raises(Unavailable, match="no longer"):
        service.destroy(f"{NAME}:5")
    with pytest.raises(Unavailable, match="no longer"):
        service.unwrap(f"{NAME}:5", b"vault:v5:" + b"A" * 80, AAD)
    assert set(facts(bao)["keys"]) == {"1"}


def test_a_new_key_of_the_same_name_opens_nothing_of_the_old(vault: Place, bao: VaultServer) -> None:
    """Its first version is another key."""
    make(vault, 1)
    forget(bao)
    vault.service().create(NAME, 1)
    with pytest.raises(EvidenceError):
        vault.epochs().read(1)


@pytest.mark.parametrize(
    "options",
    [
        {"key_type": "chacha20-poly1305"},
        {"key_type": "ed25519"},
        {"key_type": "aes256-gcm96", "exportable": True},
        {"key_type": "aes256-gcm96", "allow_plaintext_backup": True},
        {"key_type": "aes256-gcm96", "derived": True},
    ],
)
def test_vault_keys_of_which_copies_may_exist_are_refused(
    vault: Place, bao: VaultServer, options: dict[str, Any]
) -> None:
    """Such a key could not be destroyed; nor is one of another type used."""
    bao.root.secrets.transit.create_key(name=f"lender-{NAME}", **options)
    with pytest.raises(ConfigError):
        vault.epochs().ensure(1)
    assert vault.files() == {}


def test_vault_keys_that_were_brought_from_outside_are_refused(vault: Place, bao: VaultServer) -> None:
    """Whoever imported it may have kept it."""
    transit, material = bao.root.secrets.transit, bytes(range(32))
    pem = bao.root.read("transit/wrapping_key")["data"]["public_key"]
    wrapping_key = serialization.load_pem_public_key(pem.encode())
    assert isinstance(wrapping_key, rsa.RSAPublicKey)
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    blob = wrapping_key.encrypt(KEY, oaep) + aes_key_wrap_with_padding(KEY, material)
    bao.root.write_data(
        f"transit/keys/lender-{NAME}/import",
        data={
            "ciphertext": base64.b64encode(blob).decode(),
            "type": "aes256-gcm96",
            "hash_function": "SHA256",
        },
    )
    assert transit.read_key(name=f"lender-{NAME}")["data"]["imported_key"] is True
    with pytest.raises(ConfigError):
        vault.epochs().ensure(1)


def test_vault_keys_opened_up_later_are_used_no_more_and_still_destroyed(
    vault: Place, bao: VaultServer
) -> None:
    """Such a key makes no new epoch; those that it has are read, and destroyed when the next lies elsewhere."""
    make(vault, 1)
    bao.root.secrets.transit.update_key_configuration(name=f"lender-{NAME}", exportable=True)
    with pytest.raises(ConfigError):
        vault.epochs().ensure(2)
    assert len(vault.epochs().read(1)) == 32
    Epochs(vault.ring, ORIGIN).ensure(2)
    assert vault.epochs().destroy(1).service == "vault-transit"
    assert set(facts(bao)["keys"]) == {"2"}


@pytest.mark.parametrize(
    "blob",
    [
        b"vault:v2:" + b"A" * 80,
        b"vault:v01:" + b"A" * 80,
        b"vault:v1:",
        b"vault:v1:" + b"A" * 80 + b"\n",
        b"vault:v1:" + b"?" * 80,
        b"\xff" * 80,
        b"vault:v" + b"9" * 100 + b":" + b"A" * 80,
    ],
)
def test_vault_ciphertexts_must_name_their_version(vault: Place, blob: bytes) -> None:
    """What names another, or has another form, is not even sent."""
    service = vault.service()
    version = service.create(NAME, 1)
    assert version == f"{NAME}:1"
    with pytest.raises(EvidenceError):
        service.unwrap(version, blob, AAD)


def test_vault_does_not_wait_for_ever(vault: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that accepts and says nothing is given up."""
    monkeypatch.setattr(vault_transit, "_READ_SECONDS", 0.2)
    with silent_server() as port, pytest.raises(Unavailable, match="reached"):
        VaultTransit(f"http://127.0.0.1:{port}", "lender").create(NAME, 1)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, ""),
        (200, "{}"),
        (200, "[]"),
        (200, "<html>Log in</html>"),
        (200, '{"data": null}'),
        (200, '{"data": {"type": "aes256-gcm96"}}'),
        (
            200,
            json.dumps(
                {"data": {"type": "aes256-gcm96", **dict.fromkeys(vault_transit._Facts._fields, "1")}}
            ),
        ),
        (204, ""),
        (403, "<html>Forbidden</html>"),
        (429, '{"errors": ["slow down"]}'),
        (500, '{"errors": ["1 error occurred"]}'),
        (501, "{}"),
        (502, ""),
        (503, "no json"),
        (412, "[]"),
    ],
)
def test_answers_that_are_not_vaults_are_refused(vault: Place, status: int, body: str) -> None:
    """As a proxy that wants somebody to log in, or one that has lost its Vault."""
    with scripted_server(status, body) as port, pytest.raises(Unavailable) as caught:
        VaultTransit(f"http://127.0.0.1:{port}", "lender").create(NAME, 1)
    assert caught.value.remedy
