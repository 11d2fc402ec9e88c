"""``assent serve-offline``, ``serve-online``, ``client-config``: features for modelers who have no keys."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from consent.catalog import require_purpose
from consent.errors import BadInput, ConfigError
from consent.home import Home
from consent.tls import Certificate, given_certificate, own_certificate
from console.options import DEFAULT_HOME, HomeOption, JsonOption, open_home
from console.show import say, say_json

Purpose = Annotated[str, typer.Option("--purpose", help="What the server's features are for.")]
Host = Annotated[str, typer.Option("--host", help="Name or address to listen on.")]
Cert = Annotated[
    Path | None, typer.Option("--tls-cert", help="The server's certificate, PEM; default: one of our own.")
]
Key = Annotated[Path | None, typer.Option("--tls-key", help="Its private key, PEM.")]
_LOOPBACK = "127.0.0.1"
OFFLINE_PORT, ONLINE_PORT = 8815, 6566


def serve_offline(
    purpose: Purpose,
    host: Host = _LOOPBACK,
    port: Annotated[
        int, typer.Option("--port", min=0, max=65_535, help="0: any that is free.")
    ] = OFFLINE_PORT,
    tls_cert: Cert = None,
    tls_key: Key = None,
    home: HomeOption = DEFAULT_HOME,
    json: JsonOption = False,
) -> None:
    """Serve training features for one purpose to modelers on Feast's `type: remote` (Arrow Flight, TLS, tokens).

    Examples:
      assent serve-offline --purpose model_training
      assent serve-offline --purpose model_training --host features.example --tls-cert s.pem --tls-key s.key
    """
    opened, certificate = _prepared(home, purpose, host, tls_cert, tls_key)
    from feature_repo.stores import boundary

    def ready(at: int) -> None:
        _say_ready(f"grpc+tls://{host}:{at}", purpose, certificate, json=json)

    boundary.serve_offline(opened, purpose, boundary.Listening(host, port, certificate, ready))


def serve_online(
    purpose: Purpose,
    host: Host = _LOOPBACK,
    port: Annotated[
        int, typer.Option("--port", min=0, max=65_535, help="0: any that is free.")
    ] = ONLINE_PORT,
    tls_cert: Cert = None,
    tls_key: Key = None,
    home: HomeOption = DEFAULT_HOME,
    json: JsonOption = False,
) -> None:
    """Serve online features for one purpose through Feast's own feature server (HTTPS, tokens).

    Reading needs a modeler's token, pushing and materialising a recorder's.

    Example: assent serve-online --purpose credit_scoring
    """
    opened, certificate = _prepared(home, purpose, host, tls_cert, tls_key)
    from feature_repo.stores import boundary

    def ready(at: int) -> None:
        _say_ready(f"https://{host}:{at}", purpose, certificate, json=json)

    boundary.serve_online(opened, purpose, boundary.Listening(host, port, certificate, ready))


def client_config(
    purpose: Purpose,
    out: Annotated[Path, typer.Option("--out", help="The directory to write.")],
    host: Annotated[
        str, typer.Option("--host", help="Where the servers are, as the certificate names them.")
    ] = ("localhost"),
    offline_port: Annotated[
        int, typer.Option("--offline-port", min=1, max=65_535, help="Of serve-offline.")
    ] = (OFFLINE_PORT),
    online_port: Annotated[int, typer.Option("--online-port", min=1, max=65_535, help="Of serve-online.")] = (
        ONLINE_PORT
    ),
    tls_cert: Annotated[
        Path | None, typer.Option("--tls-cert", help="The certificate to trust; default: our own.")
    ] = None,
    home: HomeOption = DEFAULT_HOME,
    json: JsonOption = False,
) -> None:
    """Write a plain Feast configuration for a modeler without keys. The token goes into ASSENT_TOKEN.

    Example: assent client-config --purpose model_training --host features.example --out for-modelers
    """
    from feature_repo.stores.boundary import write_client

    opened = open_home(home)
    require_purpose(purpose)
    cert = tls_cert or own_certificate(_tls(opened), [host]).cert
    try:
        write_client(opened, purpose, out, host=host, ports=(offline_port, online_port), cert=cert)
    except OSError:
        raise BadInput("the configuration cannot be written", remedy="Check --out and --tls-cert.") from None
    if json:
        say_json({"out": str(out), "purpose": purpose})
    else:
        say(f"written to {out.name}; ASSENT_TOKEN takes a token (`assent token create`)")


def _prepared(
    place: Path, purpose: str, host: str, cert: Path | None, key: Path | None
) -> tuple[Home, Certificate]:
    opened = open_home(place)
    require_purpose(purpose)
    if (cert is None) != (key is None):
        raise ConfigError("a certificate comes with its key", remedy="Name both --tls-cert and --tls-key.")
    if cert is not None and key is not None:
        return opened, given_certificate(cert, key)
    return opened, own_certificate(_tls(opened), [host])


def _tls(home: Home) -> Path:
    return home.keys / "tls"


def _say_ready(address: str, purpose: str, certificate: Certificate, *, json: bool) -> None:
    if json:
        say_json({"address": address, "purpose": purpose, "certificate": str(certificate.cert)})
        return
    say(f"features for {purpose}: {address}")
    say(f"clients trust {certificate.cert} and bring a token; see `assent client-config`")
