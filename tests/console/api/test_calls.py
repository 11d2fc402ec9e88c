"""A consent's life over HTTP: given, asked about, confirmed, withdrawn; the same request changes nothing twice."""

from __future__ import annotations

import json
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from consent.accesses import AccessKind, AccessQuery
from consent.clock import now_utc
from consent.home import Home
from consent.repeats import LEASE, Repeats
from consent.tokens import Role
from tests.consent.consent_samples import Clock
from tests.console.api.conftest import CUSTOMER, NO, YES, Client

PAIR = {"source": "spending", "purpose": "credit_scoring"}


def standing(api: TestClient, person: str, **asked: str) -> dict[str, Any]:
    answer = api.post("/state", json={"subject_id": person, **PAIR, **asked})
    assert answer.status_code == 200, answer.text
    (decision,) = answer.json()["decisions"]
    return decision  # type: ignore[no-any-return]


def test_a_consents_life(api: TestClient, home: Home, person: str) -> None:
    """Given, allowed, confirmed, withdrawn, denied; each with the ledger's own answer."""
    given = api.post("/consents", json={**YES, "subject_id": person})
    assert given.status_code == 201
    entry = home.ledger.entries([given.json()["entry"]])[0]
    assert (entry.event.kind, entry.event.grant.grant_id) == ("given", given.json()["grant_id"])  # type: ignore[union-attr]
    assert (entry.event.actor, entry.event.channel) == ("token:a-recorder", "api")
    assert standing(api, person)["allowed"] is True
    receipt = api.post("/receipts", json={"subject_id": person, **PAIR})
    assert receipt.headers["content-type"] == "application/ld+json"
    assert receipt.json()["@context"]["dpv"] == "https://w3id.org/dpv#"
    withdrawn = api.post("/withdrawals", json={"subject_id": person})
    assert (withdrawn.status_code, withdrawn.json()["recorded"]["event"]) == (200, "withdrawn")
    assert standing(api, person)["reason"] == "WITHDRAWN"
    before = home.ledger.entries([given.json()["entry"]])[0].recorded_at + timedelta(microseconds=1)
    assert standing(api, person, as_of=before.isoformat())["allowed"] is True


def test_a_refusal(api: TestClient, person: str) -> None:
    assert api.post("/consents", json={**NO, "subject_id": person}).status_code == 201
    assert standing(api, person, source="app_usage")["reason"] == "NO_GRANT"


def test_a_renewal_names_the_grant_it_replaces(api: TestClient, person: str) -> None:
    first = api.post("/consents", json={**YES, "subject_id": person}).json()
    renewal = {**YES, "subject_id": person, "replaces": first["grant_id"], "expires_at": "2031-01-01"}
    second = api.post("/consents", json=renewal)
    assert second.status_code == 201
    assert standing(api, person)["grant_id"] == second.json()["grant_id"]


def test_withdrawing_is_never_harder_than_giving(api: TestClient, person: str) -> None:
    """One field instead of nine, no other role, and no error where nothing is left."""
    page = api.get("/openapi.json").json()["components"]["schemas"]
    assert page["Withdrawal"]["required"] == ["subject_id"]
    assert set(page["Withdrawal"]["properties"]) < {*page["Yes"]["properties"], "purpose"}
    assert len(page["Yes"]["required"]) > len(page["Withdrawal"]["required"])
    api.post("/consents", json={**YES, "subject_id": person})
    answers = [api.post("/withdrawals", json={"subject_id": person}) for _ in range(3)]
    assert [a.status_code for a in answers] == [200, 200, 200]
    assert [a.json()["recorded"] is None for a in answers] == [False, True, True]


def test_withdrawing_one_purpose_leaves_the_other(api: TestClient, person: str) -> None:
    for purpose in ("credit_scoring", "model_training"):
        api.post("/consents", json={**YES, "subject_id": person, "purpose": purpose})
    api.post("/withdrawals", json={"subject_id": person, "purpose": "model_training"})
    assert standing(api, person, purpose="model_training")["reason"] == "WITHDRAWN"
    assert standing(api, person)["allowed"] is True


def test_somebody_who_was_erased_has_nothing_left_to_withdraw(
    api: TestClient, home: Home, person: str
) -> None:
    """It is no error; and giving again is a new beginning."""
    api.post("/consents", json={**YES, "subject_id": person})
    (key,) = home.directory.find([person])
    assert key is not None
    home.directory.erase(key, now_utc(), "e" * 32)
    answer = api.post("/withdrawals", json={"subject_id": person})
    assert (answer.status_code, answer.json()) == (200, {"recorded": None})
    assert api.post("/consents", json={**YES, "subject_id": person}).status_code == 201
    (again,) = home.directory.find([person])
    assert again not in (None, key)


def test_everything_that_is_asked_about_at_once(api: TestClient) -> None:
    """A person nobody knows has agreed to nothing, and is not made known by the question."""
    answer = api.post("/state", json={"subject_id": "C-NOBODY"}).json()
    assert len(answer["decisions"]) == 12
    assert {d["reason"] for d in answer["decisions"]} == {"NO_GRANT"}


def test_looks_are_written_down_and_acts_are_in_the_ledger(api: TestClient, home: Home, person: str) -> None:
    """In the caller's name, before anything is shown."""
    api.post("/consents", json={**YES, "subject_id": person})
    (key,) = home.directory.find([person])
    size = home.accesses.size()
    standing(api, person)
    api.post("/receipts", json={"subject_id": person, **PAIR})
    looks = home.accesses.entries(AccessQuery(subject_key=key))
    assert home.accesses.size() == size + 2
    assert [(look.kind, look.caller, look.about) for look in looks] == [
        (AccessKind.LOOKED, "token:a-recorder", {"api": "/receipts"}),
        (AccessKind.LOOKED, "token:a-recorder", {"api": "/state"}),
    ]


# ------------------------------------------------------------------------------------------- sent again


@pytest.mark.parametrize(
    "key", ['"8e03978e-40d5-43dd-bc93-6894a57f9324"', "plain-key", "a/b:c@d", '"with space"']
)
def test_sent_again_it_gets_the_same_answer(api: TestClient, home: Home, person: str, key: str) -> None:
    """Byte for byte, and the ledger does not grow."""
    body = {**YES, "subject_id": person}
    first = api.post("/consents", json=body, headers={"Idempotency-Key": key})
    size = home.ledger.size()
    again = api.post("/consents", json=dict(reversed(body.items())), headers={"Idempotency-Key": key})
    assert (again.status_code, again.content) == (first.status_code, first.content) == (201, first.content)
    assert home.ledger.size() == size


def test_a_key_is_of_one_request(api: TestClient, home: Home, person: str) -> None:
    """Other content, another call, one field more or less: refused; without a key it is a new request."""
    key = {"Idempotency-Key": f"k-{person[-12:]}"}
    body = {**YES, "subject_id": person}
    assert api.post("/consents", json=body, headers=key).status_code == 201
    size = home.ledger.size()
    for path, other in (
        ("/consents", {**body, "expires_at": "2027-07-01"}),
        ("/consents", {**body, "channel": "app"}),
        ("/consents", {**body, "subject_id": "C-OTHER"}),
        ("/withdrawals", {"subject_id": person}),
    ):
        answer = api.post(path, json=other, headers=key)
        assert (answer.status_code, answer.json()["code"]) == (422, "KEY_REUSED")
    assert home.ledger.size() == size
    assert api.post("/consents", json=body).status_code == 201
    assert home.ledger.size() == size + 1


def test_a_key_is_of_one_caller(clients: Client, home: Home, person: str) -> None:
    """Two programs that use the same key do not meet."""
    key = {"Idempotency-Key": f"k-{person[-12:]}"}
    one = clients("recorder").post("/consents", json={**YES, "subject_id": person}, headers=key)
    other = clients("officer").post("/consents", json={**YES, "subject_id": f"{person}-2"}, headers=key)
    assert (one.status_code, other.status_code) == (201, 201)
    assert one.json()["entry"] != other.json()["entry"]


def test_a_withdrawal_sent_again_does_not_withdraw_what_was_given_since(api: TestClient, person: str) -> None:
    """The answer of then, also where there was nothing to withdraw."""
    api.post("/consents", json={**YES, "subject_id": person})
    for name in ("first", "nothing-left"):
        key = {"Idempotency-Key": f"{name}-{person[-12:]}"}
        then = api.post("/withdrawals", json={"subject_id": person}, headers=key)
        api.post("/consents", json={**YES, "subject_id": person})
        if name == "nothing-left":
            assert then.json()["recorded"] is not None
        again = api.post("/withdrawals", json={"subject_id": person}, headers=key)
        assert again.content == then.content
        assert standing(api, person)["allowed"] is True


def test_what_was_refused_leaves_the_key_free(api: TestClient, person: str) -> None:
    """A mistake is mended and sent again under the same key."""
    key = {"Idempotency-Key": f"k-{person[-12:]}"}
    wrong = api.post("/consents", json={**YES, "subject_id": person, "source": "weather"}, headers=key)
    assert wrong.status_code == 422
    assert api.post("/consents", json={**YES, "subject_id": person}, headers=key).status_code == 201


def test_the_same_request_at_the_same_time_is_recorded_once(clients: Client, home: Home, person: str) -> None:
    """Of eight, one is carried out; the others get its answer, or are told that it is under way."""
    size, answers = home.ledger.size(), []

    def send() -> None:
        key = {"Idempotency-Key": f"k-{person[-12:]}"}
        answers.append(clients().post("/consents", json={**YES, "subject_id": person}, headers=key))

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert home.ledger.size() == size + 1
    assert {a.status_code for a in answers} <= {201, 409}
    assert len({a.content for a in answers if a.status_code == 201}) == 1
    assert {a.json()["code"] for a in answers if a.status_code == 409} <= {"UNDER_WAY"}


def test_a_server_that_was_killed_before_it_answered(tmp_path: Path, clock: Clock) -> None:
    """While it may be at work the same request waits; later the next one carries it out."""
    repeats = Repeats(tmp_path / "repeats.db", bytes(32), clock=clock)

    class KilledError(BaseException):
        pass

    done = []

    def killed() -> str:
        done.append("once")
        repeats._engine.dispose()
        raise KilledError

    from consent.errors import BadInput, Conflict

    repeats._run = lambda *_: None  # type: ignore[method-assign]  # a process that is gone notes nothing
    with pytest.raises(KilledError):
        repeats.once("app", "k", "content", killed)
    next_one = Repeats(tmp_path / "repeats.db", bytes(32), clock=clock)
    with pytest.raises(Conflict):
        next_one.once("app", "k", "content", lambda: "answer")
    with pytest.raises(BadInput):
        next_one.once("app", "k", "other", lambda: "answer")
    clock.now += LEASE
    assert next_one.once("app", "k", "content", lambda: "answer") == "answer"
    assert next_one.once("app", "k", "content", lambda: "another") == "answer"
    clock.now += timedelta(hours=24, microseconds=1)
    assert next_one.once("app", "k", "content", lambda: "much later") == "much later"


def test_a_request_that_was_recorded_but_not_answered_is_not_recorded_again(
    api: TestClient, home: Home, person: str
) -> None:
    """The ledger itself takes a request once: its key decides the entry's own."""
    key = {"Idempotency-Key": f"k-{person[-12:]}"}
    first = api.post("/consents", json={**YES, "subject_id": person}, headers=key)
    home.repeats._run("DELETE FROM request WHERE answer IS NOT NULL")
    size = home.ledger.size()
    again = api.post("/consents", json={**YES, "subject_id": person}, headers=key)
    assert again.json() == first.json()
    assert home.ledger.size() == size


# ------------------------------------------------------------------------------------------- who may


@pytest.mark.parametrize(
    ("path", "body", "may"),
    [
        ("/consents", YES, {"recorder", "officer"}),
        ("/withdrawals", {"subject_id": CUSTOMER}, {"recorder", "officer"}),
        ("/state", {"subject_id": CUSTOMER}, {"recorder", "officer"}),
        ("/receipts", {"subject_id": CUSTOMER, **PAIR}, {"recorder", "officer"}),
    ],
)
def test_who_may_do_what(clients: Client, home: Home, path: str, body: dict[str, Any], may: set[str]) -> None:
    """Nobody without a token; of the roles those of the table; who is refused is in the access log."""
    clients().post("/consents", json=YES)
    for role in Role:
        size = home.accesses.size()
        answer = clients(role.value).post(path, json=body)
        assert (answer.status_code < 300) == (role in may), role
        if role not in may:
            assert (answer.status_code, answer.json()["code"]) == (403, "ROLE")
            (refused,) = home.accesses.entries(AccessQuery(AccessKind.REFUSED), limit=1)
            assert (refused.caller, home.accesses.size()) == (f"token:a-{role.value}", size + 1)
    answer = clients(None).post(path, json=body)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")


def test_every_path_is_in_the_table(api: TestClient) -> None:
    from console.api.door import ALLOWED

    paths = api.get("/openapi.json").json()["paths"]
    assert set(paths) == set(ALLOWED)
    assert all(list(methods) == ["post"] for methods in paths.values())


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "Basic dXNlcjpwYXNz",
        "Bearer assent_" + "A" * 43,
        "Bearer ' OR 1=1 --",
        "Bearer " + "x" * 5_000,
        "bearer\tassent_",
    ],
)
def test_without_a_good_token_nothing_is_read(clients: Client, home: Home, header: str) -> None:
    size = home.ledger.size()
    answer = clients(None).post("/consents", json=YES, headers={"Authorization": header} if header else {})
    assert answer.status_code == 401
    assert home.ledger.size() == size


def test_a_revoked_token_is_refused_at_the_next_request(home: Home, clients: Client) -> None:
    secret = home.tokens.create("short-lived", Role.RECORDER, now_utc() + timedelta(days=1))
    client = clients(None)
    headers = {"Authorization": f"Bearer {secret}"}
    assert client.post("/state", json={"subject_id": "C-1"}, headers=headers).status_code == 200
    Home.open(home.root).tokens.revoke("short-lived")
    assert client.post("/state", json={"subject_id": "C-1"}, headers=headers).status_code == 401


# ------------------------------------------------------------------------------------------- what is told


def test_the_openapi_page_and_its_examples(api: TestClient, clients: Client, person: str) -> None:
    """To be had without a token; each example is a request that works."""
    page = clients(None).get("/openapi.json").json()
    assert page["openapi"].startswith("3.1")
    assert page["security"] == [{"token": []}]
    api.post("/consents", json={**YES, "subject_id": "C-1042"})
    for path, methods in page["paths"].items():
        post = methods["post"]
        for name, example in post["requestBody"]["content"]["application/json"]["examples"].items():
            answer = api.post(path, json=example["value"])
            assert answer.status_code in (200, 201), (path, name, answer.text)
        for status in ("400", "401", "403", "404", "409", "413", "415", "422", "503"):
            assert "application/problem+json" in post["responses"][status]["content"]


def test_no_customer_number_is_anywhere_but_in_the_request(
    api: TestClient, home: Home, person: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Not in an answer, a log, a header or any file of the home, whatever went wrong with it."""
    answers = [
        api.post("/consents", json={**YES, "subject_id": person}, headers={"Idempotency-Key": "k-canary"}),
        api.post("/consents", json={**YES, "subject_id": person, "source": person}),
        api.post("/consents", json={**YES, person: person}),
        api.post("/consents", json={**YES, "subject_id": [person]}),
        api.post("/consents", content=json.dumps(person).encode()),
        api.post("/state", json={"subject_id": person, "as_of": person}),
        api.post("/receipts", json={"subject_id": person, "grant_id": person}),
        api.post("/withdrawals", json={"subject_id": person, "purpose": person}),
        api.post("/withdrawals", json={"subject_id": person}),
    ]
    seen = capfd.readouterr()
    for text in (*(a.text + str(a.headers) for a in answers), seen.out, seen.err):
        assert CUSTOMER not in text
    for path in home.root.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert person.encode() not in content, path.name
            assert person.encode("unicode_escape") not in content, path.name
