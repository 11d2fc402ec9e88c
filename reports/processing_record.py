"""The record of processing activities, from the live catalog, settings and ledger: a document that cannot drift."""

from __future__ import annotations

from collections.abc import Iterator

from consent.catalog import PURPOSES, SOURCES
from consent.exchange.controller import require_controller
from consent.knowledge import GIVEN
from consent.tallies import count_states
from reports.query import Definition, Scope
from reports.table import Row, count, text

_SECURITY = (
    "Records sealed with AES-256-GCM under a key per person and source; feature files encrypted; pseudonyms outside"
    " the seals; consent decided at every load and read; append-only signed ledger and access log. See SECURITY.md."
)
_AUTOMATED = (
    "Features are computed automatically and handed to the lender's scoring; this system holds no scores and takes no"
    " decisions."
)


def rows(scope: Scope) -> Iterator[Row]:
    """One row per source and purpose."""
    from feature_repo.stores.setup import read_services  # Feast takes seconds to load
    from ingestion.sources import SOURCES as DEFINED

    controller = require_controller(scope.home.settings.controller)
    services = read_services(scope.home)
    storage = scope.home.settings.storage
    for source in scope.sources:
        for purpose in scope.purposes:
            users = [
                s.name
                for s in services
                if s.purpose == purpose
                and any(f.partition(":")[0] == DEFINED[source].definition for f in s.features)
            ]
            (states,) = count_states(scope.timeline, source, purpose, [scope.as_of])
            yield (
                f"{source} for {purpose}",
                controller.name,
                controller.address,
                controller.contact,
                controller.url,
                PURPOSES[purpose],
                "consent of the person, one per source and purpose (GDPR Art. 6(1)(a))",
                "applicants and borrowers",
                states[GIVEN],
                SOURCES[source],
                ", ".join(column.name for column in DEFINED[source].columns),
                DEFINED[source].doc,
                ", ".join(controller.recipients) or "none",
                ", ".join(controller.storage_locations),
                f"while consent is in force, as long as the grant allows, and {storage.grace_days} days after its"
                f" end; quarantine {storage.quarantine_days} days; consent records {storage.evidence_days} days after"
                f" an erasure; backups {storage.backup_days} days",
                _SECURITY,
                ", ".join(users) or None,
                _AUTOMATED if users else None,
                controller.withdraw_at,
            )


REPORT = Definition(
    "processing-record",
    "Record of processing activities",
    "The record that GDPR Art. 30(1) asks for, one row per source and purpose, from the catalog, the settings of"
    " assent.toml, the feature services and the ledger as they are at the moment of the report (or, the count of"
    " people, at as_of).",
    (
        text("activity", "The processing activity."),
        text("controller", "Art. 30(1)(a): who answers for the data."),
        text("address", "Art. 30(1)(a): their address."),
        text("contact", "Art. 30(1)(a): their contact; name the data protection officer's there."),
        text("url", "Their web address."),
        text("purpose", "Art. 30(1)(b): the purpose as a term of W3C DPV."),
        text("legal_basis", "The ground."),
        text("data_subjects", "Art. 30(1)(c): whose data."),
        count("people", "people", "Of whom consent is in force."),
        text("data_category", "Art. 30(1)(c): the category as a term of W3C DPV."),
        text("fields", "The fields of the records."),
        text("collected", "What the source is, and where it comes from."),
        text("recipients", "Art. 30(1)(d): who else receives it."),
        text("storage_locations", "Art. 30(1)(e): countries it is stored in, ISO 3166-1."),
        text("retention", "Art. 30(1)(f): how long it is kept."),
        text("security", "Art. 30(1)(g): how it is protected."),
        text("used_by", "Feature services that use it for this purpose."),
        text("automated_decisions", "What is automated."),
        text("withdraw_at", "Where consent is withdrawn."),
    ),
    rows,
    takes=frozenset({"source", "purpose", "as_of"}),
    notes=(
        "A data protection officer, safeguards of transfers (Art. 30(1)(e)), and processors are not settings of this"
        " system: add them where they apply.",
        "Stricter ends that single grants name (data_life, retention) hold as well.",
    ),
)
