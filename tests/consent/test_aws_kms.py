"""What is AWS KMS's own: deletion with a delay, one key per epoch, its refusals told apart."""

from __future__ import annotations

import base64
import json
import re
from datetime import UTC, datetime, timedelta

import pytest

from consent import aws_kms
from consent.aws_kms import AwsKms
from consent.errors import EvidenceError, Unavailable
from consent.key_service import parse_key_service
from tests.consent.consent_samples import DAY
from tests.consent.key_places import (
    AAD,
    DOCS,
    KEY,
    NAME,
    Place,
    make,
    restore,
    silent_server,
)
from tests.kms_server import REGION, KmsServer, error


@pytest.mark.parametrize("days", [7, 8, 30])
def test_aws_deletes_later_and_refuses_at_once(aws: Place, kms: KmsServer, days: int) -> None:
    """The date is the one KMS gives, in UTC; destroying again does not put it off."""
    assert aws.settings is not None
    settings = parse_key_service(aws.settings.to_dict() | {"deletion_window_days": days})
    place = Place(aws.ring, settings, kms)
    make(place, 1, 2)
    before = place.files()
    asked_at = datetime.now(UTC)
    destroyed = place.epochs().destroy(1)
    assert timedelta(days=days) <= destroyed.effective_at - asked_at + timedelta(seconds=1)
    assert destroyed.effective_at - asked_at < timedelta(days=days) + timedelta(minutes=1)
    assert 7 * DAY <= destroyed.effective_at - asked_at + timedelta(seconds=1) <= 31 * DAY
    assert destroyed.effective_at.tzinfo is UTC
    restore(place, before)
    with pytest.raises(Unavailable, match="deletion is scheduled"):
        place.epochs().read(1)
    assert place.epochs().destroy(1).effective_at == destroyed.effective_at


def test_aws_keeps_one_key_per_epoch(aws: Place, kms: KmsServer) -> None:
    """Symmetric, described, tagged; a run that broke off before the file was written finds its key again."""
    service = aws.service()
    version = service.create(NAME, 1)
    aws.epochs().ensure(1)
    assert json.loads(aws.file(1).read_bytes())["version"] == version
    assert service.create(NAME, 1) == version
    aws.epochs().ensure(2)
    assert len(kms.keys) == 2
    key = kms.keys[version]
    assert (key.key_spec, key.key_usage) == ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT")
    assert not key.multi_region
    assert "epoch key 1" in key.description
    found = service._ask("list_resource_tags", KeyId=version)["Tags"]
    assert {tag["TagKey"]: tag["TagValue"] for tag in found} == {"assent": NAME, "assent-epoch": "1"}
    aliases = service._ask("list_aliases")["Aliases"]
    assert {a["AliasName"] for a in aliases if "assent" in a["AliasName"]} == {
        f"alias/{NAME}-epoch-000001",
        f"alias/{NAME}-epoch-000002",
    }


def test_aws_does_not_take_up_a_key_whose_deletion_is_scheduled(aws: Place, kms: KmsServer) -> None:
    """As of an earlier home of the same name: a new key is made, and the alias moved."""
    service = aws.service()
    old = service.create(NAME, 1)
    service.destroy(old)
    new = service.create(NAME, 1)
    assert new != old
    assert service.create(NAME, 1) == new
    assert service.unwrap(new, service.wrap(new, KEY, AAD), AAD) == KEY


def test_aws_refuses_a_disabled_key_until_it_is_enabled(aws: Place, kms: KmsServer) -> None:
    """For making, reading; destroying it works all the same."""
    make(aws, 1, 2)
    key = aws.epochs().read(1)
    version = json.loads(aws.file(1).read_bytes())["version"]
    kms.keys[version].enabled, kms.keys[version].key_state = False, "Disabled"
    with pytest.raises(Unavailable, match="disabled"):
        aws.epochs().read(1)
    with pytest.raises(Unavailable, match="disabled"):
        aws.service().create(NAME, 1)
    kms.keys[version].enabled, kms.keys[version].key_state = True, "Enabled"
    assert aws.epochs().read(1) == key
    kms.keys[version].enabled, kms.keys[version].key_state = False, "Disabled"
    assert aws.epochs().destroy(1).service == "aws-kms"


def test_aws_checks_which_key_answered(aws: Place, kms: KmsServer) -> None:
    """An answer under another key's name is refused, though what it holds looks right."""
    service = aws.service()
    version = service.create(NAME, 1)
    blob = service.wrap(version, KEY, AAD)
    stranger = {"KeyId": f"arn:aws:kms:{REGION}:1:key/other", "Plaintext": base64.b64encode(KEY).decode()}
    kms.script.append((200, json.dumps(stranger)))
    with pytest.raises(EvidenceError):
        service.unwrap(version, blob, AAD)
    with pytest.raises(EvidenceError):
        service.unwrap(version, blob, b"bound to something else")
    assert service.unwrap(version, blob, AAD) == KEY


def test_aws_does_not_take_a_missing_key_for_a_destroyed_one(aws: Place, kms: KmsServer) -> None:
    """It may be the wrong account: the epoch's file stays, and the remedy says so."""
    make(aws, 1, 2)
    files = aws.files()
    kms.keys.clear()
    for attempt in (aws.epochs().read, aws.epochs().destroy):
        with pytest.raises(Unavailable, match="does not know") as caught:
            attempt(1)
        assert "account" in caught.value.remedy
    assert aws.files() == files


REFUSALS = [
    ("AccessDeniedException", 400, "access"),
    ("DisabledException", 400, "disabled"),
    ("ExpiredTokenException", 400, "credentials"),
    ("InvalidSignatureException", 400, "credentials"),
    ("KMSInvalidStateException", 400, "deletion is scheduled"),
    ("LimitExceededException", 400, "quota"),
    ("NotFoundException", 400, "does not know"),
    ("UnrecognizedClientException", 400, "credentials"),
    ("ValidationException", 400, "refused"),
    ("Never heard of", 400, "refused"),
    ("InvalidGrantTokenException", 400, "refused"),
]


@pytest.mark.parametrize(("code", "status", "said"), REFUSALS)
def test_aws_refusals_are_told_apart(aws: Place, kms: KmsServer, code: str, status: int, said: str) -> None:
    """By their code, never by their text; each has a remedy."""
    make(aws, 1)
    kms.script += [error(code, status)] * 3
    with pytest.raises(Unavailable, match=said) as caught:
        aws.epochs().read(1)
    assert caught.value.remedy
    kms.script.clear()
    assert len(aws.epochs().read(1)) == 32


@pytest.mark.parametrize("code", ["InvalidCiphertextException", "IncorrectKeyException"])
def test_aws_evidence_errors_are_told_apart(aws: Place, kms: KmsServer, code: str) -> None:
    """The two codes that say: this does not belong to that key."""
    make(aws, 1)
    kms.script.append(error(code))
    with pytest.raises(EvidenceError):
        aws.epochs().read(1)


@pytest.mark.parametrize(
    ("code", "status"), [("ThrottlingException", 400), ("KMSInternalException", 500), ("Throttling", 429)]
)
def test_aws_is_asked_again_when_it_is_busy(aws: Place, kms: KmsServer, code: str, status: int) -> None:
    """Twice; if it still is, that is said."""
    make(aws, 1)
    kms.script += [error(code, status)] * 2
    assert len(aws.epochs().read(1)) == 32
    kms.script += [error(code, status)] * 3
    with pytest.raises(Unavailable, match="busy"):
        aws.epochs().read(1)
    assert kms.script == []


@pytest.mark.parametrize(
    "answer",
    [
        (200, ""),
        (200, "{}"),
        (200, "[]"),
        (200, "<html>Log in</html>"),
        (200, '{"KeyId": 3}'),
        (200, '{"KeyId": "x", "Plaintext": "?"}'),
        (302, "<html>Log in</html>"),
        (403, "<html>Forbidden</html>"),
        (404, ""),
        (400, "[]"),
    ],
)
def test_aws_answers_that_are_not_kms_open_nothing(
    aws: Place, kms: KmsServer, answer: tuple[int, str]
) -> None:
    """As a proxy that wants somebody to log in."""
    make(aws, 1)
    kms.script.append(answer)
    with pytest.raises((Unavailable, EvidenceError)):
        aws.epochs().read(1)
    kms.script.clear()
    assert len(aws.epochs().read(1)) == 32


def test_aws_does_not_wait_for_ever(aws: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that accepts and says nothing is given up."""
    monkeypatch.setattr(aws_kms, "_READ_SECONDS", 0.2)
    monkeypatch.setattr(aws_kms, "_ATTEMPTS", 1)
    with silent_server() as port, pytest.raises(Unavailable, match="reached"):
        AwsKms(REGION, endpoint=f"http://127.0.0.1:{port}").create(NAME, 1)


def test_aws_profiles_that_do_not_exist_are_refused(aws: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though other credentials would be there."""
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(Unavailable, match="credentials"):
        aws.epochs().ensure(1)
    assert aws.files() == {}


def test_aws_is_asked_only_what_the_docs_allow(aws: Place, kms: KmsServer) -> None:
    """The policy in docs/keys.md has each action that is used and no other."""
    make(aws, 1, 2)
    before = aws.files()
    aws.epochs().read(1)
    aws.epochs().destroy(1)
    restore(aws, before)
    aws.epochs().destroy(1)
    aws.service().create(NAME, 1)
    (policy,) = (json.loads(block) for block in re.findall(r"```json\n(.*?)```", DOCS, re.S))
    allowed = [
        a
        for s in policy["Statement"]
        for a in ([s["Action"]] if isinstance(s["Action"], str) else s["Action"])
    ]
    # TagResource is what CreateKey with tags needs besides itself.
    assert {f"kms:{action}" for action in kms.actions} == set(allowed) - {"kms:TagResource"}
