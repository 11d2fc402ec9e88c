"""Signing in with OpenID Connect, against a real provider that listens on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2
import pytest
from fastapi.testclient import TestClient
from oidc_provider_mock import User, run_server_in_thread

from consent.accesses import AccessKind, AccessQuery
from consent.home import CONFIG_FILE, Home
from console.web.app import shared_by
from console.web.limits import Limit
from tests.console.web.visitors import Console, console

_USERS = (
    User(sub="u-officer", claims={"name": "Li 明", "groups": ["staff", "privacy-office"]}),
    User(sub="u-auditor", claims={"groups": "audit"}),
    User(sub="u-nobody", claims={"groups": ["staff"]}),
    User(sub="u-both", claims={"groups": ["privacy-office", "audit"]}),
    User(sub="u-none", claims={}),
)
_SETTINGS = """
[console.openid]
issuer = "{issuer}"
client_id = "assent"
client_secret_env = "ASSENT_TEST_OPENID_SECRET"
claim = "groups"
roles = {{ "privacy-office" = "officer", "audit" = "auditor" }}
"""


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    with run_server_in_thread(user_claims=_USERS, require_nonce=True) as server:
        yield f"http://localhost:{server.server_port}"


@pytest.fixture
def opened(empty_home: Home, issuer: str, monkeypatch: pytest.MonkeyPatch) -> Console:
    monkeypatch.setenv("ASSENT_TEST_OPENID_SECRET", "not a secret")
    return configured(empty_home, issuer)


def configured(home: Home, issuer: str) -> Console:
    path = home.root / CONFIG_FILE
    path.write_text(path.read_text() + _SETTINGS.format(issuer=issuer))
    return console(Home.open(home.root))


def set_out(client: TestClient) -> str:
    """The provider's address that the browser is sent to."""
    answer = client.get("/sign-in/openid")
    assert answer.status_code == 302, answer.text
    return str(answer.headers["location"])


def at_provider(address: str, **form: str) -> str:
    """What somebody does there; the path to come back to."""
    answer = httpx2.post(address, data=form)
    back = urlsplit(answer.headers["location"])
    return f"{back.path}?{back.query}"


def test_the_way_there_and_back(opened: Console) -> None:
    """With state, nonce and PKCE to the provider, and back as the person it names, with the role of their group."""
    client = opened.visitor()
    assert "Sign in with your organisation" in client.get("/sign-in").text
    asked = parse_qs(urlsplit(address := set_out(client)).query)
    assert {"state", "nonce", "code_challenge"} < set(asked)
    assert asked["code_challenge_method"] == ["S256"]
    assert asked["redirect_uri"] == ["http://127.0.0.1:8740/sign-in/openid/back"]
    answer = client.get(at_provider(address, sub="u-officer"))
    assert (answer.status_code, answer.headers.get("location")) == (303, "/"), answer.text
    shown = client.get("/").text
    assert "Li 明" in shown
    assert "Privacy officer" in shown
    signed_in = opened.home.accesses.entries(AccessQuery(kind=AccessKind.SIGNED_IN))[0]
    assert (signed_in.caller, signed_in.about["role"]) == ("openid:u-officer", "officer")


def test_a_claim_that_is_one_word(opened: Console) -> None:
    """Not every provider sends a list."""
    client = opened.visitor()
    assert client.get(at_provider(set_out(client), sub="u-auditor")).status_code == 303
    assert client.get("/ledger").status_code == 200
    assert client.get("/person").status_code == 403


@pytest.mark.parametrize("sub", ["u-nobody", "u-both", "u-none", "u-unheard-of"])
def test_who_has_no_one_role_stays_out(opened: Console, sub: str) -> None:
    """No role, or two, is none."""
    client = opened.visitor()
    answer = client.get(at_provider(set_out(client), sub=sub))
    assert answer.status_code == 403
    assert client.get("/").status_code == 303


def test_what_does_not_come_from_this_browser_or_the_provider(opened: Console) -> None:
    """Replayed, taken over, altered, denied: nobody is signed in, and the answer is no error of ours."""
    shared_by(opened.app).sign_ins = Limit(100, 100)
    client, other = opened.visitor(), opened.visitor()
    back = at_provider(set_out(client), sub="u-officer")
    assert other.get(back).status_code == 403  # another browser
    altered = parse_qs(urlsplit(back).query) | {"state": ["x" * 30]}
    assert client.get(f"/sign-in/openid/back?{urlencode(altered, doseq=True)}").status_code == 403
    assert client.get(back).status_code == 403  # what it set out with is used up
    wrong_code = parse_qs(urlsplit(at_provider(set_out(client), sub="u-officer")).query) | {"code": ["x"]}
    assert client.get(f"/sign-in/openid/back?{urlencode(wrong_code, doseq=True)}").status_code == 403
    back = at_provider(set_out(client), sub="u-officer")
    assert client.get(back).status_code == 303
    assert client.get(back).status_code in (303, 403)
    fresh = opened.visitor()
    set_out(fresh)
    for query in ("", "?error=access_denied", "?code=1", "?state=1", "?code=&state=", "?code=%00&state=%ff"):
        assert fresh.get(f"/sign-in/openid/back{query}").status_code == 403
    assert fresh.get("/").status_code == 303


def test_a_provider_that_is_not_there(empty_home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is said so; and without its secret it is not even asked."""
    away = configured(empty_home, "http://localhost:9")
    assert away.visitor().get("/sign-in/openid").status_code == 409
    monkeypatch.setenv("ASSENT_TEST_OPENID_SECRET", "x")
    answer = away.visitor().get("/sign-in/openid")
    assert answer.status_code == 503
    assert "does not answer" in answer.text


def test_no_provider_is_no_way_in(empty_home: Home) -> None:
    """Where none is configured there is no button, and the address leads nowhere."""
    opened = console(empty_home)
    assert "organisation" not in opened.visitor().get("/sign-in").text
    assert opened.visitor().get("/sign-in/openid").status_code == 409
    assert opened.visitor().get("/sign-in/openid/back?code=1&state=2").status_code == 409
