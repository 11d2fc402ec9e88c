"""Where training sets are told of besides their receipts; the settings' table ``[lineage]``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from urllib.parse import urlsplit

from consent.errors import ConfigError


@dataclass(frozen=True)
class Lineage:
    """What is sent where. Nothing, unless it is said.

    Attributes:
        openlineage: an ``https://`` or ``http://`` address that takes OpenLineage events, or the absolute path of a
            file that each is appended to as a line. A token is read from the environment, ``OPENLINEAGE_API_KEY``.
        mlflow: whether the MLflow run that is active in the process gets tags.
    """

    openlineage: str | None = None
    mlflow: bool = False


def parse_lineage(table: object) -> Lineage:
    """The table, strictly.

    Raises:
        ConfigError: it holds something else.
    """
    if not isinstance(table, dict) or set(table) - {"openlineage", "mlflow"}:
        raise ConfigError("lineage has settings nobody knows", remedy="It may hold: openlineage, mlflow.")
    lineage = Lineage(**table)
    if type(lineage.mlflow) is not bool:
        raise ConfigError("lineage's mlflow is neither true nor false", remedy="Write mlflow = true.")
    if lineage.openlineage is not None and not _is_place(lineage.openlineage):
        raise ConfigError(
            "lineage's openlineage is no address and no absolute path, or holds a password",
            remedy='Write openlineage = "https://lineage.example" or "/var/log/assent/lineage.jsonl".',
        )
    return lineage


def _is_place(text: object) -> bool:
    if not isinstance(text, str):
        return False
    try:
        address = urlsplit(text)
    except ValueError:
        return False
    is_address = address.scheme in ("http", "https") and bool(address.hostname) and "@" not in address.netloc
    return is_address or PurePath(text).is_absolute()
