"""A home's Feast configurations, and the few calls that the rest of Assent makes through Feast.

A modeler needs none of them: ``FeatureStore(repo_path="<home>/feast/credit_scoring")`` is plain Feast.
"""

from __future__ import annotations

import contextlib
import io
import json
import string
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from feast import Entity, FeatureService, FeatureStore
from feast.base_feature_view import BaseFeatureView
from feast.errors import FeatureServiceNotFoundException

from consent.catalog import PURPOSES, require_purpose
from consent.errors import ConfigError, Unavailable
from consent.files import write_atomically
from consent.home import Home
from feature_repo.stores.provider import purpose_of
from feature_repo.stores.receipts import Receipt
from feature_repo.stores.source import SUBJECT_KEY, require_consent_view
from ingestion.entities import NOBODY
from ingestion.tables import read_versions

#: Purposes that are answered one person at a time, and so need the online store.
SERVING = ("credit_scoring", "fraud_detection", "loan_servicing")

_YAML = "feature_store.yaml"
_TEMPLATE = Path(__file__).parent.parent / _YAML


def write_configurations(home: Home) -> dict[str, Path]:
    """Write one Feast configuration per purpose; registry and online store are shared.

    Returns:
        Purpose -> its ``feature_store.yaml``.
    """
    template = string.Template(_TEMPLATE.read_text(encoding="utf-8"))
    paths = {}
    for purpose in PURPOSES:
        text = template.substitute(ASSENT_HOME=_quoted(home.root), ASSENT_PURPOSE=purpose)
        # Named even where they lie beside the home: an ASSENT_KEYS of the caller's is for another home, perhaps.
        text = text.replace("\n  home: ", f'\n  keys: "{_quoted(home.keys)}"\n  home: ')
        paths[purpose] = home.path("feast", purpose, _YAML)
        paths[purpose].parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(paths[purpose], text.encode())
    home.path("feast", "online.db").touch(mode=0o600)
    return paths


def apply(home: Home) -> None:
    """Write the configurations and register the definitions; running it again changes nothing."""
    from feature_repo import definitions

    write_configurations(home)
    kinds = (Entity, BaseFeatureView, FeatureService)
    objects = [value for value in vars(definitions).values() if isinstance(value, kinds)]
    with _quiet():
        open_store(home, SERVING[0]).apply(objects)


def open_store(home: Home, purpose: str) -> FeatureStore:
    """The plain Feast store of one purpose.

    Raises:
        ConfigError: there is no such purpose.
        Unavailable: the home has no configuration for it yet.
    """
    path = home.path("feast", require_purpose(purpose))
    if not (path / _YAML).exists():
        raise Unavailable("the home has no Feast configuration", remedy="Run `assent init`.")
    return FeatureStore(repo_path=str(path))


def materialise(home: Home, *, start: datetime, end: datetime) -> dict[str, int]:
    """Bring each subject's latest row dated from `start` to `end` online, for every serving purpose.

    The range is explicit: Feast remembers increments per view, not per purpose.

    Returns:
        Feature view -> number of subjects written; views without a published table are left out.
    """
    views = [v.name for v in open_store(home, SERVING[0]).list_feature_views() if _is_published(home, v)]
    written: dict[str, set[bytes]] = {view: set() for view in views}
    for purpose in SERVING if views else ():
        store = open_store(home, purpose)
        store.provider.online_store.on_write = partial(_note, written)
        with _quiet():
            store.materialize(start, end, feature_views=views)
    return {view: len(tokens) for view, tokens in written.items()}


def training_set(home: Home, entities: pa.Table | pd.DataFrame, service: str) -> tuple[pd.DataFrame, Receipt]:
    """The features of a service for entity rows, under the purpose that the registry gives the service.

    Args:
        entities: ``subject_key``, ``event_timestamp`` and any other columns; they come back with the features.

    Returns:
        One row per entity row, in order, and the receipt of the fetch.

    Raises:
        ConfigError: there is no such service.
    """
    store, registered = _store_of(home, service)
    rows = entities.to_pandas() if isinstance(entities, pa.Table) else entities
    job = store.get_historical_features(entity_df=rows, features=registered)
    return job.to_df(), job.receipt


def online_features(
    home: Home,
    service: str,
    subject_keys: Sequence[str | None],
    *,
    request: Mapping[str, Sequence[Any]] | None = None,
) -> dict[str, list[Any]]:
    """The features of a service for people, as they are now.

    Args:
        subject_keys: None for a person nobody knows.
        request: data of the request itself, such as ``monthly_instalment``, one value per person.

    Returns:
        Column -> one value per person; null where there is none, or none that may be used.

    Raises:
        ConfigError: there is no such service.
    """
    store, registered = _store_of(home, service)
    keys = [key or NOBODY for key in subject_keys]
    rows = {SUBJECT_KEY: keys, **{name: list(values) for name, values in (request or {}).items()}}
    answer: dict[str, list[Any]] = store.get_online_features(features=registered, entity_rows=rows).to_dict()
    return {**answer, SUBJECT_KEY: list(subject_keys)}


def remove_unusable(home: Home) -> int:
    """Delete online values that no purpose may use any more; reading them is denied already.

    Returns:
        The number of values deleted.
    """
    store = open_store(home, SERVING[0])
    timeline, now = home.gate.timeline(), home.ledger.now()
    known = pa.chunked_array([timeline.subjects()])
    removed = 0
    for view in store.list_feature_views():
        reasons = timeline.judge_loading(known, require_consent_view(view).source, data_at=None, now=now)
        gone = known.filter(pc.is_valid(reasons)).to_pylist()
        removed += int(store.provider.online_store.remove_subjects(store.config, [view], gone))
    return removed


def remove_online(home: Home, subject_keys: Sequence[str]) -> int:
    """Delete everything about these people from the online store. Returns the number of values deleted."""
    store = open_store(home, SERVING[0])
    online = store.provider.online_store
    return int(online.remove_subjects(store.config, store.list_feature_views(), subject_keys))


def service_purpose(home: Home, service: str) -> str:
    """What the registry says a feature service is for.

    Raises:
        ConfigError: there is no such service.
        Gap: it does not say.
    """
    store = open_store(home, SERVING[0])
    try:
        return purpose_of(store.get_feature_service(service))
    except FeatureServiceNotFoundException:
        names = sorted(found.name for found in store.list_feature_services())
        raise ConfigError(
            f"there is no feature service {service!r}", remedy=f"Use one of: {', '.join(names)}."
        ) from None


def _store_of(home: Home, service: str) -> tuple[FeatureStore, FeatureService]:
    store = open_store(home, service_purpose(home, service))
    return store, store.get_feature_service(service)


def _note(written: dict[str, set[bytes]], view: str, tokens: list[bytes]) -> None:
    written[view].update(tokens)


def _is_published(home: Home, view: Any) -> bool:
    return bool(read_versions(home, require_consent_view(view).table))


def _quoted(path: Path) -> str:
    """The path as it stands between the quotes of a YAML string."""
    return json.dumps(str(path))[1:-1]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Feast prints what it does, with colours and bars."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
