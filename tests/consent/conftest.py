"""Places for epoch keys: the keyring, AWS KMS, Vault."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from consent.key_service import parse_key_service
from tests.consent.key_places import AWS_SECRET, DOCS, Place

if TYPE_CHECKING:  # else every test of this room would wait for boto3
    from tests.kms_server import KmsServer
    from tests.vault_server import VaultServer


@pytest.fixture(scope="session")
def kms() -> Iterator[KmsServer]:
    from tests.kms_server import kms_server

    with kms_server() as server:
        yield server


@pytest.fixture(scope="session")
def bao() -> Iterator[VaultServer]:
    from tests.vault_server import vault_server

    with vault_server() as server:
        yield server


@pytest.fixture(scope="session")
def token(bao: VaultServer) -> str:
    """A token that may do what docs/keys.md says and nothing else."""
    (policy,) = re.findall(r"```hcl\n(.*?)```", DOCS, re.S)
    return bao.token(policy)


@pytest.fixture
def no_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of this machine's own is used."""
    for name in ("VAULT_TOKEN", "VAULT_NAMESPACE", "VAULT_CACERT", "AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def ring(tmp_path: Path, no_credentials: None) -> Path:
    path = tmp_path / "ring"
    path.mkdir(mode=0o700)
    return path


@pytest.fixture
def local(ring: Path) -> Place:
    return Place(ring, None)


@pytest.fixture
def aws(ring: Path, kms: KmsServer, monkeypatch: pytest.MonkeyPatch) -> Place:
    kms.reset()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", AWS_SECRET)
    settings = {"kind": "aws-kms", "region": "ap-south-1", "endpoint": kms.endpoint}
    return Place(ring, parse_key_service(settings), kms)


@pytest.fixture
def vault(ring: Path, bao: VaultServer, token: str, monkeypatch: pytest.MonkeyPatch) -> Place:
    bao.reset()
    monkeypatch.setenv("VAULT_TOKEN", token)
    monkeypatch.setenv("VAULT_CACERT", str(bao.certificate))
    settings = {"kind": "vault-transit", "address": bao.address, "key": "lender"}
    return Place(ring, parse_key_service(settings), bao)


def named(request: pytest.FixtureRequest) -> Place:
    place = request.getfixturevalue(request.param)
    assert isinstance(place, Place)
    return place


@pytest.fixture(params=["local", "aws", "vault"])
def place(request: pytest.FixtureRequest) -> Place:
    """Each of the three places."""
    return named(request)


@pytest.fixture(params=["aws", "vault"])
def remote(request: pytest.FixtureRequest) -> Place:
    """Each of the two key services."""
    return named(request)
