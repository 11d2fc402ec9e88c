"""Consent records and receipts: ISO/IEC TS 27560 fields as W3C DPV 2.3 JSON-LD."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given as given_examples
from hypothesis import settings
from hypothesis import strategies as st
from pyld import jsonld

from consent.catalog import PURPOSES, SOURCES
from consent.decide import decide
from consent.encoding import to_statement
from consent.errors import BadInput, ConfigError, Gap
from consent.exchange.consent_record import CONTEXT, about_same, consent_receipt, consent_record, read_record
from consent.exchange.consent_status import statuses
from consent.exchange.controller import EXAMPLE, Controller, parse_controller, require_controller
from consent.nouns import ANY, Event, Facts, Indicator, Kind, Recorded
from tests.consent.consent_samples import ANNA, BELA, DAY, NOW, event, given, on_record, withdrawn

LENDER = Controller(
    name="Example Lending Ltd",
    address="1 Example Road, 100000 Example City",
    contact="privacy@lender.example",
    url="https://lender.example",
    withdraw_at="https://lender.example/consent",
    storage_locations=("CN", "IN"),
    recipients=("Example Bureau",),
)
RECEIPT_ID = "782c2fab-8bca-4ff9-b5c6-52f7d79f4095"
DPV = ("dpv", "pd", "ai", "loc", "sector-finance", "eu-gdpr", "dpv-27560")

#: Every term of DPV that may be emitted; each was found in the vocabularies of DPV 2.3. Countries are tested apart.
TERMS = frozenset(
    {
        *("dpv:ConsentRecord", "dpv:ConsentReceipt", "dpv:hasIdentifier", "dpv:hasRecordOfActivity"),
        *("dpv:hasDataSubject", "dpv:DataSubject", "dpv:hasDataController", "dpv:DataController"),
        *("dpv:Organisation", "dpv:hasName", "dpv:hasAddress", "dpv:hasContact"),
        *("dpv:hasJurisdiction", "dpv:Jurisdiction", "dpv:hasCountry"),
        *("dpv:hasLegalBasis", "dpv:ExpressedConsent", "eu-gdpr:A6-1-a"),
        *("dpv:hasNotice", "dpv:ConsentNotice", "dpv:hasProcess", "dpv:Process"),
        *("dpv:hasPurpose", "dpv:hasPersonalData", "dpv:hasProcessing"),
        *("dpv:Collect", "dpv:Store", "dpv:Derive", "dpv:Use", "dpv:hasRecipient", "dpv:Recipient"),
        *("dpv:hasStorageCondition", "dpv:StorageLocation", "dpv:hasLocation", "dpv:StorageDuration"),
        *("dpv:hasDuration", "dpv:TemporalDuration", "dpv:UntilEventDuration", "dpv:UntilTimeDuration"),
        *("dpv:EndlessDuration", "dpv:hasConsentControl", "dpv:WithdrawConsent", "dpv:isExercisedAt"),
        *("dpv:hasRight", "dpv:DataSubjectRight", "eu-gdpr:A7-3"),
        *("dpv:hasConsentStatus", "dpv:isIndicatedBy", "dpv:isIndicatedAtTime", "dpv:hasIndicationMethod"),
        *("dpv:hasJustification", "dpv:GuardianOfDataSubject", "dpv:Authority"),
        *("dpv:ConsentGiven", "dpv:RenewedConsentGiven", "dpv:ConsentRefused", "dpv:ConsentWithdrawn"),
        *("dpv:ConsentRevoked", "dpv:ConsentInvalidated", "dpv:ConsentExpired"),
        "dpv:ConsentStatusInvalidForProcessing",
        *("pd:DeviceApplications", "pd:EmploymentHistory", "pd:Transaction"),
        *("sector-finance:CreditScoreEvaluation", "sector-finance:FraudManagement"),
        *("sector-finance:LoanServiceProvision", "ai:ModelTraining"),
        *("dpv-27560:record", "dpv-27560:receipt"),
    }
)

VALID = {"dpv:ConsentGiven", "dpv:RenewedConsentGiven"}


def history(*said: Event, step: timedelta = DAY) -> list[Recorded]:
    """Each event recorded, and in effect, one step after the one before."""
    return [Recorded(i, NOW + i * step, replace(e, effective_at=NOW + i * step)) for i, e in enumerate(said)]


def record(said: Sequence[Recorded], *, as_of: datetime = NOW + 100 * DAY, grant: int = 0) -> dict[str, Any]:
    return consent_record(said[grant], said, LENDER, as_of=as_of)


def receipt(said: Sequence[Recorded], *, as_of: datetime = NOW + 100 * DAY) -> dict[str, Any]:
    return consent_receipt(
        said[0], said, LENDER, as_of=as_of, receipt_id=RECEIPT_ID, origin="assent/test-log"
    )


def terms_of(document: dict[str, Any]) -> list[list[str]]:
    """DPV and own terms of each status, without how it was expressed."""
    found = document.get("dpv:hasRecordOfActivity", document)["dpv:hasConsentStatus"]
    return [[t for t in status["@type"] if t != "dpv:ExpressedConsent"] for status in found]


def other(kind: Kind, **more: Any) -> Event:
    basis = more.pop("basis", None)
    by: Indicator = more.pop("indicated_by", "subject")
    return replace(event(kind, **more), basis=basis, indicated_by=by)


def refuse_to_load(url: str, _: Any) -> Any:
    raise AssertionError(f"a record asks its reader to fetch {url}")


def expand(document: dict[str, Any]) -> dict[str, Any]:
    (expanded,) = jsonld.expand(json.loads(json.dumps(document)), {"documentLoader": refuse_to_load})
    return dict(expanded)


def iris(node: Any) -> Iterator[str]:
    """Every key, type and @id of an expanded document."""
    if isinstance(node, list):
        for item in node:
            yield from iris(item)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key in ("@id", "@type"):
                yield from [value] if isinstance(value, str) else value
            elif key != "@value":
                yield key
                yield from iris(value)


def compact(iri: str) -> str:
    for prefix, base in sorted(CONTEXT.items(), key=lambda item: -len(item[1])):
        if iri.startswith(base):
            return f"{prefix}:{iri.removeprefix(base)}"
    return iri


FULL = (
    given(retention=400 * DAY, data_life=90 * DAY, data_until=NOW + 30 * DAY, replaces="earlier"),
    other(Kind.PAUSED),
    other(Kind.RESUMED),
    other(Kind.HOLD_PLACED, source=ANY, purpose=ANY, hold_id="case 7", basis="a court's order"),
    other(Kind.HOLD_RELEASED, source=ANY, purpose=ANY, hold_id="case 7"),
    other(Kind.REVOKED, basis="guardianship", indicated_by="guardian"),
    other(Kind.INVALIDATED, basis="a court's finding", indicated_by="authority"),
    other(Kind.ERASURE_REQUESTED, purpose=ANY),
    other(Kind.ERASED, purpose=ANY, indicated_by="controller"),
)

#: Field that ISO/IEC TS 27560 makes mandatory -> where it stands, as a path of keys.
MANDATORY = {
    "schema_version": "dct:conformsTo",
    "record_id": "dct:identifier",
    "pii_principal_id": "dpv:hasDataSubject dct:identifier",
    "privacy_notice": "dpv:hasNotice dct:identifier",
    "language": "dct:language",
    "purpose": "dpv:hasProcess dpv:hasPurpose",
    "pii_information": "dpv:hasProcess dpv:hasPersonalData",
    "pii_type": "dpv:hasProcess dpv:hasPersonalData",
    "pii_controllers": "dpv:hasDataController",
    "storage_locations": "dpv:hasProcess dpv:hasStorageCondition dpv:hasLocation",
    "retention_period": "dpv:hasProcess dpv:hasStorageCondition dpv:hasDuration",
    "jurisdiction": "dpv:hasJurisdiction",
    "recipient_third_parties": "dpv:hasProcess dpv:hasRecipient",
    "withdrawal_method": "dpv:hasConsentControl dpv:isExercisedAt",
    "party_id": "dpv:hasDataController dpv:hasIdentifier",
    "party_name": "dpv:hasDataController dpv:hasName",
    "party_address": "dpv:hasDataController dpv:hasAddress",
    "party_contact": "dpv:hasDataController dpv:hasContact",
    "party_type": "dpv:hasDataController @type",
    "event_time": "dpv:hasConsentStatus dpv:isIndicatedAtTime",
    "validity_duration": "dpv:hasConsentStatus dpv:hasDuration",
    "entity_id": "dpv:hasConsentStatus dpv:isIndicatedBy",
    "event_type": "dpv:hasLegalBasis",
    "event_state": "dpv:hasConsentStatus @type",
}
PER_EVENT = ("event_time", "validity_duration", "entity_id", "event_state")


def found_at(node: Any, path: str) -> list[Any]:
    """Everything an expanded document holds at a path of compact keys."""
    nodes = [node]
    for key in path.split():
        iri = key if key.startswith("@") else CONTEXT[key.split(":")[0]] + key.split(":")[1]
        found = [n[iri] for n in nodes if isinstance(n, dict) and iri in n]
        nodes = [one for many in found for one in (many if isinstance(many, list) else [many])]
    return nodes


class TestJsonLd:
    @pytest.mark.parametrize("field", MANDATORY)
    def test_the_mandatory_fields_are_there(self, field: str) -> None:
        """As JSON-LD a reader that knows only DPV and ISO 27560 finds each, in the record and in the receipt."""
        said = history(*FULL)
        assert found_at(expand(record(said)), MANDATORY[field])
        assert found_at(expand(receipt(said)), f"dpv:hasRecordOfActivity {MANDATORY[field]}")

    def test_every_event_has_its_mandatory_fields(self) -> None:
        """Time, duration, entity and state: as many as there are events."""
        said = history(*FULL)
        events = found_at(expand(record(said)), "dpv:hasConsentStatus")
        assert len(events) == len(FULL)
        for field in PER_EVENT:
            path = MANDATORY[field].removeprefix("dpv:hasConsentStatus ")
            assert all(found_at(e, path) for e in events), field

    @pytest.mark.parametrize("source", SOURCES)
    @pytest.mark.parametrize("purpose", PURPOSES)
    @pytest.mark.parametrize("jurisdiction", ["CN", "IN-KA", "DE", "XK"])
    def test_every_name_is_an_absolute_iri_and_every_dpv_term_exists(
        self, source: str, purpose: str, jurisdiction: str
    ) -> None:
        """Nothing is dropped by expansion, nothing fetched, and no term of DPV is invented."""
        first = given(source=source, purpose=purpose, replaces="earlier")
        assert first.grant is not None
        first = replace(first, grant=replace(first.grant, jurisdiction=jurisdiction))
        rest = [replace(e, source=source if e.source != ANY else ANY, purpose=purpose) for e in FULL[1:]]
        said = history(first, *rest, other(Kind.SUPERSEDED, source=source, purpose=purpose))
        for document in (record(said), receipt(said)):
            names = set(iris(expand(document)))
            assert all(re.match(r"(https?|urn):", name) for name in names)
            used = {compact(name) for name in names}
            dpv = {t for t in used if t.split(":")[0] in DPV and not re.fullmatch("loc:[A-Z]{2}", t)}
            assert dpv <= TERMS
            assert {t for t in used if t.startswith("loc:")} <= {"loc:CN", "loc:IN", "loc:DE"}

    def test_nothing_is_lost_by_expansion(self) -> None:
        """A key that is no IRI would vanish without a word: all keys survive."""

        def keys(node: Any) -> set[str]:
            if isinstance(node, list):
                return set().union(*(keys(n) for n in node)) if node else set()
            if not isinstance(node, dict):
                return set()
            return {k for k in node if not k.startswith("@")} | set().union(*(keys(v) for v in node.values()))

        document = receipt(history(*FULL))
        body = {k: v for k, v in document.items() if k != "@context"}
        assert keys(body) <= {compact(name) for name in iris(expand(document))}

    def test_own_terms_are_in_a_namespace_of_our_own(self) -> None:
        """DPV's namespace is DPV's: ours is a URN."""
        assert CONTEXT["assent"].startswith("urn:")
        assert all(isinstance(base, str) for base in CONTEXT.values())


#: What is on record after the grant -> the terms of each status from then on.
LIVES: dict[str, tuple[tuple[Event, ...], list[list[str]]]] = {
    "given": ((given(),), [["dpv:ConsentGiven"]]),
    "renewed": ((given(replaces="earlier"),), [["dpv:RenewedConsentGiven"]]),
    "refused": ((given(), other(Kind.REFUSED)), [["dpv:ConsentGiven"], ["dpv:ConsentRefused"]]),
    "withdrawn": ((given(), withdrawn()), [["dpv:ConsentGiven"], ["dpv:ConsentWithdrawn"]]),
    "withdrawn from all": (
        (given(), withdrawn(source=ANY, purpose=ANY)),
        [["dpv:ConsentGiven"], ["dpv:ConsentWithdrawn"]],
    ),
    "revoked": ((given(), other(Kind.REVOKED)), [["dpv:ConsentGiven"], ["dpv:ConsentRevoked"]]),
    "invalidated": ((given(), other(Kind.INVALIDATED)), [["dpv:ConsentGiven"], ["dpv:ConsentInvalidated"]]),
    "superseded": (
        (given(), other(Kind.SUPERSEDED)),
        [["dpv:ConsentGiven"], ["dpv:ConsentExpired", "assent:ConsentSuperseded"]],
    ),
    "expired": ((given(until=NOW + 50 * DAY),), [["dpv:ConsentGiven"], ["dpv:ConsentExpired"]]),
    "withdrawn, so never expired": (
        (given(until=NOW + 50 * DAY), withdrawn()),
        [["dpv:ConsentGiven"], ["dpv:ConsentWithdrawn"]],
    ),
    "paused": (
        (given(), other(Kind.PAUSED)),
        [["dpv:ConsentGiven"], ["dpv:ConsentStatusInvalidForProcessing", "assent:ConsentPaused"]],
    ),
    "resumed": (
        (given(), other(Kind.PAUSED), other(Kind.RESUMED)),
        [
            ["dpv:ConsentGiven"],
            ["dpv:ConsentStatusInvalidForProcessing", "assent:ConsentPaused"],
            ["dpv:ConsentGiven", "assent:ConsentResumed"],
        ],
    ),
    "held, paused, released": (
        (
            given(),
            other(Kind.HOLD_PLACED, hold_id="h"),
            other(Kind.PAUSED),
            other(Kind.HOLD_RELEASED, hold_id="h"),
        ),
        [
            ["dpv:ConsentGiven"],
            ["dpv:ConsentStatusInvalidForProcessing", "assent:ConsentRestricted"],
            ["dpv:ConsentStatusInvalidForProcessing", "assent:ConsentRestricted"],
            [
                "dpv:ConsentStatusInvalidForProcessing",
                "assent:ConsentPaused",
                "assent:RestrictionLifted",
            ],
        ],
    ),
    "erased": (
        (given(), other(Kind.ERASURE_REQUESTED, purpose=ANY), other(Kind.ERASED, purpose=ANY)),
        [
            ["dpv:ConsentGiven"],
            ["dpv:ConsentStatusInvalidForProcessing", "assent:ConsentRestricted"],
            ["dpv:ConsentStatusInvalidForProcessing", "assent:ConsentErased"],
        ],
    ),
    "a later grant": (
        (given(), given(), withdrawn()),
        [["dpv:ConsentGiven"], ["dpv:ConsentExpired", "assent:ReplacedByGrant"]],
    ),
    "a link is somebody else's": ((given(), event(Kind.LINKED, co_subject=BELA)), [["dpv:ConsentGiven"]]),
    "about another purpose": (
        (given(), withdrawn(purpose="model_training")),
        [["dpv:ConsentGiven"]],
    ),
}


class TestStatuses:
    @pytest.mark.parametrize("name", LIVES)
    def test_lives(self, name: str) -> None:
        """Each life reads as these statuses, oldest first."""
        said, expected = LIVES[name]
        assert terms_of(record(history(*said))) == expected

    def test_who_said_it(self) -> None:
        """The person, a guardian, an authority, or the lender; the clock's word is the lender's."""
        said = history(*FULL)
        by = [s["dpv:isIndicatedBy"]["@id"] for s in record(said)["dpv:hasConsentStatus"]]
        assert by[0].endswith(ANNA)
        assert by[5:] == [
            "dpv:GuardianOfDataSubject",
            "dpv:Authority",
            by[0],
            LENDER.url,
        ]
        expired = record(history(given(until=NOW + DAY)))["dpv:hasConsentStatus"][-1]
        assert expired["dpv:isIndicatedBy"] == {"@id": LENDER.url}
        assert expired["dpv:hasIndicationMethod"] == "the clock"

    def test_a_hold_that_is_older_than_the_grant_restricts_it(self) -> None:
        """Until it is released; one that was released before the grant is no part of its life."""
        held = history(other(Kind.HOLD_PLACED, source=ANY, purpose=ANY, hold_id="h"), given())
        assert terms_of(record(held, grant=1))[-1][-1] == "assent:ConsentRestricted"
        freed = history(
            other(Kind.HOLD_PLACED, source=ANY, purpose=ANY, hold_id="h"),
            other(Kind.HOLD_RELEASED, source=ANY, purpose=ANY, hold_id="h"),
            given(),
        )
        assert terms_of(record(freed, grant=2)) == [["dpv:ConsentGiven"]]

    def test_an_invalidation_names_its_grant(self) -> None:
        """The invalidation of another grant is no part of this one's life."""
        said = history(given(grant_id="a" * 32), replace(other(Kind.INVALIDATED), grant_id="b" * 32))
        assert terms_of(record(said)) == [["dpv:ConsentGiven"]]

    def test_what_is_not_yet_in_effect_is_not_yet_there(self) -> None:
        """The record of an earlier instant knows nothing of a later withdrawal."""
        said = history(given(), withdrawn())
        assert terms_of(record(said, as_of=NOW)) == [["dpv:ConsentGiven"]]

    @settings(max_examples=400, deadline=None)
    @given_examples(
        st.lists(
            st.tuples(
                st.sampled_from([k for k in Kind if k is not Kind.LINKED]),
                st.integers(-6, 6),
                st.sampled_from(["h1", "h2"]),
                st.booleans(),
            ),
            max_size=7,
        ),
        st.integers(0, 30),
    )
    def test_the_last_status_is_the_decision(
        self, drawn: list[tuple[Kind, int, str, bool]], days: int
    ) -> None:
        """For any history: the last status of a grant is valid just where `decide` says yes on its strength."""
        said = []
        for i, (kind, shift, hold, wide) in enumerate([(Kind.GIVEN, 0, "", False), *drawn]):
            at = NOW + (2 * i + shift) * DAY
            one = given(at=at, until=at + 12 * DAY) if kind is Kind.GIVEN else event(kind, at=at)
            everywhere = wide and kind not in (Kind.GIVEN, Kind.REFUSED)
            one = replace(
                one,
                hold_id=hold if kind in (Kind.HOLD_PLACED, Kind.HOLD_RELEASED) else None,
                source=ANY if everywhere else one.source,
                purpose=ANY if everywhere else one.purpose,
            )
            said.append(Recorded(i, NOW + 2 * i * DAY, one))
        as_of = NOW + days * DAY
        facts = Facts(tuple(to_statement(r) for r in said))
        decision = decide(facts, "spending", "credit_scoring", data_at=None, as_of=as_of)
        for r in said:
            grant = r.event.grant
            if grant is None or r.event.effective_at > as_of:
                continue
            last = statuses(r, said, as_of)[-1]
            usable = decision.allowed and decision.grant_id == grant.grant_id
            assert bool(VALID & set(last.terms)) == usable


class TestReceipt:
    def test_what_the_person_gets(self) -> None:
        """An id of its own, the ledger and the place in it, and how to withdraw."""
        document = receipt(history(given()))
        assert document["@type"] == "dpv:ConsentReceipt"
        assert document["dct:identifier"] == RECEIPT_ID
        assert (document["assent:ledgerOrigin"], document["assent:leafIndex"]) == ("assent/test-log", 0)
        assert document["dpv:hasConsentControl"]["dpv:isExercisedAt"] == {"@id": LENDER.withdraw_at}

    def test_the_ground_of_a_hold_is_not_in_it(self) -> None:
        """The lender's record has it; the person's copy has not, but has why consent was revoked."""
        said = history(*FULL)
        assert "a court's order" in json.dumps(record(said))
        copy = json.dumps(receipt(said))
        assert "a court's order" not in copy
        assert "case 7" not in copy + json.dumps(record(said))
        assert "guardianship" in copy

    def test_the_co_subject_is_not_in_it(self) -> None:
        """A person's record never names somebody else."""
        said = history(given(), event(Kind.LINKED, co_subject=BELA))
        assert BELA not in json.dumps(receipt(said)) + json.dumps(record(said))


class TestReadBack:
    @pytest.mark.parametrize("retention", [None, 400 * DAY, timedelta(hours=36)])
    def test_round_trip(self, retention: timedelta | None) -> None:
        """All terms of the grant, the lender, and every state with its time."""
        more = {"retention": retention, "data_life": 90 * DAY, "data_until": NOW + 30 * DAY}
        said = history(given(**more), withdrawn())
        for document in (record(said), receipt(said)):
            back = read_record(json.loads(json.dumps(document)))
            first = said[0].event
            assert back.grant == first.grant
            assert back.controller == LENDER
            assert (back.record_id, back.subject_key) == (first.event_id, ANNA)
            assert (back.source, back.purpose) == (first.source, first.purpose)
            assert [s.at for s in statuses(said[0], said, NOW + 100 * DAY)] == [at for _, at in back.states]

    @pytest.mark.parametrize("code", ["CN", "DE", "IN-KA", "XK", "XK-1"])
    def test_any_jurisdiction_comes_back(self, code: str) -> None:
        """Also a region, and a code that DPV has no term for."""
        first = given()
        assert first.grant is not None
        first = replace(first, grant=replace(first.grant, jurisdiction=code))
        assert read_record(record(history(first))).grant.jurisdiction == code

    @pytest.mark.parametrize("document", [{}, {"dpv:hasProcess": []}, {"dpv:hasRecordOfActivity": 1}])
    def test_what_is_no_record(self, document: dict[str, Any]) -> None:
        """Is a bad input."""
        with pytest.raises(BadInput):
            read_record(document)

    def test_a_statement_without_terms_has_no_record(self) -> None:
        """A refusal has no notice and no end: no field that 27560 makes mandatory could be filled."""
        with pytest.raises(BadInput):
            record(history(other(Kind.REFUSED)))


def test_the_history_of_a_grant() -> None:
    """All that is said about its source and purpose, also what is said of all sources or purposes."""
    said = on_record(
        [
            given(),
            withdrawn(purpose="model_training"),
            withdrawn(source="app_usage"),
            withdrawn(source=ANY, purpose=ANY),
            withdrawn(source=ANY, purpose="credit_scoring"),
        ]
    )
    assert [r.leaf_index for r in about_same(said, said[0])] == [0, 3, 4]


class TestController:
    TABLE = {  # noqa: RUF012
        "name": "Example Lending Ltd",
        "address": "1 Example Road",
        "contact": "privacy@lender.example",
        "url": "https://lender.example",
        "withdraw_at": "mailto:consent@lender.example",
        "storage_locations": ["CN"],
    }

    def test_the_example_can_be_pasted(self) -> None:
        """The remedy's own lines are accepted."""
        assert parse_controller(tomllib.loads(EXAMPLE)["controller"]).storage_locations == ("CN",)
        assert parse_controller(self.TABLE).recipients == ()

    @pytest.mark.parametrize(
        "change",
        [
            *({name: None} for name in ("name", "address", "contact", "url", "withdraw_at")),
            {"storage_locations": None},
            {"storage_locations": []},
            {"storage_locations": ["China"]},
            {"storage_locations": "CN"},
            {"recipients": "Bureau"},
            {"recipients": [1]},
            {"name": " "},
            {"name": "two\nlines"},
            {"address": "x" * 501},
            {"url": "lender.example"},
            {"url": "javascript:alert(1)"},
            {"withdraw_at": "the branch office"},
            {"dpo": "somebody"},
        ],
    )
    def test_wrong_tables(self, change: dict[str, Any]) -> None:
        """Strict, and the remedy shows the lines to write."""
        table = {name: value for name, value in (self.TABLE | change).items() if value is not None}
        with pytest.raises(ConfigError) as refused:
            parse_controller(table)
        assert "[controller]" in refused.value.remedy

    @pytest.mark.parametrize("table", [1, None, "Lending Ltd", ["name"]])
    def test_what_is_no_table(self, table: object) -> None:
        """Is refused in the same way."""
        with pytest.raises(ConfigError):
            parse_controller(table)

    def test_nobody_is_named(self) -> None:
        """A gap: no export without somebody who answers for the data; the remedy shows the lines to add."""
        with pytest.raises(Gap) as gap:
            require_controller(None)
        assert "[controller]" in gap.value.remedy
        assert require_controller(LENDER) is LENDER


def example_document() -> dict[str, Any]:
    """The record shown in the docs."""
    first = given(grant_id="1" * 32, event_id="2" * 32, data_life=365 * DAY, retention=730 * DAY)
    lender = parse_controller(tomllib.loads(EXAMPLE)["controller"])
    said = history(first, replace(withdrawn(event_id="3" * 32), channel="app"))
    return consent_record(said[0], said, lender, as_of=NOW + 100 * DAY)


class TestDocs:
    TEXT = (Path(__file__).parents[2] / "docs" / "consent-records.md").read_text(encoding="utf-8")

    def test_the_example_is_a_real_record(self) -> None:
        """The document in docs/consent-records.md is what the code makes, and so is the table to paste."""
        (shown,) = re.findall(r"```json\n(.*?)\n```", self.TEXT, re.S)
        assert json.loads(shown) == example_document()
        assert f"```toml\n{EXAMPLE}\n```" in self.TEXT

    def test_every_mandatory_field_and_every_status_is_explained(self) -> None:
        """The page has a row for each field of 27560, each entry's terms and each term of our own."""
        for field, path in MANDATORY.items():
            row = f"| {field} | " + " → ".join(f"`{key}`" for key in path.split()) + " |"
            assert row in self.TEXT
        used = {
            compact(i) for said in (FULL, (*FULL[:3], given())) for i in iris(expand(receipt(history(*said))))
        }
        own = {term.removeprefix("assent:") for term in used if term.startswith("assent:")}
        assert all(f"`{term}`" in self.TEXT or f"`assent:{term}`" in self.TEXT for term in own)
        states = {term for term in used if term.startswith("dpv:Consent")}
        states -= {"dpv:ConsentRecord", "dpv:ConsentReceipt", "dpv:ConsentNotice"}
        assert all(f"`{term}`" in self.TEXT for term in states)
