"""The table ``[key_service]`` of the settings, and the libraries that a key service needs."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib

import pytest

from consent.errors import ConfigError
from consent.key_service import KINDS, open_key_service, parse_key_service
from tests.consent.key_places import (
    DOCS,
)

GOOD: list[dict[str, object]] = [
    {"kind": "aws-kms", "region": "ap-south-1"},
    {"kind": "aws-kms", "region": "us-gov-west-1", "deletion_window_days": 30},
    {"kind": "aws-kms", "region": "eusc-de-east-1", "endpoint": "https://vpce-1.kms.example:8443/"},
    {"kind": "vault-transit", "address": "https://vault.lender.example:8200", "key": "lender"},
    {"kind": "vault-transit", "address": "http://127.0.0.1:8200", "key": "a", "mount": "team-1/transit"},
    {"kind": "vault-transit", "address": "https://[2001:db8::1]:8200", "key": "l_1", "mount": "t"},
]
AWS: dict[str, object] = {"kind": "aws-kms", "region": "ap-south-1"}
VAULT: dict[str, object] = {"kind": "vault-transit", "address": "https://v", "key": "k"}
SECRET = "s3cr3t"
BAD: list[object] = [
    {},
    {"region": "ap-south-1"},
    {"kind": "gcp-kms"},
    {"kind": SECRET},
    {"kind": ["aws-kms"]},
    {"kind": None},
    {"kind": "aws-kms"},
    {"kind": "vault-transit", "address": "https://v"},
    {"kind": "vault-transit", "key": "k"},
    None,
    "aws-kms",
    ["aws-kms"],
    AWS | {"secret_access_key": SECRET},
    AWS | {SECRET: "x"},
    VAULT | {"token": SECRET},
    VAULT | {"region": "ap-south-1"},
    *(
        AWS | {"region": value}
        for value in ("", "a", "ap-south-1.evil.example/", "../..", "AP-SOUTH-1", "ap-south-1\n", 1, None, [])
    ),
    *(
        AWS | {"deletion_window_days": value}
        for value in (0, 6, 31, -7, 10**30, 7.0, "7", True, None, float("nan"))
    ),
    *(
        AWS | {"endpoint": value}
        for value in ("", "kms.example", "http://kms.example", "ftp://kms.example", None, 443)
    ),
    *(
        VAULT | {"address": value}
        for value in (
            f"https://root:{SECRET}@vault",
            f"https://vault/?token={SECRET}",
            "https://vault/#x",
            "https://vault/v1",
            "https://vault:99999999",
            "https://va ult",
            "https://vault\r\nX-Vault-Token: x",
            "https://",
            "http://vault.lender.example",
            "http://localhost.evil.example",
            "http://127.0.0.1.evil.example",
            "http://127.0.0.1@evil.example",
            "file:///etc/passwd",
            b"https://vault",
        )
    ),
    *(VAULT | {"key": value} for value in ("", "..", "a/b", "a.b", "-a", "a-", "ключ", "k" * 65, "a\n", 7)),
    *(VAULT | {"mount": value} for value in ("", "/transit", "transit/", "a//b", "../sys", "a?b", None)),
]


@pytest.mark.parametrize("table", GOOD)
def test_settings_are_read_as_they_stand(table: dict[str, object]) -> None:
    """And stand in an epoch's file as in assent.toml."""
    settings = parse_key_service(table)
    assert settings.to_dict() == table
    assert settings.kind in KINDS
    assert parse_key_service(settings.to_dict()) == settings


@pytest.mark.parametrize("table", BAD)
def test_settings_that_cannot_be_used_are_refused(table: object) -> None:
    """Of another kind, missing, unknown, of another type, or meant to lead elsewhere; no value is quoted."""
    with pytest.raises(ConfigError) as caught:
        parse_key_service(table)
    assert caught.value.remedy
    assert SECRET not in f"{caught.value}{caught.value.remedy}"


def test_the_settings_in_the_docs_can_be_used() -> None:
    """docs/keys.md shows one table for each kind."""
    tables = [tomllib.loads(block)["key_service"] for block in re.findall(r"```toml\n(.*?)```", DOCS, re.S)]
    assert [parse_key_service(table).kind for table in tables] == list(KINDS)


@pytest.mark.parametrize(
    ("table", "module", "extra"), [(AWS, "boto3", "assent[aws]"), (VAULT, "hvac", "assent[vault]")]
)
def test_a_library_that_is_not_installed_is_named(
    table: dict[str, object], module: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the command that installs it."""
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=module) as caught:
        open_key_service(parse_key_service(table))
    assert f"pip install '{extra}'" in caught.value.remedy


def test_the_libraries_are_loaded_late() -> None:
    """Who has no key service never loads them."""
    seen = "import consent.epochs, consent.aws_kms, consent.vault_transit, sys; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", seen], capture_output=True, text=True, check=True)
    assert not {"boto3", "botocore", "hvac", "requests"} & set(modules.stdout.split())
