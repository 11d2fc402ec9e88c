"""Who reaches which page: every route with every role, and everything that a browser or an attacker may send."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta

import pytest
from fastapi.routing import APIRoute

from consent.accesses import AccessKind, AccessQuery
from consent.home import Home
from consent.tokens import Role
from console.api.app import MOUNTED_AT
from console.web.roles import ALLOWED, PUBLIC
from tests.console.web.visitors import NUMBER, URL, Console, agree, console, csrf_of, find, send

#: A value for every parameter of a path.
_PATHS = {"handle": "x" * 22, "entry": "0", "name": "none", "lang": "en", "version": "v"}


@pytest.fixture
def opened(empty_home: Home) -> Console:
    agree(empty_home)
    return console(empty_home)


def routes(opened: Console) -> Iterator[tuple[str, str, str]]:
    """Name, method and path of every route there is."""
    stack = list(opened.app.routes)
    while stack:
        route = stack.pop()
        if isinstance(route, APIRoute):
            path = re.sub(r"\{(\w+)(?::\w+)?\}", lambda m: _PATHS[m[1]], route.path)
            for method in sorted(route.methods):
                yield route.name, method, path
        elif getattr(route, "path", "") != MOUNTED_AT:  # has a table and tests of its own: tests/console/api
            inner = getattr(route, "routes", None) or getattr(
                getattr(route, "original_router", None), "routes", None
            )
            assert inner, f"a route of another kind: {route!r}"
            stack.extend(inner)


def test_every_route_is_in_the_table_and_every_name_of_the_table_is_a_route(opened: Console) -> None:
    """Nothing is reachable that nobody has thought about, and the table holds nothing stale."""
    names = {name for name, _, _ in routes(opened)}
    assert len(names) > 30
    assert names == PUBLIC | set(ALLOWED)


def test_all_routes_with_all_roles(opened: Console) -> None:
    """Each role reaches what the table says and nothing else; without a sign-in only the ways in are there."""
    visitors = {role: opened.with_role(role) for role in Role}
    tokens = {role: csrf_of(client) for role, client in visitors.items()}
    walked = 0
    for name, method, path in routes(opened):
        if name in PUBLIC or name == "sign_out":
            continue
        nobody = opened.visitor().request(method, path, data={} if method == "POST" else None)
        assert (nobody.status_code, nobody.headers.get("location")) == (303, "/sign-in"), (name, method)
        for role, client in visitors.items():
            data = {"csrf": tokens[role]} if method == "POST" else None
            answer = client.request(method, path, data=data)
            is_refused = answer.status_code == 403 and "ROLE" in answer.text
            assert is_refused == (role not in ALLOWED[name]), (name, method, role, answer.status_code)
            assert answer.status_code < 500, (name, method, role)
            walked += 1
    assert walked > 120


def test_a_refusal_is_written_down(opened: Console) -> None:
    """Who tried to reach what their role does not reach is on record."""
    client = opened.with_role(Role.MODELER, "pia")
    assert client.get("/ledger").status_code == 403
    newest = opened.home.accesses.entries(AccessQuery(kind=AccessKind.REFUSED))[0]
    assert (newest.caller, newest.about["refused"]) == ("token:pia", "ledger")


def test_acts_of_every_kind_need_the_session_s_own_form(opened: Console) -> None:
    """A form without the token, with another session's, or from another site does nothing."""
    client, other = opened.officer(), opened.officer()
    path, theirs = find(client), csrf_of(other)
    own = csrf_of(client)
    for data, headers in (
        ({"other": "1"}, {}),
        ({"csrf": ""}, {}),
        ({"csrf": theirs}, {}),
        ({"csrf": own[:-1]}, {}),
        ({"csrf": "ß"}, {}),
        ({"csrf": own}, {"Origin": "https://evil.example"}),
        ({"csrf": own}, {"Origin": "null"}),
        ({"csrf": own}, {"Sec-Fetch-Site": "cross-site"}),
        ({"csrf": own}, {"Sec-Fetch-Site": "same-site"}),
    ):
        answer = client.post(f"{path}/withdraw", data=data, headers=headers)
        assert (answer.status_code, "FOREIGN_FORM" in answer.text) == (403, True), (data, headers)
    assert opened.home.ledger.size() == 1
    assert client.post(f"{path}/withdraw", data={"csrf": own}, headers={"Origin": URL}).status_code == 303
    assert opened.home.ledger.size() == 2


def test_acts_are_no_links(opened: Console) -> None:
    """Nothing happens by opening an address."""
    client = opened.officer()
    path = find(client)
    for act in ("withdraw", "export", "erase", "hold", "release/0"):
        assert client.get(f"{path}/{act}?csrf={csrf_of(client)}&number={NUMBER}").status_code == 200
    assert opened.home.ledger.size() == 1
    assert client.get("/sign-out").status_code == 405


def test_the_one_time_link(opened: Console) -> None:
    """It signs in once, within its time; a wrong one does not, and nobody learns why."""
    from console.web.app import shared_by

    link = shared_by(opened.app).links.make()
    assert opened.visitor().get(f"/sign-in/link?secret={link}").status_code == 200
    assert opened.visitor().post("/sign-in/link", data={"secret": link}).status_code == 303
    assert opened.visitor().post("/sign-in/link", data={"secret": link}).status_code == 403
    late = shared_by(opened.app).links.make()
    opened.clock.step(15 * 60)
    assert opened.visitor().post("/sign-in/link", data={"secret": late}).status_code == 403


def test_a_session_ends(opened: Console) -> None:
    """After half an hour without use, after ten hours in any case, by signing out, with its token."""
    idle, long, out, revoked = opened.officer(), opened.officer(), opened.officer(), None
    revoked = opened.with_role(Role.AUDITOR, "ada")
    opened.clock.step(29 * 60)
    for client in (idle, long, out, revoked):
        assert client.get("/").status_code == 200
    old = dict(out.cookies)
    assert send(out, "/sign-out").status_code == 303
    out.cookies.update(old)
    assert out.get("/").status_code == 303
    opened.home.tokens.revoke("ada")
    assert revoked.get("/").status_code == 303
    opened.clock.step(31 * 60)
    assert idle.get("/").status_code == 303
    client = opened.officer()
    for _ in range(20):
        opened.clock.step(29 * 60)
        assert client.get("/").status_code == 200
    opened.clock.step(29 * 60)
    assert client.get("/").status_code == 303


def test_a_cookie_that_is_none(opened: Console) -> None:
    """Guessed, cut, foreign and broken cookies are nobody."""
    for cookie in ("", "x" * 43, "assent", "é", '"', "a" * 4000, "=;=;=", "$Version=1"):
        client = opened.visitor()
        answer = client.get("/", headers={"Cookie": f"assent={cookie}".encode()})
        assert answer.status_code == 303


def test_cookies_and_headers(opened: Console) -> None:
    """Cookies are for us alone; every answer, errors too, says what the page may load and that nothing is kept."""
    client = opened.officer()
    shown = client.get("/sign-in/link")
    assert "script-src 'self'" in shown.headers["content-security-policy"]
    for path in ("/", "/person", "/nothing", "/static/x/y", "/sign-in"):
        answer = client.get(path)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-frame-options"] == "DENY"
        assert "<script>" not in answer.text
        assert not re.search(r'\s(style|on\w+)="', answer.text)
        assert not re.search(r'(src|href|action)="(https?:)?//', answer.text)


def test_over_tls_cookies_are_bound_to_the_host(empty_home: Home) -> None:
    """Secure, HttpOnly, SameSite, and with a name that no other host can set."""
    from fastapi.testclient import TestClient

    from console.web.app import create_app, shared_by

    app = create_app(empty_home, "https://consent.lender.example")
    client = TestClient(app, base_url="https://consent.lender.example", follow_redirects=False)
    answer = client.post("/sign-in/link", data={"secret": shared_by(app).links.make()})
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-assent=")
    assert all(word in cookie for word in ("HttpOnly", "Secure", "SameSite=lax", "Path=/"))
    assert "Domain" not in cookie
    assert answer.headers["strict-transport-security"]


def test_other_names_of_the_host_are_refused(opened: Console) -> None:
    """A name that somebody points at this machine gets nothing."""
    for host in ("evil.example", "127.0.0.1:1", "127.0.0.1:8740.evil.example", "", "localhost"):
        assert opened.visitor().get("/sign-in", headers={"Host": host}).status_code == 421
    assert opened.visitor().get("/sign-in", headers={"Host": "localhost:8740"}).status_code == 200


def test_too_often(opened: Console) -> None:
    """Tokens are not tried out, nor customer numbers; others are not held up by it."""
    client = opened.visitor()
    tried = [client.post("/sign-in", data={"token": "assent_" + "x" * 43}).status_code for _ in range(12)]
    assert tried[:10] == [403] * 10
    assert tried[-1] == 429


def test_customer_numbers_are_not_tried_out(opened: Console) -> None:
    """After a burst of look-ups an officer waits."""
    client = opened.officer()
    token = csrf_of(client)
    tried = [client.post("/person", data={"csrf": token, "number": f"C-{i}"}).status_code for i in range(22)]
    assert tried[:20] == [404] * 20
    assert tried[-1] == 429


@pytest.mark.parametrize(
    "hostile",
    [
        "' OR 1=1 --",
        "{{7777*7777}}",
        "${7777*7777}<%= 7777*7777 %>",
        "<script>alert(1)</script>",
        "../../../../etc/passwd",
        "a\r\nSet-Cookie: x=1",
        "a\x00b",
        "\u202egnp.exe",
        "x" * 201,
        "ｃ" * 150,
        "",
        "   ",
    ],
)
def test_hostile_customer_numbers(opened: Console, hostile: str) -> None:
    """They are nobody: 4xx, never shown again, nothing recorded."""
    client = opened.officer()
    answer = send(client, "/person", number=hostile)
    assert 400 <= answer.status_code < 500
    assert not hostile.strip() or hostile not in answer.text
    assert "60481729" not in answer.text.split("<main")[1]
    assert opened.home.ledger.size() == 1
    assert opened.home.directory.find([hostile]) == [None]


def test_hostile_queries_and_bodies(opened: Console) -> None:
    """Broken numbers, dates, names, encodings, types and sizes get 4xx or an empty page, never 500."""
    client = opened.officer()
    token = csrf_of(client)
    path = find(client)
    for address in (
        "/ledger?before=x",
        "/ledger?before=-1",
        "/ledger?before=99999999999999999999999999",
        "/ledger?since=yesterday",
        "/ledger?since=0001-01-01",
        "/ledger?since=9999-12-31T23:59",
        "/ledger?kind=%27;drop%20table%20event",
        "/ledger?entry=999999999999999999999",
        "/ledger?entry=-1",
        "/ledger?entry=%C2%B2",
        "/ledger/99/proof",
        "/ledger/-1/proof",
        "/ledger/9999999999999999999999/proof",
        f"{path}?at=2026-13-45",
        f"{path}?at=0001-01-01T00:00",
        f"{path}?before=-5",
        f"{path}/proof/77",
        f"{path}/proof/-1",
        "/runs/..%2f..%2fassent.toml",
        "/runs/%00",
        "/runs?before=%00",
        "/certificates/..%2f..%2fkeys",
        "/certificates?skip=-5",
        "/certificates?skip=99999999999999999999999",
        "/training?skip=-1",
        "/requests?after=x",
        "/requests?person=%27",
        "/accesses?kind=x&caller=%00",
        "/accesses?before=-1",
        "/static/../app.py",
        "/static/x/..%2fapp.py",
        "/person/" + "a" * 5000,
        "/%ff%fe",
        "/language/xx?back=https://evil.example",
        "/language/en?back=//evil.example",
        "/language/en?back=/%5Cevil.example",
    ):
        answer = client.get(address)
        assert answer.status_code < 500, (address, answer.status_code)
        assert "evil" not in answer.headers.get("location", "")
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    for body, headers in (
        (b"csrf=" + token.encode() + b"&number=%ff%fe", form),
        (b"csrf=" + token.encode() + b"&number=a&number=b", form),
        (b"csrf=" + token.encode() + b"&number=" + b"x" * 70_000, form),
        (b"&".join(b"f%d=1" % i for i in range(200)), form),
        (b"%" * 1000, form),
        (b'{"number": "C-1"}', {"Content-Type": "application/json"}),
        (
            b"--x\r\nContent-Disposition: form-data; name=number\r\n\r\nC-1\r\n--x--",
            {"Content-Type": "multipart/form-data; boundary=x"},
        ),
        (b"\x00\xff\x00", {"Content-Type": "text/plain"}),
        (b"", {}),
    ):
        answer = client.post("/person", content=body, headers=headers)
        assert 400 <= answer.status_code < 500, (body[:60], answer.status_code)
    assert opened.home.ledger.size() == 1


def test_a_body_of_unknown_length_is_cut_off(opened: Console) -> None:
    """Chunks are counted as they come."""
    client = opened.officer()
    answer = client.post(
        "/person",
        content=(b"x" * 1000 for _ in range(100)),
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    assert answer.status_code == 413


def test_nothing_is_shown_that_cannot_be_written_down(opened: Console) -> None:
    """Without its access log the console shows nobody, and does nothing."""
    client = opened.officer()
    path = find(client)
    token = csrf_of(client)
    log = opened.home.root / "access.db"
    opened.home.accesses.close()
    log.rename(log.with_suffix(".away"))
    try:
        opened.home.__dict__.pop("accesses")
        for answer in (
            client.get(path),
            client.get(f"{path}/matrix"),
            client.get(f"{path}/held"),
            client.post(f"{path}/withdraw", data={"csrf": token}),
            client.post("/person", data={"csrf": token, "number": NUMBER}),
            client.get("/ledger"),
        ):
            assert answer.status_code in (500, 503), answer.status_code
            assert opened.home.directory.find([NUMBER])[0] not in answer.text
        assert opened.home.ledger.size() == 1
    finally:
        opened.home.__dict__.pop("accesses", None)
        log.unlink(missing_ok=True)
        log.with_suffix(".away").rename(log)


def test_handles_belong_to_one_session(opened: Console) -> None:
    """The address of a person's page says nothing, and leads nobody else to them."""
    one, other = opened.officer(), opened.officer()
    path = find(one)
    assert one.get(path).status_code == 200
    assert other.get(path).status_code == 404
    assert find(one) == path
    assert find(other) != path


def test_a_number_to_confirm_has_to_be_this_person_s(opened: Console) -> None:
    """Erasing, exporting and holding somebody else than the person on the screen does not happen."""
    agree(opened.home, "C-OTHER")
    client = opened.officer()
    path = find(client)
    for act, more in (("erase", {}), ("export", {}), ("hold", {"name": "n", "basis": "b"})):
        for number in ("C-OTHER", "C-NOBODY", "c-0042"):
            answer = send(client, f"{path}/{act}", number=number, **more)
            assert (answer.status_code, "NOT_CONFIRMED" in answer.text) == (403, True)
    assert opened.home.ledger.size() == 2


def test_what_the_server_says_and_writes_names_nobody(
    opened: Console, capfd: pytest.CaptureFixture[str]
) -> None:
    """No customer number and no subject key in an address, in what the server prints, or in the home's new files."""
    client = opened.officer()
    path = find(client)
    key = opened.home.directory.find([NUMBER])[0]
    assert key
    client.get(path)
    send(client, "/explain", number=NUMBER, source="spending", purpose="credit_scoring")
    said = "".join(capfd.readouterr())
    assert NUMBER not in said
    assert key not in said
    assert key not in path
    for file in opened.home.root.rglob("*"):
        if file.is_file() and file.name != "ledger.db" and not file.name.startswith("ledger.db-"):
            assert NUMBER.encode() not in file.read_bytes(), file.name


def test_every_look_at_a_person_is_written_down(opened: Console) -> None:
    """Whatever page shows something of a person, the person's own access log has it."""
    client = opened.officer()
    path = find(client)
    key = opened.home.directory.find([NUMBER])[0]
    for part in ("", "/matrix", "/held", "/accesses", "/proof/0", "/record/0"):
        assert client.get(path + part).status_code == 200
    send(client, "/explain", number=NUMBER, source="spending", purpose="credit_scoring")
    send(client, f"{path}/withdraw")
    seen = opened.home.accesses.entries(AccessQuery(subject_key=key))
    pages = {each.about["page"] for each in seen}
    assert pages == {"look_up", "person", "decisions", "held", "accesses", "proof", "explain", "withdraw"}
    assert {each.caller.split(":")[0] for each in seen} == {"link"}


def test_sessions_are_not_kept_for_ever(opened: Console) -> None:
    """A session that ended long ago is not in memory any more."""
    from console.web.app import shared_by

    client = opened.officer()
    opened.clock.now += timedelta(days=2)
    assert client.get("/").status_code == 303
    assert not shared_by(opened.app).sessions._sessions


def test_somebody_erased_meanwhile_is_looked_up_anew(opened: Console) -> None:
    """Their page is gone with them, and no look makes a key for them again."""
    from feature_repo.stores import setup
    from rights.erase import Wanted, erase

    client = opened.officer()
    path = find(client)
    key = opened.home.directory.find([NUMBER])[0]
    assert key
    setup.apply(opened.home)
    erase(opened.home, [Wanted(key)])
    for part in ("", "/matrix", "/held", "/accesses", "/withdraw"):
        assert client.get(path + part).status_code == 404
    assert client.get("/ledger/0/record").status_code == 200
    assert not opened.home.data_keys.find("accesses", [key])
    answer = send(client, "/person", number=NUMBER)
    assert "was erased" in answer.text


def test_a_session_knows_the_last_fifty_people(opened: Console) -> None:
    """The one looked up longest ago is forgotten first; looking up again keeps the address."""
    from console.web.sessions import Session

    session = Session("link:a", Role.OFFICER, "a", opened.clock.now, opened.clock.now, lambda: True)
    handles = [session.remember(f"{n:032x}") for n in range(50)]
    assert session.remember(f"{0:032x}") == handles[0]
    session.remember("f" * 32)
    assert set(session.people) == {handles[0], *handles[2:], *list(session.people)[-1:]}
    assert len({*handles}) == 50
