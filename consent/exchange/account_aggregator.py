"""Consent artefacts of India's Account Aggregators, as statements of ours.

An artefact is a JSON envelope around a compact JWS that the Account Aggregator (AA) signed. What the JWS does not
cover (consentId, status, createTimestamp) is taken only where believing it makes us stricter, or as a name. An
artefact that cannot be verified, or holds a limit that is not honoured here, is rejected.

======================  =====================================================================================
of the artefact         becomes
======================  =====================================================================================
fiTypes, Accounts       one statement per source, see `SOURCES_OF`; a type must stand in both
Purpose.code            purpose, see `PURPOSES_OF`; notice_id ``rebit-aa/<code>``
Purpose.text            notice_hash, its SHA-256 (UTF-8); notice_language ``en``
ver                     notice_version
consentStart            effective_at; createTimestamp, if that is later: nobody agreed before
consentExpiry           expires_at
FIDataRange.from, to    data_from, data_until
DataLife                data_life_days: the fewest days so many calendar months or years can have; INF: none
Customer.id             subject_id
consentId               grant_id, with the source behind it
DataProvider.id         channel, where that is the AA
signedConsent           evidence_hash, its SHA-256; event_id, from what was signed
status                  ACTIVE, EXPIRED: given; PAUSED: given, paused; REVOKED: given, withdrawn; EXPIRED before
                        its expiry: given, revoked
======================  =====================================================================================

Source: ReBIT Account Aggregator API 2.1.0, schemas ConsentArtefact and SignedConsentDetail; ReBIT FAQ of
2021-02-23, JWS header claims.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from consent.clock import format_instant, now_utc, parse_instant
from consent.errors import BadInput
from consent.exchange.jws import PublicKeys, strict_json, verify_jws

#: Which of our sources an fiType opens. Current and savings accounts hold purchases, income and repayments. Term and
#: recurring deposits, securities, pensions, insurance and tax returns hold none; OTHER may be anything, so it is no.
SOURCES_OF = {"DEPOSIT": "spending"}
#: 103 aggregated statement (underwriting), 104 monitoring of the accounts (loan monitoring), 105 one-time look.
PURPOSES_OF = {"103": "credit_scoring", "104": "loan_servicing", "105": "credit_scoring"}
#: Every fiType of the schema; what is none of these is not named in a report.
FI_TYPES = frozenset(
    {
        *(
            "DEPOSIT",
            "TERM_DEPOSIT",
            "RECURRING_DEPOSIT",
            "SIP",
            "CP",
            "GOVT_SECURITIES",
            "EQUITIES",
            "BONDS",
        ),
        *("DEBENTURES", "MUTUAL_FUNDS", "ETF", "IDR", "CIS", "AIF", "INSURANCE_POLICIES", "NPS", "INVIT"),
        *("REIT", "GSTR1_3B", "LIFE_INSURANCE", "GENERAL_INSURANCE", "OTHER"),
    }
)
_TERMS = frozenset(
    {
        *("consentStart", "consentExpiry", "consentMode", "fetchType", "consentTypes", "fiTypes"),
        *("DataConsumer", "DataProvider", "Customer", "Accounts", "Purpose", "FIDataRange", "DataLife"),
        *("Frequency", "DataFilter"),
    }
)
#: Said in the report, because nothing here looks at it.
NOT_ENFORCED = (
    "not enforced here: fetchType and Frequency, how often data is fetched",
    "not enforced here: Accounts, which account the data is of",
)
MAX_ARTEFACT_BYTES = 256 * 1024
METHOD = "Account Aggregator consent artefact"

#: Fewest days that 0 to 11 calendar months can have.
_FEWEST_DAYS = (0, 28, 59, 89, 120, 150, 181, 212, 242, 273, 303, 334)
_MAX_DAYS = 36_500
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:?\d\d)")
_VERSION = re.compile(r"2\.\d{1,3}(\.\d{1,3})?")
_ID = re.compile(r"[!-~]{1,120}")

Statement = dict[str, str]
_T = TypeVar("_T")


def read_artefacts(
    path: Path,
    keys: PublicKeys,
    *,
    consumer: str | None = None,
    notes: Counter[str] | None = None,
    now: datetime | None = None,
) -> Iterator[tuple[int, list[Statement] | BadInput]]:
    """Read a file of artefacts.

    Args:
        path: ``.jsonl`` or ``.ndjson``, one artefact per line; anything else is one artefact.
        keys: of the AAs whose signatures are accepted.
        consumer: the lender's own DataConsumer.id; None: whichever Financial Information User it names.
        notes: counts what was read and is not imported, or not enforced, over the good artefacts.
        now: the instant an EXPIRED artefact is held against; None: the clock.

    Yields:
        (line number, or 1 for a file of one artefact; the statements, or why there are none).

    Raises:
        BadInput: the file cannot be read.
    """
    now, notes = now or now_utc(), Counter() if notes is None else notes
    signed_as: dict[str, str] = {}
    for position, text in _texts(path):
        found: Counter[str] = Counter()
        try:
            artefact = _artefact(text)
            detail, evidence = _detail(artefact, keys)
            if signed_as.setdefault(_id(artefact, "consentId"), evidence["event"]) != evidence["event"]:
                raise _bad("CONFLICT", "consentId names another consent earlier in the file", "Ask the AA.")
            statements = _statements(artefact, detail, evidence, consumer, now, found)
        except BadInput as error:
            yield position, error
        else:
            notes.update(found)
            yield position, statements


# ---------------------------------------------------------------------- the file


def _texts(path: Path) -> Iterator[tuple[int, bytes]]:
    """Each artefact's text, cut one byte above the limit."""
    try:
        with path.open("rb") as file:
            if path.suffix.lower() not in (".jsonl", ".ndjson"):
                yield 1, file.read(MAX_ARTEFACT_BYTES + 1)
                return
            position = 0
            while line := _line(file):
                position += 1
                if line.strip():
                    yield position, line
    except OSError:
        raise BadInput("the file cannot be read", remedy="Check its name and your rights.") from None


def _line(file: BinaryIO) -> bytes:
    """The next line; the rest of one that is too long is skipped."""
    line = rest = file.readline(MAX_ARTEFACT_BYTES + 1)
    while len(rest) > MAX_ARTEFACT_BYTES and not rest.endswith(b"\n"):
        rest = file.readline(MAX_ARTEFACT_BYTES + 1)
    return line


def _artefact(text: bytes) -> Mapping[str, Any]:
    if len(text) > MAX_ARTEFACT_BYTES:
        raise _bad("BAD_ARTEFACT", "the artefact is too long", f"{MAX_ARTEFACT_BYTES} bytes is the limit.")
    return _json_object(text, "the artefact")


def _json_object(text: bytes, what: str) -> Mapping[str, Any]:
    try:
        document = strict_json(text)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise _bad("BAD_ARTEFACT", f"{what} is no JSON object", "Export it as the AA sent it.")
    return document


# ---------------------------------------------------------------------- what was signed


def _detail(artefact: Mapping[str, Any], keys: PublicKeys) -> tuple[Mapping[str, Any], dict[str, str]]:
    """The signed terms, and two digests: of the text, as evidence, and of the terms, as the name of this consent.

    The consentId is not signed and the text could be written in more ways than one; the terms could not.
    """
    if not _VERSION.fullmatch(_text(artefact, "ver")):
        raise _bad("UNKNOWN_VERSION", "ver is none of API 2", "Only ReBIT API 2 artefacts are understood.")
    signed = _text(artefact, "signedConsent")
    payload = verify_jws(signed, keys)
    detail = _json_object(payload, "the signed consent")
    if not _TERMS.issuperset(detail):
        raise _bad(
            "UNKNOWN_TERM", "the signed consent has a term that is not of the schema", "Ask what it limits."
        )
    return detail, {"evidence": _sha256(signed), "event": hashlib.sha256(payload).hexdigest()}


def _statements(
    artefact: Mapping[str, Any],
    detail: Mapping[str, Any],
    digests: Mapping[str, str],
    consumer: str | None,
    now: datetime,
    notes: Counter[str],
) -> list[Statement]:
    _require_ours(detail, consumer)
    _require_honoured(detail)
    purpose = _purpose(detail)
    terms = _terms(artefact, detail)
    channel = _channel(detail)
    ends = _ends(artefact, parse_instant(terms["expires_at"]), now)
    statements = []
    for source in _sources(detail, notes):
        about = {"subject_id": _text(detail, "Customer.id"), "source": source, "purpose": purpose}
        about |= {"evidence_hash": digests["evidence"]} | channel
        name = f"rebit-aa/{digests['event']}/{source}"
        grant_id = f"{_id(artefact, 'consentId')}/{source}"
        given = {"event": "given", **about, **terms, "grant_id": grant_id, "event_id": f"{name}/given"}
        statements += [given, *(_end(event, about, name) for event in ends)]
    notes.update(NOT_ENFORCED)
    return statements


def _require_ours(detail: Mapping[str, Any], consumer: str | None) -> None:
    """The lender asked for it: a Financial Information User, and the one named by `consumer`."""
    if _text(detail, "DataConsumer.type") != "FIU":
        raise _bad(
            "OTHER_CONSUMER",
            "the data consumer is no Financial Information User",
            "Import the artefact between the customer and the lender.",
        )
    if consumer is not None and _text(detail, "DataConsumer.id") != consumer:
        raise _bad(
            "OTHER_CONSUMER", "the consent was given to another lender", "Leave it out, or check the id."
        )


def _require_honoured(detail: Mapping[str, Any]) -> None:
    """Every limit is one that is kept here: what is not understood means no."""
    if _text(detail, "consentMode") != "STORE":
        raise _bad("CONSENT_MODE", "consentMode does not allow storing", "Ask for a consent of mode STORE.")
    if "TRANSACTIONS" not in _texts_in(detail, "consentTypes"):
        raise _bad(
            "CONSENT_TYPE", "consentTypes leaves TRANSACTIONS out", "Features rest on single transactions."
        )
    if detail.get("DataFilter", []) != []:
        raise _bad("DATA_FILTER", "there is a DataFilter, which is not honoured here", "Ask for one without.")
    if _text(detail, "fetchType") not in ("ONETIME", "PERIODIC"):
        raise _bad("BAD_FIELD", "fetchType is none of the schema", "Export it as the AA sent it.")


def _purpose(detail: Mapping[str, Any]) -> str:
    purpose = PURPOSES_OF.get(_text(detail, "Purpose.code"))
    if purpose is None:
        raise _bad(
            "UNKNOWN_PURPOSE",
            "Purpose.code is for nothing that is done here",
            f"Only {', '.join(PURPOSES_OF)} are: scoring a loan, and servicing it.",
        )
    return purpose


def _sources(detail: Mapping[str, Any], notes: Counter[str]) -> list[str]:
    accounts = _member(detail, "Accounts", list)
    held = {a.get("fiType") for a in accounts if isinstance(a, dict) and isinstance(a.get("fiType"), str)}
    sources = set()
    for fi_type in _texts_in(detail, "fiTypes"):
        named = fi_type if fi_type in FI_TYPES else "that is none of the schema"
        if fi_type not in SOURCES_OF:
            notes[f"not imported: fiType {named}, no source covers it"] += 1
        elif fi_type not in held:
            notes[f"not imported: fiType {named}, no account of it is listed"] += 1
        else:
            sources.add(SOURCES_OF[fi_type])
    if not sources:
        raise _bad("UNKNOWN_SOURCE", "no source here covers its fiTypes and Accounts", "Leave it out.")
    return sorted(sources)


def _channel(detail: Mapping[str, Any]) -> Statement:
    provider = _member(detail, "DataProvider", dict)
    return {"channel": _id(detail, "DataProvider.id")} if provider.get("type") == "AA" else {}


def _ends(artefact: Mapping[str, Any], expires_at: datetime, now: datetime) -> tuple[str, ...]:
    """The events that follow the grant."""
    status = _text(artefact, "status")
    ends = {"ACTIVE": (), "EXPIRED": (), "PAUSED": ("paused",), "REVOKED": ("withdrawn",)}.get(status)
    if ends is None:
        raise _bad("CONSENT_STATUS", "status is none that was ever in force", "Leave the artefact out.")
    return ("revoked",) if status == "EXPIRED" and now < expires_at else ends


def _end(event: str, about: Mapping[str, str], name: str) -> Statement:
    """What ended or paused it, and when is not said: at the moment of reading, a pause once per file."""
    statement = {"event": event, **about}
    if event != "paused":
        statement["event_id"] = f"{name}/{event}"
    if event == "revoked":
        statement |= {"indicated_by": "controller", "basis": "status EXPIRED at the Account Aggregator"}
    return statement


# ---------------------------------------------------------------------- the terms


def _terms(artefact: Mapping[str, Any], detail: Mapping[str, Any]) -> Statement:
    begins = max(_instant(detail, "consentStart"), _instant(artefact, "createTimestamp"))
    expires = _instant(detail, "consentExpiry")
    data_from, data_until = _instant(detail, "FIDataRange.from"), _instant(detail, "FIDataRange.to")
    if expires <= begins:
        raise _bad(
            "NEVER_VALID", "consentExpiry is not after consentStart and createTimestamp", "Ask the AA."
        )
    if data_until <= data_from:
        raise _bad("NEVER_VALID", "FIDataRange ends before it begins", "Ask the AA.")
    return {
        "effective_at": format_instant(begins),
        "expires_at": format_instant(expires),
        "data_from": format_instant(data_from),
        "data_until": format_instant(data_until),
        "notice_id": f"rebit-aa/{_text(detail, 'Purpose.code')}",
        "notice_version": _text(artefact, "ver"),
        "notice_language": "en",
        "notice_hash": _sha256(_text(detail, "Purpose.text")),
        "jurisdiction": "IN",
        "method": METHOD,
        **_data_life(detail),
    }


def _data_life(detail: Mapping[str, Any]) -> Statement:
    unit, value = _text(detail, "DataLife.unit"), _member(detail, "DataLife.value", int)
    if unit == "INF" and value == 0:
        return {}
    days = fewest_days(unit, value) if unit in ("DAY", "MONTH", "YEAR") else 0
    if not 0 < days <= _MAX_DAYS:
        raise _bad(
            "DATA_LIFE",
            "DataLife allows no storing, or cannot be understood",
            "A unit DAY, MONTH or YEAR has a value from 1 to a hundred years; INF has 0.",
        )
    return {"data_life_days": str(days)}


def fewest_days(unit: str, value: int) -> int:
    """The fewest days that many calendar units can have, whenever they begin."""
    if unit == "DAY":
        return value
    years, months = divmod(value * 12 if unit == "YEAR" else value, 12)
    return years * 365 + _FEWEST_DAYS[months]


# ---------------------------------------------------------------------- members of a document


def _member(document: Mapping[str, Any], path: str, kind: type[_T]) -> _T:
    """The member at a dotted path.

    Raises:
        BadInput: it is missing, or of another kind.
    """
    found: Any = document
    for name in path.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    if found is None:
        raise _bad("MISSING_FIELD", f"{path} is missing", "Export the artefact as the AA sent it.")
    if type(found) is not kind:
        raise _bad("BAD_FIELD", f"{path} is of the wrong kind", "Export the artefact as the AA sent it.")
    return found


def _text(document: Mapping[str, Any], path: str) -> str:
    text = _member(document, path, str)
    if not text.strip():
        raise _bad("MISSING_FIELD", f"{path} is empty", "Export the artefact as the AA sent it.")
    return text


def _id(document: Mapping[str, Any], path: str) -> str:
    text = _text(document, path)
    if not _ID.fullmatch(text):
        raise _bad("BAD_FIELD", f"{path} is no identifier", "It has at most 120 visible ASCII characters.")
    return text


def _texts_in(document: Mapping[str, Any], path: str) -> list[str]:
    texts = _member(document, path, list)
    if not all(isinstance(text, str) for text in texts):
        raise _bad("BAD_FIELD", f"{path} holds what is no text", "Export the artefact as the AA sent it.")
    return texts


def _instant(document: Mapping[str, Any], path: str) -> datetime:
    text = _text(document, path)
    if not _RFC3339.fullmatch(text):
        raise _bad(
            "BAD_FIELD", f"{path} is no RFC 3339 date-time", "It has an offset, like 2026-11-23T08:00:00Z."
        )
    return parse_instant(text, what=path)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _bad(code: str, message: str, remedy: str) -> BadInput:
    return BadInput(message, remedy=remedy, code=code)
