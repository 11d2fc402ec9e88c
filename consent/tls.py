"""A certificate of our own for servers that nobody has given one: clients are handed the public half to trust."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from consent.clock import now_utc
from consent.errors import ConfigError
from consent.files import write_atomically

_LIFE = timedelta(days=397)
#: With less left than this it is made anew.
_MARGIN = timedelta(days=30)
_SKEW = timedelta(hours=1)


@dataclass(frozen=True)
class Certificate:
    """Where a server's certificate and its private key lie, PEM."""

    cert: Path
    key: Path


def own_certificate(directory: Path, hosts: Sequence[str]) -> Certificate:
    """The self-signed certificate in a directory, made where there is none that is good for these names.

    Args:
        hosts: names or addresses that clients will use; the machine's own and loopback are added.
    """
    found = Certificate(directory / "server.pem", directory / "server.key")
    names = [*dict.fromkeys([*hosts, "localhost", "127.0.0.1", "::1", socket.gethostname()])]
    if not _is_good(found, names):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _make(found, names)
    return found


def given_certificate(cert: Path, key: Path) -> Certificate:
    """A certificate of the operator's own.

    Raises:
        ConfigError: one of the files cannot be used.
    """
    try:
        x509.load_pem_x509_certificates(cert.read_bytes())
        serialization.load_pem_private_key(key.read_bytes(), password=None)
    except (OSError, ValueError, TypeError):
        raise ConfigError(
            "the certificate or its key cannot be used",
            remedy="Name two PEM files; the key without a password.",
        ) from None
    return Certificate(cert, key)


def _is_good(found: Certificate, names: Sequence[str]) -> bool:
    try:
        cert = x509.load_pem_x509_certificate(found.cert.read_bytes())
        serialization.load_pem_private_key(found.key.read_bytes(), password=None)
    except (OSError, ValueError):
        return False
    held = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return set(_alternatives(names)) <= set(held) and now_utc() < cert.not_valid_after_utc - _MARGIN


def _make(place: Certificate, names: Sequence[str]) -> None:
    key, now = ec.generate_private_key(ec.SECP256R1()), now_utc()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_atomically(place.key, private)
    write_atomically(place.cert, _signed(key, names, now).public_bytes(serialization.Encoding.PEM))


def _signed(key: ec.EllipticCurvePrivateKey, names: Sequence[str], now: datetime) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "assent")])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + _LIFE)
        .add_extension(x509.SubjectAlternativeName(_alternatives(names)), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )


def _alternatives(names: Sequence[str]) -> list[x509.GeneralName]:
    return [_alternative(name) for name in names]


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    try:
        return x509.DNSName(name)
    except ValueError:
        raise ConfigError("a host's name must be ASCII", remedy="Write it in punycode.") from None
