"""Which sources and purposes exist, and which sources no consent can ever open.

Source: W3C Data Privacy Vocabulary 2.3 (purposes, personal data categories); EU Directive 2023/2225 Art. 18(3)
(no social-network or health data in creditworthiness assessments); RBI Digital Lending Directions 2025
(no contacts, call logs, files or media).
"""

from __future__ import annotations

import re
from importlib.metadata import entry_points

from consent.errors import ConfigError, Denied

#: The sources that come with Assent -> W3C DPV personal-data category.
BUILT_IN = {
    "app_usage": "pd:DeviceApplications",
    "employment": "pd:EmploymentHistory",
    "spending": "pd:Transaction",
}

#: Installed packages add sources by naming them under this entry point, see docs/adding-a-source.md:
#: the name is the source's, the value its W3C DPV category. No code of theirs is loaded here.
ENTRY_POINT = "assent.catalog"

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


#: The same by W3C DPV category, whatever a source calls itself.
PROHIBITED_CATEGORIES = frozenset(
    f"pd:{name}"
    for name in (
        *("CallLog", "Communication", "Contact", "SocialMediaCommunication", "SocialNetwork"),
        *("Location", "Picture", "DNACode", "Genetic", "Disability", "DrugTestResult"),
        *("Health", "HealthHistory", "HealthRecord", "MedicalHealth", "MentalHealth", "PhysicalHealth"),
    )
)


def fault_of(name: str, category: str, taken: frozenset[str] | set[str]) -> str:
    """Why a source cannot join the catalog; empty if it can."""
    if name in PROHIBITED or category in PROHIBITED_CATEGORIES:
        return "this data is prohibited: no consent can open it"
    if re.fullmatch("[a-z][a-z0-9_]{1,39}", name) is None:
        return "its name is not 2 to 40 small letters, digits and _"
    if name in taken:
        return "there is another source of this name"
    if re.fullmatch("pd:[A-Z][A-Za-z]{1,60}", category) is None:
        return "its category is none of W3C DPV's, such as pd:Transaction"
    return ""


def _installed() -> tuple[dict[str, str], dict[str, str]]:
    """Sources of installed packages -> category, and those that cannot join -> why."""
    added: dict[str, str] = {}
    faults: dict[str, str] = {}
    for point in sorted(entry_points(group=ENTRY_POINT), key=lambda p: (p.name, p.value)):
        if fault := fault_of(point.name, point.value, {*BUILT_IN, *added}):
            faults[point.name] = fault
        else:
            added[point.name] = point.value
    return added, faults


_added, FAULTS = _installed()

#: Source name -> W3C DPV personal-data category.
SOURCES = BUILT_IN | _added


def require_sound_catalog() -> None:
    """Refuse to work while an installed package registers a source that cannot join the catalog.

    Raises:
        Denied: the source is prohibited.
        ConfigError: it is not described as it must be, or its name is taken.
    """
    for name, fault in FAULTS.items():
        said, remedy = f"an installed package registers the source {name!r}: {fault}", "Uninstall or mend it."
        if "prohibited" in fault:
            raise Denied(said, remedy=remedy, code="PROHIBITED")
        raise ConfigError(said, remedy=remedy)


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
