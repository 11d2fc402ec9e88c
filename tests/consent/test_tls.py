"""The servers' own certificate."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from consent import tls
from consent.clock import now_utc
from consent.errors import ConfigError


def names(cert: Path) -> set[str]:
    found = x509.load_pem_x509_certificate(cert.read_bytes())
    held = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {str(name.value) for name in held}


def test_it_is_made_once_and_only_its_owner_reads_the_key(tmp_path: Path) -> None:
    made = tls.own_certificate(tmp_path / "tls", ["features.example", "10.0.0.7"])
    assert {"features.example", "10.0.0.7", "localhost", "127.0.0.1", "::1"} <= names(made.cert)
    assert made.key.stat().st_mode & 0o077 == 0
    before = made.cert.read_bytes()
    assert tls.own_certificate(tmp_path / "tls", ["10.0.0.7"]).cert.read_bytes() == before


def test_it_is_made_anew_for_another_name_near_its_end_and_where_it_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tls.own_certificate(tmp_path, [])
    seen = {made.cert.read_bytes()}
    tls.own_certificate(tmp_path, ["other.example"])
    seen.add(made.cert.read_bytes())
    assert "other.example" in names(made.cert)
    made.key.write_bytes(b"nonsense")
    tls.own_certificate(tmp_path, [])
    seen.add(made.cert.read_bytes())
    later = now_utc() + timedelta(days=380)
    monkeypatch.setattr(tls, "now_utc", lambda: later)
    tls.own_certificate(tmp_path, [])
    seen.add(made.cert.read_bytes())
    assert len(seen) == 4


@pytest.mark.parametrize("broken", ["cert", "key"])
def test_a_given_one_must_be_usable(tmp_path: Path, broken: str) -> None:
    made = tls.own_certificate(tmp_path, [])
    assert tls.given_certificate(made.cert, made.key) == made
    getattr(made, broken).write_bytes(b"nonsense")
    with pytest.raises(ConfigError):
        tls.given_certificate(made.cert, made.key)
    with pytest.raises(ConfigError):
        tls.given_certificate(tmp_path / "none", made.key)


def test_a_name_that_no_certificate_can_hold(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        tls.own_certificate(tmp_path, ["特征.example"])
