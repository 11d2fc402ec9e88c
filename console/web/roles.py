"""Who may do what: the one table. A page that is not in it is shown to nobody."""

from __future__ import annotations

from collections.abc import Mapping

from consent.tokens import Role

_OFFICER = frozenset({Role.OFFICER})
_EVIDENCE = frozenset({Role.OFFICER, Role.AUDITOR})
_MODELS = frozenset({Role.OFFICER, Role.AUDITOR, Role.MODELER})
_RECORDS = frozenset({Role.OFFICER, Role.RECORDER})
_ALL = frozenset(Role)

#: Before anybody has signed in.
PUBLIC = frozenset(
    {"sign_in", "sign_in_token", "sign_in_link", "use_link", "openid", "openid_back", "language", "static"}
)

#: Name of a page or act -> the roles that may reach it.
ALLOWED: Mapping[str, frozenset[Role]] = {
    "overview": _ALL,
    "figures": _ALL,
    "sign_out": _ALL,
    "person_find": _RECORDS,
    "person_look_up": _RECORDS,
    "person": _RECORDS,
    "person_matrix": _RECORDS,
    "person_held": _OFFICER,
    "person_accesses": _OFFICER,
    "person_proof": _OFFICER,
    "person_record": _OFFICER,
    "withdraw_form": _RECORDS,
    "withdraw": _RECORDS,
    "export_form": _OFFICER,
    "export": _OFFICER,
    "erase_form": _OFFICER,
    "erase": _OFFICER,
    "hold_form": _OFFICER,
    "hold": _OFFICER,
    "release_form": _OFFICER,
    "release": _OFFICER,
    "ledger": _EVIDENCE,
    "ledger_proof": _EVIDENCE,
    "ledger_record": _EVIDENCE,
    "checkpoint": _EVIDENCE,
    "verify": _EVIDENCE,
    "explain": _OFFICER,
    "explained": _OFFICER,
    "runs": _MODELS,
    "run": _MODELS,
    "quarantine": _MODELS,
    "training": _MODELS,
    "requests": _EVIDENCE,
    "certificates": _EVIDENCE,
    "certificate": _EVIDENCE,
    "certificate_file": _EVIDENCE,
    "accesses": _EVIDENCE,
    "reports": _EVIDENCE,
    "report": _EVIDENCE,
    "report_file": _EVIDENCE,
    "report_person": _OFFICER,
}


def may(role: Role | None, name: str) -> bool:
    """Whether somebody may reach a page or act; None: nobody has signed in."""
    return name in PUBLIC or (role is not None and role in ALLOWED.get(name, frozenset()))
