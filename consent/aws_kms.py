"""AWS KMS as a key service: one symmetric key per epoch, found by its alias, destroyed by scheduling its deletion.

Credentials come from where boto3 looks for them. No message quotes what KMS or boto3 said: only what it means.
"""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime
from typing import Any

from consent.errors import ConfigError, Unavailable
from consent.key_service import damaged

_KEY_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
#: Source: KMS API, Decrypt, CiphertextBlob.
_MAX_BLOB_BYTES = 6144
#: A lost service is refused within half a minute; boto3 by itself would try for five.
_CONNECT_SECONDS, _READ_SECONDS, _ATTEMPTS = 3, 7, 3

#: The key or the ciphertext is not the one that belongs here.
_EVIDENCE = {"InvalidCiphertextException", "IncorrectKeyException"}
_CREDENTIALS = (
    "AWS credentials are missing or cannot be used",
    "Give boto3 credentials: AWS_PROFILE, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the machine's role.",
)
_BUSY = ("AWS KMS is busy", "Try again in a minute.")
#: Error code -> what it means, what to do. Source: KMS API, Common Errors and the errors of each action used.
_MEANINGS = {
    "AccessDeniedException": (
        "AWS KMS refused access",
        "Give these credentials the actions in docs/keys.md, on this key.",
    ),
    "DisabledException": ("the key is disabled in AWS KMS", "Enable the key in AWS KMS."),
    "KMSInvalidStateException": (
        "the key cannot be used in AWS KMS: its deletion is scheduled, or it is disabled",
        "If an erasure destroyed it, this is an old copy of the key table; else cancel the deletion in AWS KMS.",
    ),
    "LimitExceededException": (
        "the account's quota of AWS KMS is used up",
        "Have the quota raised, or delete keys.",
    ),
    "NotFoundException": (
        "AWS KMS does not know the key",
        "Check that the credentials are of the right account, and the region. A key that is past its waiting "
        "period is gone for good: remove the epoch's file from the keyring by hand.",
    ),
    **dict.fromkeys(
        (
            "ExpiredTokenException",
            "IncompleteSignature",
            "IncompleteSignatureException",
            "InvalidClientTokenId",
            "InvalidSignatureException",
            "MissingAuthenticationToken",
            "MissingAuthenticationTokenException",
            "NotAuthorized",
            "OptInRequired",
            "RequestExpired",
            "UnrecognizedClientException",
        ),
        _CREDENTIALS,
    ),
    **dict.fromkeys(
        (
            "DependencyTimeoutException",
            "KeyUnavailableException",
            "KMSInternalException",
            "RequestLimitExceeded",
            "ServiceUnavailable",
            "Throttling",
            "ThrottlingException",
        ),
        _BUSY,
    ),
}
_REFUSED = ("AWS KMS refused the call", "Check the settings' table key_service, and the key in AWS KMS.")


class AwsKms:
    """A client of AWS KMS in one region.

    Args:
        region: as "ap-south-1".
        deletion_window_days: how long KMS waits before it deletes a key; 7 to 30.
        endpoint: another address than the region's own, as that of a VPC endpoint.

    Raises:
        ConfigError: boto3 is not installed.
    """

    def __init__(self, region: str, deletion_window_days: int = 7, endpoint: str | None = None) -> None:
        self._window = deletion_window_days
        self._client = _open(region, endpoint)

    def create(self, name: str, epoch: int) -> str:
        """The epoch's key; where a run that broke off made one, that one."""
        alias = f"alias/{name}-epoch-{epoch:06d}"
        found = self._ask("describe_key", "NotFoundException", KeyId=alias)
        if found is None:
            return self._make(name, epoch, alias, "create_alias")
        state = _field(found, "KeyMetadata", "KeyState")
        if state == "PendingDeletion":  # an earlier home of this name: its alias still points there
            return self._make(name, epoch, alias, "update_alias")
        if state != "Enabled":
            raise _unavailable("DisabledException")
        return str(_field(found, "KeyMetadata", "KeyId"))

    def wrap(self, version: str, key: bytes, aad: bytes) -> bytes:
        """See `consent.key_service.KeyService`."""
        answer = self._ask(
            "encrypt", KeyId=_require_key_id(version), Plaintext=key, EncryptionContext=_context(aad)
        )
        _require_from(answer, version)
        return bytes(_field(answer, "CiphertextBlob"))

    def unwrap(self, version: str, blob: bytes, aad: bytes) -> bytes:
        """See `consent.key_service.KeyService`."""
        if not 0 < len(blob) <= _MAX_BLOB_BYTES:
            raise damaged()
        answer = self._ask(
            "decrypt", KeyId=_require_key_id(version), CiphertextBlob=blob, EncryptionContext=_context(aad)
        )
        _require_from(answer, version)
        return bytes(_field(answer, "Plaintext"))

    def destroy(self, version: str) -> datetime:
        """Schedule the key's deletion: KMS refuses to use it from now on, and can be told to keep it until then."""
        key_id = _require_key_id(version)
        answer = self._ask(
            "schedule_key_deletion",
            "KMSInvalidStateException",
            KeyId=key_id,
            PendingWindowInDays=self._window,
        )
        if answer is None:  # scheduled already, by a run that broke off
            answer = _field(self._ask("describe_key", KeyId=key_id), "KeyMetadata")
            if "DeletionDate" not in answer:
                raise _unavailable("KMSInvalidStateException")
        deleted_at: datetime = _field(answer, "DeletionDate")
        return deleted_at.astimezone(UTC)

    def _make(self, name: str, epoch: int, alias: str, point_alias: str) -> str:
        made = self._ask(
            "create_key",
            Description=f"Wraps epoch key {epoch} of {name}. Scheduling its deletion erases: do not cancel it.",
            KeySpec="SYMMETRIC_DEFAULT",
            KeyUsage="ENCRYPT_DECRYPT",
            Tags=[
                {"TagKey": "assent", "TagValue": name},
                {"TagKey": "assent-epoch", "TagValue": str(epoch)},
            ],
        )
        key_id = str(_field(made, "KeyMetadata", "KeyId"))
        self._ask(point_alias, AliasName=alias, TargetKeyId=key_id)
        return key_id

    def _ask(self, action: str, expected: str = "", **parameters: Any) -> Any:
        """What KMS answers; None where it refuses with the expected code."""
        from botocore.exceptions import BotoCoreError, ClientError, ConnectionError, HTTPClientError
        from botocore.parsers import ResponseParserError

        try:
            return getattr(self._client, action)(**parameters)
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            if code and code == expected:
                return None
            raise (damaged() if code in _EVIDENCE else _unavailable(code)) from None
        except (ConnectionError, HTTPClientError):
            raise Unavailable("AWS KMS cannot be reached", remedy="Check the network, and region.") from None
        except BotoCoreError:
            raise Unavailable(_CREDENTIALS[0], remedy=_CREDENTIALS[1]) from None
        # boto3 takes any JSON for KMS's.
        except (ResponseParserError, AttributeError, LookupError, TypeError, ValueError):
            raise _strange() from None


def _open(region: str, endpoint: str | None) -> Any:
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ImportError:
        raise ConfigError("boto3 is not installed", remedy="Run pip install 'assent[aws]'.") from None
    config = Config(
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
    )
    try:
        # A session of our own: boto3's default one is shared, and not safe to make from two threads.
        session = boto3.session.Session(region_name=region)
        return session.client("kms", endpoint_url=endpoint, config=config)
    except (BotoCoreError, ValueError):
        raise Unavailable(_CREDENTIALS[0], remedy=_CREDENTIALS[1]) from None


def _context(aad: bytes) -> dict[str, str]:
    return {"assent": base64.b64encode(aad).decode()}


def _require_key_id(version: str) -> str:
    if not _KEY_ID.fullmatch(version):
        raise damaged()
    return version


def _require_from(answer: Any, version: str) -> None:
    """KMS names the key that it used: an answer of another key's is no answer."""
    if str(_field(answer, "KeyId")).rpartition("/")[2] != version:
        raise damaged()


def _field(answer: Any, *names: str) -> Any:
    for name in names:
        if not isinstance(answer, dict) or name not in answer:
            raise _strange()
        answer = answer[name]
    return answer


def _unavailable(code: str) -> Unavailable:
    message, remedy = _MEANINGS.get(code, _REFUSED)
    return Unavailable(message, remedy=remedy)


def _strange() -> Unavailable:
    return Unavailable(
        "what answered is not AWS KMS", remedy="Check key_service in the settings, and any proxy."
    )
