"""What the consent API takes and gives, as its OpenAPI page describes it.

The texts are read by `consent.exchange.statements`, which has the rules; here are names, kinds and lengths alone.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from consent.catalog import PURPOSES, SOURCES
from consent.directory import MAX_SUBJECT_ID

_MAX_TEXT = 200

Subject = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MAX_SUBJECT_ID,
        description="The lender's customer number. It is turned into a pseudonym and not kept.",
        examples=["C-1042"],
    ),
]
Source = Annotated[str, Field(max_length=40, description="Which data.", examples=sorted(SOURCES))]
Purpose = Annotated[str, Field(max_length=40, description="What for.", examples=sorted(PURPOSES))]
Instant = Annotated[
    str,
    Field(
        max_length=40,
        description="ISO 8601 date or date-time; without an offset it is UTC.",
        examples=["2027-06-30T00:00:00Z"],
    ),
]
Text = Annotated[str, Field(min_length=1, max_length=_MAX_TEXT)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-fA-F]{64}$", examples=["ab" * 32])]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


class NoticeSeen(_Body):
    """The text the person saw."""

    id: Text = Field(examples=["spending-notice"])
    version: Text = Field(examples=["3"])
    language: Text = Field(description="BCP 47 tag.", examples=["zh-CN"])
    sha256: Sha256 = Field(description="Of its exact text.")


class Yes(_Body):
    """A person agrees to one source for one purpose; a bundle is several of these."""

    decision: Literal["given"]
    subject_id: Subject
    source: Source
    purpose: Purpose
    notice: NoticeSeen
    jurisdiction: Text = Field(description="ISO 3166 code of the law it is given under.", examples=["CN"])
    method: Text = Field(description="How it was expressed.", examples=["toggle, default off"])
    expires_at: Instant
    data_from: Instant
    data_until: Instant | None = None
    data_life_days: int | None = Field(None, ge=1, le=36_500, description="How old data may get in use.")
    retention_days: int | None = Field(None, ge=1, le=36_500, description="How long data may be stored.")
    replaces: Text | None = Field(None, description="The grant_id of the grant that this one renews.")
    channel: Text | None = Field(None, examples=["app"])
    evidence_sha256: Sha256 | None = None


class No(_Body):
    """A person refuses one source for one purpose."""

    decision: Literal["refused"]
    subject_id: Subject
    source: Source
    purpose: Purpose
    channel: Text | None = Field(None, examples=["app"])


Answer = Annotated[Yes | No, Field(discriminator="decision")]


class Withdrawal(_Body):
    """A person withdraws: only who. What is left out means everything."""

    subject_id: Subject
    source: Source = Field("*", description="Left out: every source.")
    purpose: Purpose = Field("*", description="Left out: every purpose.")
    channel: Text | None = Field(None, examples=["app"])


class Question(_Body):
    """Where a person stands."""

    subject_id: Subject
    source: Source | None = None
    purpose: Purpose | None = None
    as_of: Instant | None = Field(None, description="The instant asked about; left out: now.")
    known_at: Instant | None = Field(
        None, description="The state of knowledge; left out: everything on record."
    )


class ReceiptWanted(_Body):
    """Of which consent a receipt is wanted: of one grant, or of the latest for a source and purpose."""

    subject_id: Subject
    source: Source | None = None
    purpose: Purpose | None = None
    grant_id: Text | None = None


class Entry(BaseModel):
    """What was recorded."""

    entry: int = Field(description="Its place in the ledger, from 0.", examples=[41])
    event: str = Field(examples=["given"])
    source: str = Field(examples=["spending"])
    purpose: str = Field(examples=["credit_scoring"])
    recorded_at: str = Field(examples=["2026-11-23T08:00:00Z"])
    effective_at: str = Field(examples=["2026-11-23T08:00:00Z"])
    grant_id: str | None = Field(None, examples=["4f0c6a2e9d3b4a17a0d5c1e2b3f4a596"])


class Withdrawn(BaseModel):
    """Nothing of what was named may be used from now on, in any process."""

    recorded: Entry | None = Field(description="The entry; null: there was nothing left to withdraw.")


class Standing(BaseModel):
    """The answer for one source and purpose."""

    source: str = Field(examples=["spending"])
    purpose: str = Field(examples=["credit_scoring"])
    allowed: bool
    reason: str | None = Field(description="Why not.", examples=["WITHDRAWN"])
    grant_id: str | None = None
    expires_at: str | None = None
    imported: bool = Field(description="Whether it rests on what another system of record vouches for.")


class State(BaseModel):
    """Where a person stands."""

    as_of: str = Field(examples=["2026-11-23T08:00:00Z"])
    known_at: str | None = None
    decisions: list[Standing]


class Problem(BaseModel):
    """What went wrong, and what to do about it (RFC 9457)."""

    type: str = Field(examples=["urn:x-assent:problem:BAD_FIELD"])
    title: str = Field(examples=["Unprocessable Content"])
    status: int = Field(examples=[422])
    detail: str = Field(examples=["expires_at is not an ISO 8601 date or date-time"])
    remedy: str = Field(examples=["Write it like 2026-11-23 or 2026-11-23T08:00:00+08:00."])
    code: str = Field(description="Stable, for programs.", examples=["BAD_FIELD"])
    fields: list[str] | None = Field(None, description="Fields of the body that are at fault.")


#: A whole request, for the OpenAPI page.
EXAMPLE_YES: dict[str, Any] = {
    "decision": "given",
    "subject_id": "C-1042",
    "source": "spending",
    "purpose": "credit_scoring",
    "notice": {"id": "spending-notice", "version": "3", "language": "zh-CN", "sha256": "ab" * 32},
    "jurisdiction": "CN",
    "method": "toggle, default off",
    "expires_at": "2027-06-30",
    "data_from": "2025-01-01",
}
EXAMPLE_NO: dict[str, Any] = {
    "decision": "refused",
    "subject_id": "C-1042",
    "source": "app_usage",
    "purpose": "credit_scoring",
}
