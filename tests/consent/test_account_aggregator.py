"""Account Aggregator artefacts: what becomes a statement, and everything that does not."""

from __future__ import annotations

import base64
import calendar
import hashlib
import json
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import hashes, hmac, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from jwt.algorithms import RSAAlgorithm

from consent.catalog import SOURCES
from consent.errors import BadInput, ConfigError
from consent.exchange.account_aggregator import (
    MAX_ARTEFACT_BYTES,
    NOT_ENFORCED,
    SOURCES_OF,
    fewest_days,
    read_artefacts,
)
from consent.exchange.jws import PublicKeys, parse_public_keys, read_public_keys
from consent.exchange.statements import FIELDS, parse_record

KEY, OTHER_KEY = (rsa.generate_private_key(65537, 2048) for _ in range(2))
SECRET = "customer-CANARY-13800138000@aa"
NOW = datetime(2026, 11, 23, 8, tzinfo=UTC)
Artefact = dict[str, Any]


def pem(key: rsa.RSAPrivateKey = KEY) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def jwk(key: rsa.RSAPrivateKey = KEY, **more: Any) -> dict[str, Any]:
    return RSAAlgorithm.to_jwk(key.public_key(), as_dict=True) | more


KEYS = parse_public_keys(pem())


def detail(**more: Any) -> Artefact:
    """SignedConsentDetail, all fields of the public schema."""
    return {
        "consentStart": "2026-05-28T11:38:20.380+0000",
        "consentExpiry": "2027-05-28T11:38:20.381Z",
        "consentMode": "STORE",
        "fetchType": "PERIODIC",
        "consentTypes": ["PROFILE", "SUMMARY", "TRANSACTIONS"],
        "fiTypes": ["DEPOSIT", "TERM_DEPOSIT"],
        "DataConsumer": {"id": "lender-fiu", "type": "FIU"},
        "DataProvider": {"id": "some-aa", "type": "AA"},
        "Customer": {"id": SECRET},
        "Accounts": [
            {
                "fiType": "DEPOSIT",
                "fipId": "BANK1",
                "accType": "SAVINGS",
                "linkRefNumber": "L-1",
                "maskedAccNumber": "XXXX4020",
            }
        ],
        "Purpose": {
            "code": "104",
            "refUri": "https://api.rebit.org.in/aa/purpose/104.xml",
            "text": "Explicit consent for monitoring of the accounts",
            "Category": {"type": "purposeCategoryType"},
        },
        "FIDataRange": {"from": "2025-05-28T00:00:00+05:30", "to": "2027-05-28T00:00:00+05:30"},
        "DataLife": {"unit": "MONTH", "value": 1},
        "Frequency": {"unit": "MONTH", "value": 5},
    } | more


def without(name: str, document: Artefact | None = None) -> Artefact:
    """The detail with the member at a dotted path left out."""
    document = json.loads(json.dumps(document or detail()))
    *parents, last = name.split(".")
    place = document
    for parent in parents:
        place = place[parent]
    del place[last]
    return document


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def sign(payload: Any, key: rsa.RSAPrivateKey = KEY, **header: Any) -> str:
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return jwt.PyJWS().encode(data, key, "RS256", headers=header)


def by_hand(header: Any, payload: bytes, signer: Callable[[bytes], bytes], *, decoded: bool = False) -> str:
    """A compact JWS that no library would make."""
    head = b64(json.dumps(header).encode())
    signed = f"{head}.".encode() + (payload if decoded else b64(payload).encode())
    return f"{head}.{b64(payload)}.{b64(signer(signed))}"


def rs256(data: bytes) -> bytes:
    return KEY.sign(data, padding.PKCS1v15(), hashes.SHA256())


def hs256(secret: bytes) -> Callable[[bytes], bytes]:
    def _sign(data: bytes) -> bytes:
        mac = hmac.HMAC(secret, hashes.SHA256())
        mac.update(data)
        return mac.finalize()

    return _sign


def artefact(signed: str | None = None, **more: Any) -> Artefact:
    """ConsentArtefact, all fields of the public schema."""
    return {
        "ver": "2.1.0",
        "txnid": "0b811819-9044-4856-b0ee-8c88035f8858",
        "consentId": "654024c8-29c8-11e8-8868-0289437bf331",
        "status": "ACTIVE",
        "createTimestamp": "2026-05-28T11:40:00.000Z",
        "signedConsent": sign(detail()) if signed is None else signed,
        "ConsentUse": {"logUri": "mailto:log@aa", "count": 1, "lastUseDateTime": "2026-06-01T00:00:00Z"},
    } | more


def of(**terms: Any) -> Artefact:
    return artefact(sign(detail(**terms)))


Outcome = list[dict[str, str]] | BadInput


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Any]:
    """What becomes of one artefact: the statements, or the error."""

    def _read(one: Artefact | bytes, keys: PublicKeys = KEYS, **more: Any) -> Outcome:
        path = tmp_path / "artefact.json"
        path.write_bytes(one if isinstance(one, bytes) else json.dumps(one).encode())
        ((position, outcome),) = read_artefacts(path, keys, now=NOW, **more)
        assert position == 1
        return outcome

    return _read


def events(outcome: Outcome) -> list[str]:
    assert isinstance(outcome, list), outcome
    return [statement["event"] for statement in outcome]


class TestMapping:
    def test_every_field_has_its_place(self, read: Callable[..., Any]) -> None:
        """The whole grant, field by field, from an artefact with every field of the schema."""
        signed = sign(detail())
        (given,) = read(artefact(signed))
        assert given == {
            "event": "given",
            "subject_id": SECRET,
            "source": "spending",
            "purpose": "loan_servicing",
            "effective_at": "2026-05-28T11:40:00Z",
            "expires_at": "2027-05-28T11:38:20.381000Z",
            "data_from": "2025-05-27T18:30:00Z",
            "data_until": "2027-05-27T18:30:00Z",
            "data_life_days": "28",
            "notice_id": "rebit-aa/104",
            "notice_version": "2.1.0",
            "notice_language": "en",
            "notice_hash": hashlib.sha256(b"Explicit consent for monitoring of the accounts").hexdigest(),
            "jurisdiction": "IN",
            "method": "Account Aggregator consent artefact",
            "channel": "some-aa",
            "grant_id": "654024c8-29c8-11e8-8868-0289437bf331/spending",
            "evidence_hash": hashlib.sha256(signed.encode()).hexdigest(),
            "event_id": f"rebit-aa/{hashlib.sha256(PAYLOAD).hexdigest()}/spending/given",
        }

    @pytest.mark.parametrize("status", ["ACTIVE", "PAUSED", "REVOKED", "EXPIRED"])
    def test_what_is_read_is_what_statements_take(self, read: Callable[..., Any], status: str) -> None:
        """Every statement has known fields only, and `parse_record` reads it."""
        for statement in read(artefact(status=status)):
            assert set(statement) <= set(FIELDS)
            record = parse_record(statement, now=NOW)
            assert (record.kind, record.source) == (statement["event"], "spending")
            assert record.timed == (record.grant is not None)

    @pytest.mark.parametrize(
        ("code", "purpose"),
        [("103", "credit_scoring"), ("104", "loan_servicing"), ("105", "credit_scoring")],
    )
    def test_purposes(self, read: Callable[..., Any], code: str, purpose: str) -> None:
        """Underwriting scores, monitoring services, the one-time look scores."""
        (given,) = read(of(Purpose={"code": code, "text": "t"}))
        assert (given["purpose"], given["notice_id"]) == (purpose, f"rebit-aa/{code}")

    def test_nobody_agreed_before_the_artefact_was_made(self, read: Callable[..., Any]) -> None:
        """The request's consentStart is often before the customer's yes; a post-dated start stays."""
        (early,) = read(of(consentStart="2026-01-01T00:00:00Z"))
        (late,) = read(of(consentStart="2026-12-01T00:00:00+05:30"))
        assert early["effective_at"] == "2026-05-28T11:40:00Z"
        assert late["effective_at"] == "2026-11-30T18:30:00Z"

    @pytest.mark.parametrize(
        ("status", "expected"),
        [
            ("ACTIVE", ["given"]),
            ("PAUSED", ["given", "paused"]),
            ("REVOKED", ["given", "withdrawn"]),
        ],
    )
    def test_statuses(self, read: Callable[..., Any], status: str, expected: list[str]) -> None:
        """What ends or pauses a consent carries no time: the artefact has none."""
        outcome = read(artefact(status=status))
        assert events(outcome) == expected
        assert all("effective_at" not in statement for statement in outcome[1:])

    def test_a_pause_counts_again_in_the_next_file_and_a_withdrawal_does_not(
        self, read: Callable[..., Any]
    ) -> None:
        """A consent may be paused twice but withdrawn once: only the withdrawal has an id of its own."""
        _, paused = read(artefact(status="PAUSED"))
        _, withdrawn = read(artefact(status="REVOKED"))
        assert "event_id" not in paused
        assert withdrawn["event_id"].endswith("/withdrawn")

    def test_expired(self, read: Callable[..., Any]) -> None:
        """After its expiry the clock does the rest; EXPIRED before it is an end that the AA set."""
        assert events(
            read(
                artefact(sign(detail(consentExpiry="2026-06-28T00:00:00Z")), status="EXPIRED"),
            )
        ) == ["given"]
        early = read(artefact(status="EXPIRED"))
        assert events(early) == ["given", "revoked"]
        assert early[1]["indicated_by"] == "controller"
        assert early[1]["basis"]

    def test_only_a_deposit_account_that_is_listed_opens_spending(self, read: Callable[..., Any]) -> None:
        """Types no source covers are counted, never imported; a foreign type is not repeated."""
        notes: Counter[str] = Counter()
        outcome = read(of(fiTypes=["DEPOSIT", "EQUITIES", "x-CANARY"]), notes=notes)
        assert [s["source"] for s in outcome] == ["spending"]
        assert notes["not imported: fiType EQUITIES, no source covers it"] == 1
        assert not any("CANARY" in note for note in notes)
        assert set(SOURCES_OF.values()) <= set(SOURCES)

    def test_what_is_not_enforced_is_said(self, read: Callable[..., Any]) -> None:
        """Frequency, fetch type and the choice of accounts bind the lender, and nothing here checks them."""
        notes: Counter[str] = Counter()
        read(artefact(), notes=notes)
        assert set(NOT_ENFORCED) <= set(notes)
        read(artefact(status="NONE"), notes=(rejected := Counter()))
        assert not rejected

    def test_the_channel_is_the_aa_or_nothing(self, read: Callable[..., Any]) -> None:
        """A bank as data provider is no channel."""
        (given,) = read(of(DataProvider={"id": "BANK1", "type": "FIP"}))
        assert "channel" not in given

    def test_an_empty_data_filter_filters_nothing(self, read: Callable[..., Any]) -> None:
        """Only a filter with a rule in it is a limit."""
        assert events(read(of(DataFilter=[]))) == ["given"]


class TestDataLife:
    @pytest.mark.parametrize(
        ("unit", "value", "days"),
        [("DAY", 31, 31), ("MONTH", 1, 28), ("MONTH", 14, 365 + 59), ("YEAR", 1, 365), ("YEAR", 4, 1460)],
    )
    def test_the_fewest_days(self, read: Callable[..., Any], unit: str, value: int, days: int) -> None:
        """A calendar month may have 28 days, so one month is 28 days."""
        (given,) = read(of(DataLife={"unit": unit, "value": value}))
        assert given["data_life_days"] == str(days)

    def test_infinite_life_ends_with_the_grant(self, read: Callable[..., Any]) -> None:
        """INF leaves data_life_days out; the grant still ends."""
        (given,) = read(of(DataLife={"unit": "INF", "value": 0}))
        assert "data_life_days" not in given

    def test_never_more_than_any_calendar_allows(self) -> None:
        """Against every start day of eight years: no span of so many months is shorter, and some is as short."""
        starts = [date(2096, 1, 1) + timedelta(days=n) for n in range(8 * 365)]
        for months in range(1, 30):
            spans = [(_later(start, months) - start).days for start in starts]
            assert fewest_days("MONTH", months) == min(spans)


def _later(start: date, months: int) -> date:
    year, month = divmod(start.year * 12 + start.month - 1 + months, 12)
    return date(year, month + 1, min(start.day, calendar.monthrange(year, month + 1)[1]))


class TestSignature:
    def test_b64_false_with_a_payload_all_the_same(self, read: Callable[..., Any]) -> None:
        """The schema's own example has this header; either reading of it is the AA's signature."""
        header = {"alg": "RS256", "b64": False, "crit": ["b64"]}
        payload = json.dumps(detail()).encode()
        for decoded in (False, True):
            assert events(read(artefact(by_hand(header, payload, rs256, decoded=decoded)))) == ["given"]

    @pytest.mark.parametrize("form", ["jwk", "set", "pem"])
    def test_keys_as_a_jwk_a_set_or_pem(self, read: Callable[..., Any], tmp_path: Path, form: str) -> None:
        """A key set may hold keys of several AAs; the one with the artefact's kid counts."""
        texts = {
            "jwk": json.dumps(jwk(kid="k1", alg="RS256", use="sig")).encode(),
            "set": json.dumps({"keys": [jwk(OTHER_KEY, kid="k0"), jwk(kid="k1")]}).encode(),
            "pem": pem(),
        }
        path = tmp_path / "keys"
        path.write_bytes(texts[form])
        keys = read_public_keys(path)
        assert events(read(artefact(sign(detail(), kid="k1")), keys)) == ["given"]
        if form != "pem":
            assert read(artefact(sign(detail(), kid="k2")), keys).code == "UNKNOWN_KEY"
            assert events(read(artefact(), keys)) == ["given"]

    def test_a_named_key_does_not_vouch_for_another_name(self, read: Callable[..., Any]) -> None:
        """The kid picks the key: signed by k1 under the name k0 is no signature."""
        keys = parse_public_keys(json.dumps({"keys": [jwk(OTHER_KEY, kid="k0"), jwk(kid="k1")]}).encode())
        assert read(artefact(sign(detail(), kid="k0")), keys).code == "BAD_SIGNATURE"

    @pytest.mark.parametrize(
        ("name", "data"),
        [
            ("empty", b""),
            ("text", b"key"),
            ("a list", b"[]"),
            ("an empty set", b'{"keys": []}'),
            ("a secret", json.dumps({"kty": "oct", "k": b64(b"x" * 32)}).encode()),
            ("for encryption", json.dumps(jwk(use="enc")).encode()),
            ("another algorithm", json.dumps(jwk(alg="HS256")).encode()),
            ("an odd kid", json.dumps(jwk(kid=1)).encode()),
            ("no modulus", json.dumps({"kty": "RSA", "e": "AQAB"}).encode()),
            ("twice", b'{"kty": "RSA", "kty": "oct"}'),
            ("a short key", pem(rsa.generate_private_key(65537, 1024))),
            ("broken PEM", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"),
            ("too long", b" " * (1 << 21)),
            (
                "a private key",
                KEY.private_bytes(
                    serialization.Encoding.PEM,
                    serialization.PrivateFormat.PKCS8,
                    serialization.NoEncryption(),
                ),
            ),
            (
                "a private key behind a public one",
                pem()
                + KEY.private_bytes(
                    serialization.Encoding.PEM,
                    serialization.PrivateFormat.PKCS8,
                    serialization.NoEncryption(),
                ),
            ),
            ("a private JWK", json.dumps(RSAAlgorithm.to_jwk(KEY, as_dict=True)).encode()),
            (
                "an EC key",
                ec.generate_private_key(ec.SECP256R1())
                .public_key()
                .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
            ),
        ],
    )
    def test_other_key_files(self, name: str, data: bytes) -> None:
        """Only public RSA keys of 2048 bits or more, for signing; the remedy says so."""
        with pytest.raises(ConfigError) as refused:
            parse_public_keys(data)
        assert "public RSA key" in refused.value.remedy
        assert ("private key" in refused.value.message) == ("private" in name)

    def test_a_missing_key_file(self, tmp_path: Path) -> None:
        """Says so, without a traceback."""
        with pytest.raises(ConfigError):
            read_public_keys(tmp_path / "none")


def tampered() -> str:
    header, _, signature = sign(detail()).split(".")
    longer = json.dumps(detail(consentExpiry="2099-01-01T00:00:00Z")).encode()
    return ".".join((header, b64(longer), signature))


PAYLOAD = json.dumps(detail()).encode()
TWICE = PAYLOAD[:-1] + b', "consentMode": "VIEW"}'
BAD: dict[str, tuple[Artefact | bytes, str]] = {
    # not an artefact
    "empty": (b"", "BAD_ARTEFACT"),
    "text": (b"consent", "BAD_ARTEFACT"),
    "binary": (b"\xff\xfe\x00", "BAD_ARTEFACT"),
    "a list": (b"[]", "BAD_ARTEFACT"),
    "null": (b"null", "BAD_ARTEFACT"),
    "NaN": (b'{"ver": NaN}', "BAD_ARTEFACT"),
    "nested deep": (b'{"a":' * 100_000, "BAD_ARTEFACT"),
    "a huge number": (b'{"ver": ' + b"9" * 10_000 + b"}", "BAD_ARTEFACT"),
    "huge": (b'{"ver": "' + b"x" * MAX_ARTEFACT_BYTES + b'"}', "BAD_ARTEFACT"),
    "a member twice": (b'{"ver": "2.1.0", "ver": "2.1.0"}', "BAD_ARTEFACT"),
    # not signed by the AA
    "no signed consent": (without("signedConsent", artefact()), "MISSING_FIELD"),
    "no JWS": (artefact("consent"), "NOT_SIGNED"),
    "a JWS in JSON": (artefact(json.dumps({"payload": "", "signatures": []})), "NOT_SIGNED"),
    "a detached JWS": (artefact(sign(detail()).split(".")[0] + ".." + "AAAA"), "NOT_SIGNED"),
    "no signature": (artefact(sign(detail()).rpartition(".")[0] + "."), "NOT_SIGNED"),
    "a newline at the end": (artefact(sign(detail()) + "\n"), "NOT_SIGNED"),
    "an odd header": (artefact("AAAA.AAAA.AAAA"), "NOT_SIGNED"),
    "an odd kid": (artefact(by_hand({"alg": "RS256", "kid": 1}, PAYLOAD, rs256)), "NOT_SIGNED"),
    "alg none": (artefact(by_hand({"alg": "none"}, PAYLOAD, lambda _: b"x")), "ALGORITHM"),
    "alg missing": (artefact(by_hand({}, PAYLOAD, rs256)), "ALGORITHM"),
    "HS256, the public key as secret": (
        artefact(by_hand({"alg": "HS256"}, PAYLOAD, hs256(pem()))),
        "ALGORITHM",
    ),
    "RS256 in name, HS256 in fact": (
        artefact(by_hand({"alg": "RS256"}, PAYLOAD, hs256(pem()))),
        "BAD_SIGNATURE",
    ),
    "alg in small letters": (artefact(by_hand({"alg": "rs256"}, PAYLOAD, rs256)), "ALGORITHM"),
    "critical parts": (artefact(by_hand({"alg": "RS256", "crit": ["exp"]}, PAYLOAD, rs256)), "ALGORITHM"),
    "b64 false, not critical": (
        artefact(by_hand({"alg": "RS256", "b64": False}, PAYLOAD, rs256)),
        "BAD_SIGNATURE",
    ),
    "another key": (artefact(sign(detail(), OTHER_KEY)), "BAD_SIGNATURE"),
    "another payload": (artefact(tampered()), "BAD_SIGNATURE"),
    "its own key in the header": (artefact(sign(detail(), OTHER_KEY, jwk=jwk(OTHER_KEY))), "BAD_SIGNATURE"),
    "signed text, no JSON": (artefact(sign(b"consent")), "BAD_ARTEFACT"),
    "signed, a member twice": (artefact(sign(TWICE)), "BAD_ARTEFACT"),
    # not of this schema
    "no version": (without("ver", artefact()), "MISSING_FIELD"),
    "version 1": (artefact(ver="1.1.2"), "UNKNOWN_VERSION"),
    "no consentId": (without("consentId", artefact()), "MISSING_FIELD"),
    "an odd consentId": (artefact(consentId="a b"), "BAD_FIELD"),
    "no createTimestamp": (without("createTimestamp", artefact()), "MISSING_FIELD"),
    "no status": (without("status", artefact()), "MISSING_FIELD"),
    "rejected": (artefact(status="REJECTED"), "CONSENT_STATUS"),
    "pending": (artefact(status="PENDING"), "CONSENT_STATUS"),
    "another term": (of(Scope={"limit": 1}), "UNKNOWN_TERM"),
    "no time zone": (of(consentStart="2026-05-28T11:38:20"), "BAD_FIELD"),
    "a date only": (of(consentExpiry="2027-05-28"), "BAD_FIELD"),
    "no such day": (of(consentExpiry="2027-02-30T00:00:00Z"), "BAD_INPUT"),
    "a time as number": (of(consentStart=1_790_000_000), "BAD_FIELD"),
    "fiTypes as text": (of(fiTypes="DEPOSIT"), "BAD_FIELD"),
    "fiTypes of numbers": (of(fiTypes=[1]), "BAD_FIELD"),
    "an empty customer": (of(Customer={"id": " "}), "MISSING_FIELD"),
    "an odd fetchType": (of(fetchType="OFTEN"), "BAD_FIELD"),
    # not what may be loaded
    "mode VIEW": (of(consentMode="VIEW"), "CONSENT_MODE"),
    "mode QUERY": (of(consentMode="QUERY"), "CONSENT_MODE"),
    "mode STREAM": (of(consentMode="STREAM"), "CONSENT_MODE"),
    "no transactions": (of(consentTypes=["PROFILE", "SUMMARY"]), "CONSENT_TYPE"),
    "a data filter": (
        of(DataFilter=[{"type": "TRANSACTIONAMOUNT", "operator": ">", "value": "20000"}]),
        "DATA_FILTER",
    ),
    "a data filter of another kind": (of(DataFilter={}), "DATA_FILTER"),
    "wealth management": (of(Purpose={"code": "101", "text": "t"}), "UNKNOWN_PURPOSE"),
    "spending patterns": (of(Purpose={"code": "102", "text": "t"}), "UNKNOWN_PURPOSE"),
    "a purpose as number": (of(Purpose={"code": 104, "text": "t"}), "BAD_FIELD"),
    "a purpose nobody could read": (of(Purpose={"code": "104"}), "MISSING_FIELD"),
    "no type that is covered": (of(fiTypes=["EQUITIES", "NPS"]), "UNKNOWN_SOURCE"),
    "no account": (of(Accounts=[]), "UNKNOWN_SOURCE"),
    "accounts of nothing": (of(Accounts=["DEPOSIT", {"fiType": ["DEPOSIT"]}]), "UNKNOWN_SOURCE"),
    "given to a bank's AA": (of(DataConsumer={"id": "aa", "type": "AA"}), "OTHER_CONSUMER"),
    "never valid": (of(consentExpiry="2026-05-28T11:38:20.380Z"), "NEVER_VALID"),
    "expired before it was made": (of(consentExpiry="2026-05-28T11:39:00Z"), "NEVER_VALID"),
    "a range that ends first": (
        of(FIDataRange={"from": "2026-05-28T00:00:00Z", "to": "2026-05-28T00:00:00Z"}),
        "NEVER_VALID",
    ),
    "no life": (of(DataLife={"unit": "DAY", "value": 0}), "DATA_LIFE"),
    "a negative life": (of(DataLife={"unit": "MONTH", "value": -1}), "DATA_LIFE"),
    "a life of an odd unit": (of(DataLife={"unit": "WEEK", "value": 1}), "DATA_LIFE"),
    "an infinite life with an end": (of(DataLife={"unit": "INF", "value": 3}), "DATA_LIFE"),
    "a life of ten thousand years": (of(DataLife={"unit": "YEAR", "value": 10_000}), "DATA_LIFE"),
    "half a month": (of(DataLife={"unit": "MONTH", "value": 0.5}), "BAD_FIELD"),
    "a life of yes": (of(DataLife={"unit": "DAY", "value": True}), "BAD_FIELD"),
} | {
    f"no {name}": (artefact(sign(without(name))), "MISSING_FIELD")
    for name in (
        *("consentStart", "consentExpiry", "consentMode", "fetchType", "consentTypes", "fiTypes"),
        *("DataConsumer.type", "DataProvider", "Customer.id", "Accounts", "Purpose.code", "FIDataRange.from"),
        *("FIDataRange.to", "DataLife.unit", "DataLife.value"),
    )
}


@pytest.mark.parametrize("name", BAD)
def test_bad_artefacts(read: Callable[..., Any], name: str) -> None:
    """Each is rejected for one stated reason with a remedy, and the message says nothing of the customer."""
    one, code = BAD[name]
    error = read(one)
    assert isinstance(error, BadInput)
    assert error.code == code
    assert error.remedy
    assert "CANARY" not in error.message + error.remedy
    assert error.__cause__ is None


def test_a_consent_to_another_lender(read: Callable[..., Any]) -> None:
    """Where the lender's own id is named, a consent given to somebody else opens nothing."""
    assert read(artefact(), consumer="other-fiu").code == "OTHER_CONSUMER"
    assert events(read(artefact(), consumer="lender-fiu")) == ["given"]


class TestFiles:
    def test_good_lines_are_kept(self, tmp_path: Path) -> None:
        """Broken, huge and foreign lines are told by their number; those around them are read."""
        lines = [
            json.dumps(artefact()).encode(),
            b"",
            b"broken",
            b'"' + b"x" * (3 * MAX_ARTEFACT_BYTES) + b'"',
            json.dumps(artefact(sign(detail(), OTHER_KEY), consentId="b")).encode(),
            json.dumps(
                artefact(of(consentStart="2026-06-01T00:00:00Z")["signedConsent"], consentId="c")
            ).encode(),
        ]
        path = tmp_path / "artefacts.jsonl"
        path.write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(lines))
        found = dict(read_artefacts(path, KEYS, now=NOW))
        kinds = {line: o.code if isinstance(o, BadInput) else "given" for line, o in found.items()}
        assert kinds == {1: "given", 3: "BAD_ARTEFACT", 4: "BAD_ARTEFACT", 5: "BAD_SIGNATURE", 6: "given"}

    def test_the_same_artefact_twice_says_the_same(self, tmp_path: Path) -> None:
        """Line for line, so that the import counts the second as already recorded."""
        path = tmp_path / "artefacts.jsonl"
        path.write_text("\n".join([json.dumps(artefact())] * 2))
        (_, first), (_, second) = read_artefacts(path, KEYS, now=NOW)
        assert first == second

    def test_one_consent_id_for_two_consents(self, tmp_path: Path) -> None:
        """An artefact cannot change after it was made: the second is rejected."""
        path = tmp_path / "artefacts.ndjson"
        longer = of(consentExpiry="2028-05-28T00:00:00Z")
        path.write_text("\n".join(json.dumps(a) for a in (artefact(), longer)))
        (_, first), (_, second) = read_artefacts(path, KEYS, now=NOW)
        assert events(first) == ["given"]
        assert isinstance(second, BadInput)
        assert second.code == "CONFLICT"

    def test_one_consent_under_two_ids_is_one_statement(self, read: Callable[..., Any]) -> None:
        """The consentId is not signed: under another one the same consent has the same event_id."""
        (one,), (other,) = read(artefact()), read(artefact(consentId="another"))
        assert one["event_id"] == other["event_id"]
        assert one["grant_id"] != other["grant_id"]

    def test_one_consent_in_two_spellings_is_one_statement(self, read: Callable[..., Any]) -> None:
        """Signed again under another key name, the same terms are the same consent."""
        (one,), (other,) = read(artefact()), read(artefact(sign(detail(), kid="k2")))
        assert one["event_id"] == other["event_id"]
        assert one["evidence_hash"] != other["evidence_hash"]

    def test_a_missing_file(self, tmp_path: Path) -> None:
        """Is a bad input, not a traceback."""
        with pytest.raises(BadInput):
            list(read_artefacts(tmp_path / "none.json", KEYS))
