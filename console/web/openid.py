"""Signing in with OpenID Connect, through Authlib: code flow with PKCE, state, nonce and a verified ID token."""

from __future__ import annotations

import os
import secrets
import threading
from collections import OrderedDict
from typing import Any

from fastapi import APIRouter, Depends
from fastapi.responses import Response

from consent.console_settings import OpenId
from consent.errors import ConfigError, Denied, Gap, Unavailable
from consent.tokens import Role
from console.web.access import require_access, too_often
from console.web.desk import AtDesk, Desk
from console.web.sign_in import address_of, admit

router = APIRouter(dependencies=[Depends(require_access)])

#: Holds, for the time of the way to the provider and back, the browser to what it set out with.
_COOKIE = "assent_openid"
_BACK = "/sign-in/openid/back"
_MINUTES = 10


class Provider:
    """The OpenID Connect provider of a home.

    Raises:
        ConfigError: the environment lacks the client's secret.
    """

    def __init__(self, settings: OpenId) -> None:
        from authlib.integrations.starlette_client import OAuth  # takes a moment to load

        secret = os.environ.get(settings.client_secret_env)
        if not secret:
            raise ConfigError(
                "the environment lacks the client's secret of openid",
                remedy=f"Export {settings.client_secret_env}.",
            )
        self._settings = settings
        self._client = OAuth().register(
            "provider",
            client_id=settings.client_id,
            client_secret=secret,
            server_metadata_url=settings.issuer.rstrip("/") + "/.well-known/openid-configuration",
            client_kwargs={"scope": "openid profile email", "code_challenge_method": "S256"},
        )
        self._lock = threading.Lock()
        self._begun: OrderedDict[str, dict[str, Any]] = OrderedDict()

    async def set_out(self, desk: Desk) -> Response:
        """Send the browser to the provider."""
        name = secrets.token_urlsafe(32)
        with self._lock:
            self._begun[name] = {}
            while len(self._begun) > 1_000:
                self._begun.popitem(last=False)
        desk.request.scope["session"] = self._begun[name]
        answer: Response = await self._client.authorize_redirect(desk.request, desk.shared.base_url + _BACK)
        answer.set_cookie(
            _COOKIE,
            name,
            max_age=_MINUTES * 60,
            secure=desk.shared.is_https,
            httponly=True,
            samesite="lax",
            path=_BACK,
        )
        return answer

    async def come_back(self, desk: Desk) -> tuple[str, str, Role]:
        """Who comes back from the provider: the identifier there, a name to show, and the role.

        Raises:
            Denied: the provider does not vouch for this browser, or gives it no role.
        """
        with self._lock:
            begun = self._begun.pop(desk.request.state.cookies.get(_COOKIE, ""), None)
        if not begun:
            raise _refused()
        desk.request.scope["session"] = begun
        said = (await self._client.authorize_access_token(desk.request)).get("userinfo") or {}
        subject = said.get("sub")
        if not isinstance(subject, str) or not subject.isprintable() or not 1 <= len(subject) <= 150:
            raise _refused()
        return (
            subject,
            str(said.get("name") or said.get("preferred_username") or subject)[:60],
            self._role(said),
        )

    def _role(self, said: Any) -> Role:
        values = said.get(self._settings.claim)
        listed = values if isinstance(values, list) else [values]
        found = [role for value, role in self._settings.roles.items() if value in listed]
        if len(set(found)) != 1:
            raise Denied(
                "the provider gives you no role here, or more than one",
                remedy="Ask whoever keeps the groups of your sign-in service.",
                code="SIGN_IN",
            )
        return found[0]


@router.get("/sign-in/openid", name="openid")
async def set_out(desk: AtDesk) -> Response:
    """Set out to the provider."""
    _require_pace(desk)
    provider = _provider(desk)
    with _told():
        return await provider.set_out(desk)


@router.get(_BACK, name="openid_back")
async def come_back(desk: AtDesk) -> Response:
    """Come back from it."""
    _require_pace(desk)
    provider = _provider(desk)
    with _told():
        subject, name, role = await provider.come_back(desk)
    answer = admit(desk, f"openid:{subject}", role, name)
    answer.delete_cookie(_COOKIE, path=_BACK, secure=desk.shared.is_https, httponly=True)
    return answer


class _told:  # noqa: N801 - reads as a word where it is used
    """Turns what goes wrong between us and the provider into errors of ours; their texts may quote a token."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if error is None:
            return
        from authlib.common.errors import AuthlibBaseError
        from httpx2 import HTTPError
        from joserfc.errors import JoseError

        if isinstance(error, HTTPError):
            raise Unavailable(
                "the sign-in service does not answer", remedy="Try again, or use a token."
            ) from None
        if isinstance(error, AuthlibBaseError | JoseError | ValueError | KeyError | TypeError):
            raise _refused() from None


def _provider(desk: Desk) -> Provider:
    settings = desk.home.settings.console.openid
    if settings is None:
        raise Gap("no sign-in service is configured", remedy="See [console.openid] in docs/console.md.")
    if not hasattr(desk.request.app.state, "provider"):
        desk.request.app.state.provider = Provider(settings)
    found: Provider = desk.request.app.state.provider
    return found


def _require_pace(desk: Desk) -> None:
    if not desk.shared.sign_ins.allows(address_of(desk.request)):
        raise too_often()


def _refused() -> Denied:
    return Denied(
        "the sign-in service does not vouch for you",
        remedy="Begin again from the sign-in page.",
        code="SIGN_IN",
    )
