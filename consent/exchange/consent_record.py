"""A consent record, and a consent receipt for the person, as ISO/IEC TS 27560 fields in W3C DPV 2.3 JSON-LD. Pure.

A record is one grant with its life so far. Every IRI is an ``@id``, every instant an ``xsd:dateTime``; the context
holds prefixes only, so that no reader has to fetch anything. What DPV has no term for is in our own ``assent:``
vocabulary, a URN.

Source: ISO/IEC TS 27560:2023 through the DPVCG guide "Consent Records and Receipts as per ISO/IEC TS 27560:2023
using DPV" of 2026-02-15 (sections 8 and 9); W3C DPV 2.3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

from consent.catalog import PURPOSES, SOURCES
from consent.clock import format_instant, parse_instant
from consent.errors import BadInput
from consent.exchange.consent_status import Status, statuses
from consent.exchange.controller import COUNTRIES, Controller
from consent.nouns import ANY, Event, Grant, Indicator, Kind, Notice, Recorded

Document = dict[str, Any]

CONTEXT = {
    "dpv": "https://w3id.org/dpv#",
    "pd": "https://w3id.org/dpv/pd#",
    "ai": "https://w3id.org/dpv/ai#",
    "loc": "https://w3id.org/dpv/loc#",
    "sector-finance": "https://w3id.org/dpv/sector/finance#",
    "eu-gdpr": "https://w3id.org/dpv/legal/eu/gdpr#",
    "dpv-27560": "https://w3id.org/dpv/schema/dpv-27560#",
    "dct": "http://purl.org/dc/terms/",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "xsd": "http://www.w3.org/2001/XMLSchema#",
    "assent": "urn:x-assent:term:",
}
_SUBJECT, _RECORD, _NOTICE = "urn:x-assent:subject:", "urn:x-assent:record:", "urn:x-assent:notice:"

#: Where the GDPR applies: the Union, Iceland, Liechtenstein and Norway.
_GDPR = frozenset(
    {
        *(
            "AT",
            "BE",
            "BG",
            "CY",
            "CZ",
            "DE",
            "DK",
            "EE",
            "ES",
            "EU",
            "FI",
            "FR",
            "GR",
            "HR",
            "HU",
            "IE",
            "IS",
        ),
        *("IT", "LI", "LT", "LU", "LV", "MT", "NL", "NO", "PL", "PT", "RO", "SE", "SI", "SK"),
    }
)
_INDICATED_BY = {"guardian": "dpv:GuardianOfDataSubject", "authority": "dpv:Authority"}
#: A hold may be none of the person's business; its ground is not in the copy they get.
_CONFIDENTIAL = (Kind.HOLD_PLACED, Kind.HOLD_RELEASED)


def consent_record(
    grant_entry: Recorded, history: Sequence[Recorded], controller: Controller, *, as_of: datetime
) -> Document:
    """The record of one grant.

    Args:
        grant_entry: the grant, an entry of kind GIVEN.
        history: all entries of the subject about its source and purpose, in ledger order.
        as_of: the instant the record is made for; expiry is derived from it.

    Raises:
        BadInput: the entry is no grant, so there is no notice and no term to make a record of.
    """
    return {"@context": CONTEXT, **_record(grant_entry, history, controller, as_of, for_subject=False)}


def consent_receipt(
    grant_entry: Recorded,
    history: Sequence[Recorded],
    controller: Controller,
    *,
    as_of: datetime,
    receipt_id: str,
    origin: str,
) -> Document:
    """The copy of a record for the person: the record, and where in which ledger it can be proved.

    Args:
        receipt_id: a UUID of its own.
        origin: name of the consent ledger, as its checkpoints bear it.

    Raises:
        BadInput: see `consent_record`.
    """
    return {
        "@context": CONTEXT,
        "@id": f"urn:uuid:{receipt_id}",
        "@type": "dpv:ConsentReceipt",
        "dct:identifier": receipt_id,
        "dpv:hasIdentifier": receipt_id,
        "dct:conformsTo": {"@id": "dpv-27560:receipt"},
        "dct:created": _time(as_of),
        "dct:publisher": {"@id": controller.url},
        "dct:audience": {"@id": _SUBJECT + grant_entry.event.subject_key},
        "assent:ledgerOrigin": origin,
        "assent:leafIndex": grant_entry.leaf_index,
        "dpv:hasConsentControl": _withdrawal(controller),
        "dpv:hasRecordOfActivity": _record(grant_entry, history, controller, as_of, for_subject=True),
    }


def _record(
    entry: Recorded,
    history: Sequence[Recorded],
    controller: Controller,
    as_of: datetime,
    *,
    for_subject: bool,
) -> Document:
    event, grant = entry.event, entry.event.grant
    if grant is None:
        raise BadInput("this entry is no grant", remedy="Make the record of an entry that says given.")
    life = statuses(entry, history, as_of)
    return {
        "@id": _RECORD + event.event_id,
        "@type": "dpv:ConsentRecord",
        "dct:identifier": _RECORD + event.event_id,
        "dpv:hasIdentifier": _RECORD + event.event_id,
        "dct:conformsTo": {"@id": "dpv-27560:record"},
        "dct:created": _time(as_of),
        "dct:language": grant.notice.language,
        "dpv:hasDataSubject": _subject(event),
        "dpv:hasDataController": _controller(controller),
        "dpv:hasJurisdiction": _jurisdiction(grant.jurisdiction),
        "dpv:hasLegalBasis": _legal_basis(grant),
        "dpv:hasNotice": _notice(grant.notice),
        "dpv:hasProcess": _process(event, grant, controller),
        "dpv:hasConsentControl": _withdrawal(controller),
        "dpv:hasRight": _rights(grant, controller),
        "dpv:hasConsentStatus": [_status(s, event, grant, controller, for_subject=for_subject) for s in life],
        "assent:leafIndex": entry.leaf_index,
        "assent:grantId": grant.grant_id,
    } | _replaces(grant)


def _subject(event: Event) -> Document:
    return {
        "@id": _SUBJECT + event.subject_key,
        "@type": "dpv:DataSubject",
        "dct:identifier": event.subject_key,
    }


def _controller(controller: Controller) -> Document:
    return {
        "@id": controller.url,
        "@type": ["dpv:DataController", "dpv:Organisation"],
        "dpv:hasIdentifier": controller.url,
        "dpv:hasName": controller.name,
        "dpv:hasAddress": controller.address,
        "dpv:hasContact": controller.contact,
    }


def _jurisdiction(code: str) -> Document:
    """A country is a term of DPV; what is none, or a region, is told by its code."""
    country = code[:2]
    place: Document = {"@id": f"loc:{country}"} if country in COUNTRIES else {}
    if place and code == country:
        return place
    region = {"@type": "dpv:Jurisdiction", "dct:identifier": code}
    return region | ({"dpv:hasCountry": place} if place else {})


def _legal_basis(grant: Grant) -> list[Document]:
    basis = [{"@id": "dpv:ExpressedConsent"}]
    return [*basis, {"@id": "eu-gdpr:A6-1-a"}] if grant.jurisdiction[:2] in _GDPR else basis


def _notice(notice: Notice) -> Document:
    return {
        "@id": f"{_NOTICE}{quote(notice.notice_id, safe='')}:{quote(notice.version, safe='')}",
        "@type": "dpv:ConsentNotice",
        "dct:identifier": notice.notice_id,
        "dct:language": notice.language,
        "assent:noticeVersion": notice.version,
        "assent:noticeSha256": notice.sha256,
    }


def _process(event: Event, grant: Grant, controller: Controller) -> Document:
    purpose = PURPOSES[event.purpose]
    operations = ["dpv:Collect", "dpv:Store", "dpv:Derive", "dpv:Use"]
    limits: Document = {"assent:dataFrom": _time(grant.data_from)}
    if grant.data_until is not None:
        limits["assent:dataUntil"] = _time(grant.data_until)
    if grant.data_life is not None:
        limits["assent:dataLife"] = _period(grant.data_life)
    return {
        "@type": "dpv:Process",
        "dpv:hasPurpose": {"@id": purpose, "dct:identifier": event.purpose},
        "dpv:hasPersonalData": {"@id": SOURCES[event.source], "dct:identifier": event.source},
        "dpv:hasProcessing": [{"@id": name} for name in operations],
        "dpv:hasDataController": {"@id": controller.url},
        "dpv:hasRecipient": _recipients(controller),
        "dpv:hasStorageCondition": _storage(grant, controller),
        **limits,
    }


def _recipients(controller: Controller) -> list[Document]:
    """The lender is a recipient; who else is, they said."""
    others = [{"@type": "dpv:Recipient", "dpv:hasName": name} for name in controller.recipients]
    return [{"@id": controller.url, "@type": "dpv:Recipient"}, *others]


def _storage(grant: Grant, controller: Controller) -> list[Document]:
    places = [{"@id": f"loc:{country}"} for country in controller.storage_locations]
    if grant.retention is None:
        duration: Document = {
            "@type": "dpv:UntilEventDuration",
            "rdf:value": "consent has ended and no law asks to keep the data",
        }
    else:
        duration = {"@type": "dpv:TemporalDuration", "rdf:value": _period(grant.retention)}
    return [
        {"@type": "dpv:StorageLocation", "dpv:hasLocation": places},
        {"@type": "dpv:StorageDuration", "dpv:hasDuration": duration},
    ]


def _withdrawal(controller: Controller) -> Document:
    return {"@type": "dpv:WithdrawConsent", "dpv:isExercisedAt": {"@id": controller.withdraw_at}}


def _rights(grant: Grant, controller: Controller) -> list[Document]:
    right: Document = {
        "@type": "dpv:DataSubjectRight",
        "dct:title": "To withdraw consent at any time",
        "dpv:isExercisedAt": {"@id": controller.withdraw_at},
    }
    if grant.jurisdiction[:2] in _GDPR:
        right["@type"] = ["dpv:DataSubjectRight", "eu-gdpr:A7-3"]
    return [right]


def _replaces(grant: Grant) -> Document:
    return {"assent:replacesGrant": grant.replaces} if grant.replaces else {}


def _status(
    status: Status, event: Event, grant: Grant, controller: Controller, *, for_subject: bool
) -> Document:
    said = status.entry.event if status.entry else None
    about: Document = {
        "@type": [*status.terms, "dpv:ExpressedConsent"] if said is event else list(status.terms),
        "dpv:isIndicatedBy": {"@id": _who(status.by, event, controller)},
        "dpv:isIndicatedAtTime": _time(status.at),
        "dpv:hasDuration": _duration(status),
        "dpv:hasIndicationMethod": _method(said, event, grant),
    }
    if status.entry is None or said is None:
        return about
    if said is event:
        about["assent:validFrom"] = _time(event.effective_at)
    about |= {
        "assent:leafIndex": status.entry.leaf_index,
        "assent:recordedAt": _time(status.entry.recorded_at),
        "assent:origin": said.origin,
    }
    if said.evidence_hash:
        about["assent:evidenceSha256"] = said.evidence_hash
    if said.basis and not (for_subject and said.kind in _CONFIDENTIAL):
        about["dpv:hasJustification"] = said.basis
    return about


def _who(by: Indicator, event: Event, controller: Controller) -> str:
    if by == "controller":
        return controller.url
    return _SUBJECT + event.subject_key if by == "subject" else _INDICATED_BY[by]


def _method(said: Event | None, event: Event, grant: Grant) -> str:
    if said is None:
        return "the clock"
    return grant.method if said is event else f"channel: {said.channel}"


def _duration(status: Status) -> Document:
    if status.until is not None:
        return {"@type": "dpv:UntilTimeDuration", "rdf:value": _time(status.until)}
    if status.lasting:
        return {"@type": "dpv:EndlessDuration", "rdf:value": "a new agreement is a new record"}
    return {"@type": "dpv:UntilEventDuration", "rdf:value": "the restriction is lifted"}


def _time(at: datetime) -> Document:
    return {"@type": "xsd:dateTime", "@value": format_instant(at)}


def _period(duration: timedelta) -> Document:
    """In seconds where it is no whole number of days."""
    seconds = f"T{duration.total_seconds():.0f}S"
    whole = duration % timedelta(days=1) == timedelta(0)
    return {"@type": "xsd:duration", "@value": f"P{duration.days}D" if whole else f"P{seconds}"}


# ---------------------------------------------------------------------- reading one back


@dataclass(frozen=True, slots=True)
class ReadRecord:
    """What a record says, in our own words.

    Attributes:
        states: (DPV and own terms, since when), oldest first.
    """

    record_id: str
    subject_key: str
    source: str
    purpose: str
    grant: Grant
    controller: Controller
    states: tuple[tuple[tuple[str, ...], datetime], ...]


def read_record(document: Mapping[str, Any]) -> ReadRecord:
    """Inverse of `consent_record`; of a receipt, its record.

    Raises:
        BadInput: it is no record that was made here.
    """
    try:
        record = document.get("dpv:hasRecordOfActivity", document)
        process, given = record["dpv:hasProcess"], record["dpv:hasConsentStatus"][0]
        return ReadRecord(
            record_id=record["dct:identifier"].removeprefix(_RECORD),
            subject_key=record["dpv:hasDataSubject"]["dct:identifier"],
            source=process["dpv:hasPersonalData"]["dct:identifier"],
            purpose=process["dpv:hasPurpose"]["dct:identifier"],
            grant=_read_grant(record, process, given),
            controller=_read_controller(record, process),
            states=tuple(
                (tuple(s["@type"]), _read_time(s["dpv:isIndicatedAtTime"]))
                for s in record["dpv:hasConsentStatus"]
            ),
        )
    except (KeyError, IndexError, TypeError, AttributeError, ValueError):
        raise BadInput(
            "this is no consent record of Assent", remedy="Export it with `assent consent export`."
        ) from None


def _read_grant(record: Document, process: Document, given: Document) -> Grant:
    notice = record["dpv:hasNotice"]
    until, life = process.get("assent:dataUntil"), process.get("assent:dataLife")
    kept = process["dpv:hasStorageCondition"][1]["dpv:hasDuration"]
    place = record["dpv:hasJurisdiction"]
    return Grant(
        grant_id=record["assent:grantId"],
        notice=Notice(
            notice["dct:identifier"],
            notice["assent:noticeVersion"],
            notice["dct:language"],
            notice["assent:noticeSha256"],
        ),
        jurisdiction=place.get("dct:identifier") or place["@id"].removeprefix("loc:"),
        method=given["dpv:hasIndicationMethod"],
        expires_at=_read_time(given["dpv:hasDuration"]["rdf:value"]),
        data_from=_read_time(process["assent:dataFrom"]),
        data_until=_read_time(until) if until else None,
        data_life=_read_period(life) if life else None,
        retention=_read_period(kept["rdf:value"]) if kept["@type"] == "dpv:TemporalDuration" else None,
        replaces=record.get("assent:replacesGrant"),
    )


def _read_controller(record: Document, process: Document) -> Controller:
    party = record["dpv:hasDataController"]
    places = process["dpv:hasStorageCondition"][0]["dpv:hasLocation"]
    return Controller(
        name=party["dpv:hasName"],
        address=party["dpv:hasAddress"],
        contact=party["dpv:hasContact"],
        url=party["@id"],
        withdraw_at=record["dpv:hasConsentControl"]["dpv:isExercisedAt"]["@id"],
        storage_locations=tuple(place["@id"].removeprefix("loc:") for place in places),
        recipients=tuple(r["dpv:hasName"] for r in process["dpv:hasRecipient"][1:]),
    )


def _read_time(value: Document) -> datetime:
    return parse_instant(value["@value"])


def _read_period(value: Document) -> timedelta:
    text = value["@value"]
    return timedelta(seconds=int(text[2:-1])) if text[1] == "T" else timedelta(days=int(text[1:-1]))


def about_same(history: Sequence[Recorded], grant_entry: Recorded) -> list[Recorded]:
    """The entries about the source and purpose of a grant, `history` of its record."""
    pair = (grant_entry.event.source, grant_entry.event.purpose)
    return [
        r
        for r in history
        if all(
            said in (ANY, name) for said, name in zip((r.event.source, r.event.purpose), pair, strict=True)
        )
    ]
