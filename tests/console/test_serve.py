"""``assent serve`` as a process: what it prints, what it refuses, TLS, and how it ends."""

from __future__ import annotations

import contextlib
import datetime
import io
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from consent.home import CONFIG_FILE, Home
from console.cli import run


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(home: Home, *more: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """The command, and the lines it printed once it listens."""
    command = [
        sys.executable,
        "-c",
        "from console.cli import main; main()",
        "serve",
        "--home",
        str(home.root),
    ]
    with subprocess.Popen(
        [*command, *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout
            yield process, [process.stdout.readline() for _ in range(3)]
        finally:
            process.kill()


def opened(url: str, context: ssl.SSLContext | None = None) -> tuple[int, str]:
    """What the address answers; the server may need a moment."""
    for _ in range(100):
        with (
            contextlib.suppress(ConnectionError, urllib.error.URLError),
            urllib.request.urlopen(url, context=context) as answer,
        ):
            return answer.status, answer.read().decode()
        time.sleep(0.1)
    raise AssertionError("the console does not answer")


def test_it_prints_a_link_that_leads_in_and_ends_with_ctrl_c(empty_home: Home) -> None:
    """The three lines, the page behind the link, and nothing else on stdout or stderr, the secret least of all."""
    port = free_port()
    with serving(empty_home, "--port", str(port)) as (process, lines):
        assert lines[0] == f"Assent is at http://127.0.0.1:{port}/\n"
        link = re.search(r"http://\S+/sign-in/link\?secret=\S{43}", lines[1])
        assert link
        status, page = opened(link[0])
        assert status == 200
        assert "This link signs you in once" in page
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
        assert process.returncode in (0, 130, -signal.SIGINT)
        assert (out, err) == ("", "")


def test_over_tls(empty_home: Home, tmp_path: Path) -> None:
    """With a certificate and a key browsers come over https."""
    cert, key = certificate(tmp_path)
    port = free_port()
    more = ("--port", str(port), "--tls-cert", str(cert), "--tls-key", str(key))
    with serving(empty_home, *more) as (_, lines):
        assert lines[0] == f"Assent is at https://127.0.0.1:{port}/\n"
        context = ssl.create_default_context(cafile=str(cert))
        assert opened(f"https://127.0.0.1:{port}/sign-in", context)[0] == 200


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (("--host", "0.0.0.0"), 2, "needs TLS"),
        (("--host", "192.0.2.1"), 2, "needs TLS"),
        (("--tls-cert", "cert.pem"), 2, "a certificate and a key"),
        (("--tls-cert", "no.pem", "--tls-key", "no.key"), 2, "is not there"),
        (("--port", "0"), 2, ""),
        (("--port", "70000"), 2, ""),
        (("--host", "127.0.0.1.evil.example"), 2, "needs TLS"),
    ],
)
def test_what_is_refused(empty_home: Home, more: tuple[str, ...], code: int, said: str) -> None:
    """In clear beyond this machine, half of TLS, ports that are none."""
    found, err = refusal(empty_home, *more)
    assert found == code
    assert said in err


def refusal(home: Home, *more: str) -> tuple[int, str]:
    err = io.StringIO()
    with contextlib.redirect_stderr(err):
        code = run(["serve", "--home", str(home.root), *more])
    return code, err.getvalue()


def test_a_port_that_is_taken(empty_home: Home) -> None:
    """Is said so, before a link is printed."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, err = refusal(empty_home, "--port", str(taken.getsockname()[1]))
    assert code == 4
    assert "cannot be listened at" in err


def test_behind_a_proxy_it_calls_itself_by_its_public_address(empty_home: Home) -> None:
    """Then it may listen in clear; cookies and links are those of the public address."""
    path = empty_home.root / CONFIG_FILE
    path.write_text(path.read_text() + '\n[console]\npublic_url = "https://consent.lender.example"\n')
    with serving(empty_home, "--port", str(free_port())) as (_, lines):
        assert lines[1].startswith(
            "Sign in once, within 15 minutes: https://consent.lender.example/sign-in/link"
        )


def certificate(place: Path) -> tuple[Path, Path]:
    """A certificate of this machine's own address, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "console")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    form = serialization.PrivateFormat.PKCS8
    (place / "cert.pem").write_bytes(made.public_bytes(pem))
    (place / "key.pem").write_bytes(key.private_bytes(pem, form, serialization.NoEncryption()))
    return place / "cert.pem", place / "key.pem"
