"""``assent serve``: the officer's console."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from consent.errors import AssentError, ConfigError, Conflict
from consent.home import Home
from console.options import DEFAULT_HOME, HomeOption, JsonOption, open_home
from console.show import say, say_json

if TYPE_CHECKING:
    from console.web.figures import Figures


def serve(
    host: Annotated[str, typer.Option("--host", help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65_535, help="Port to listen at.")] = 8740,
    tls_cert: Annotated[
        Path | None, typer.Option("--tls-cert", help="Certificate chain in PEM, for https.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option("--tls-key", help="Its private key in PEM.")] = None,
    home: HomeOption = DEFAULT_HOME,
    json: JsonOption = False,
) -> None:
    """Serve the privacy officer's console to browsers, and print a link that signs in once.

    No request leaves this machine. Others sign in with a token of `assent token create` or with the OpenID Connect
    provider that [console.openid] of assent.toml names. Beyond this machine it takes TLS: the two options, or a proxy
    that [console] public_url names.

    Examples:
      assent serve
      assent serve --host 0.0.0.0 --port 443 --tls-cert console.pem --tls-key console.key
    """
    opened = open_home(home)
    tls = _require_tls(tls_cert, tls_key)
    base_url = _base_url(opened, host, port, is_https=tls)
    _require_free(host, port)
    tls_files = tls_cert, tls_key
    _run(opened, base_url, (host, port), tls_files, json=json)


def _run(
    home: Home, base_url: str, at: tuple[str, int], tls: tuple[Path | None, Path | None], *, json: bool
) -> None:
    import uvicorn

    from console.web.app import create_app, shared_by

    app = create_app(home, base_url)
    shared = shared_by(app)
    link = shared.links.make()
    threading.Thread(target=_warm, args=(shared.figures,), name="assent-warm").start()
    sign_in = f"{base_url}/sign-in/link?secret={link}"
    if json:
        say_json({"address": f"{base_url}/", "sign_in": sign_in})
    else:
        say(f"Assent is at {base_url}/")
        say(f"Sign in once, within 15 minutes: {sign_in}")
        say("Ctrl-C ends it.")
    uvicorn.run(
        app,
        host=at[0],
        port=at[1],
        ssl_certfile=tls[0],
        ssl_keyfile=tls[1],
        access_log=False,
        log_level="error",
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=5,
    )


def _warm(figures: Figures) -> None:
    """Count and load beforehand what takes seconds; what fails here is told by the page that needs it."""
    with contextlib.suppress(AssentError, ImportError):
        figures.newest()
        import rights.export
        import rights.inventory  # noqa: F401 - both load Feast


def _require_tls(cert: Path | None, key: Path | None) -> bool:
    if (cert is None) != (key is None):
        raise ConfigError("TLS takes a certificate and a key", remedy="Name both --tls-cert and --tls-key.")
    for path in (cert, key):
        if path is not None and not path.is_file():
            raise ConfigError("a file of TLS is not there", remedy="Check --tls-cert and --tls-key.")
    return cert is not None


def _base_url(home: Home, host: str, port: int, *, is_https: bool) -> str:
    """What browsers call the console by.

    Raises:
        ConfigError: it would go over the network in clear.
    """
    public = home.settings.console.public_url
    if public is not None:
        return public
    if not is_https and not _is_local(host):
        raise ConfigError(
            "beyond this machine the console needs TLS",
            remedy="Name --tls-cert and --tls-key, or a proxy's https address as public_url of [console].",
        )
    scheme, usual = ("https", 443) if is_https else ("http", 80)
    shown = socket.getfqdn() if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host  # noqa: S104
    return f"{scheme}://{shown}" + (f":{port}" if port != usual else "")


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _require_free(host: str, port: int) -> None:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError:
        raise Conflict(
            "this address and port cannot be listened at", remedy="Name others with --host and --port."
        ) from None
