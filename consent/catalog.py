"""Which sources and purposes exist, and which sources no consent can ever open.

Source: W3C Data Privacy Vocabulary 2.3 (purposes, personal data categories); EU Directive 2023/2225 Art. 18(3)
(no social-network or health data in creditworthiness assessments); RBI Digital Lending Directions 2025
(no contacts, call logs, files or media).
"""

from __future__ import annotations

from consent.errors import ConfigError, Denied

#: Source name -> W3C DPV personal-data category.
SOURCES = {
    "app_usage": "pd:DeviceApplications",
    "employment": "pd:EmploymentHistory",
    "spending": "pd:Transaction",
}

#: Purpose name -> W3C DPV purpose or operation.
PURPOSES = {
    "credit_scoring": "sector-finance:CreditScoreEvaluation",
    "model_training": "ai:ModelTraining",
    "fraud_detection": "sector-finance:FraudManagement",
    "loan_servicing": "sector-finance:LoanServiceProvision",
}

#: Sources that are refused whatever anybody agreed to.
PROHIBITED = frozenset(
    {"contacts", "call_logs", "media", "files", "location", "social_graph", "social_network", "health"}
)


def require_source(name: str) -> str:
    """The name, if it is a source of the catalog.

    Raises:
        Denied: the source is prohibited, consent or not.
        ConfigError: there is no such source.
    """
    if name in PROHIBITED:
        raise Denied(
            f"source {name} is prohibited: no consent can open it",
            remedy="Leave this data out; see the catalog in consent/catalog.py for the law behind it.",
            code="PROHIBITED",
        )
    if name not in SOURCES:
        raise ConfigError(f"there is no source {name!r}", remedy=f"Use one of: {', '.join(sorted(SOURCES))}.")
    return name


def require_purpose(name: str) -> str:
    """The name, if it is a purpose of the catalog.

    Raises:
        ConfigError: there is no such purpose.
    """
    if name not in PURPOSES:
        raise ConfigError(
            f"there is no purpose {name!r}", remedy=f"Use one of: {', '.join(sorted(PURPOSES))}."
        )
    return name
