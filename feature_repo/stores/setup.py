"""A home's Feast configurations, and the few calls that the rest of Assent makes through Feast.

A modeler needs none of them: ``FeatureStore(repo_path="<home>/feast/credit_scoring")`` is plain Feast.
"""

from __future__ import annotations

import contextlib
import io
import json
import string
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
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
from consent.clock import EPOCH
from consent.errors import ConfigError, Unavailable
from consent.files import write_atomically
from consent.home import Home
from consent.nouns import ANY, Reason
from feature_repo.stores.provider import purpose_of
from feature_repo.stores.receipts import Receipt
from feature_repo.stores.source import SUBJECT_KEY, require_consent_view
from ingestion.entities import NOBODY
from ingestion.tables import read_versions

#: Purposes that are answered one person at a time, and so need the online store.
SERVING = ("credit_scoring", "fraud_detection", "loan_servicing")

#: Reasons for a no that may give way to a yes without anything new being agreed to.
_SUSPENDED = pa.array([Reason.RESTRICTED.value, Reason.PAUSED.value, Reason.NOT_YET.value])

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
        text = text.replace('\n  path: "' + _quoted(home.path("feast", "online.db")), _inner(home), 1)
        paths[purpose] = home.path("feast", purpose, _YAML)
        paths[purpose].parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(paths[purpose], text.encode())
    home.path("feast", "online.db").touch(mode=0o600)
    return paths


def _inner(home: Home) -> str:
    """Which store the online store wraps, as lines of the configuration."""
    online = home.settings.online
    if online.store == "sqlite":
        return '\n  path: "' + _quoted(home.path("feast", "online.db"))
    return f'\n  inner: {online.store}\n  connection_string: "{json.dumps(online.connection)[1:-1]}'


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


def materialise(
    home: Home, *, start: datetime, end: datetime, only: Collection[str] | None = None
) -> dict[str, int]:
    """Bring each subject's latest row dated from `start` to `end` online, for every serving purpose.

    The range is explicit: Feast remembers increments per view, not per purpose.

    Args:
        only: these views; None: all.

    Returns:
        Feature view -> number of subjects written; views without a published table are left out.
    """
    known = open_store(home, SERVING[0]).list_feature_views()
    views = [v.name for v in known if (only is None or v.name in only) and _is_published(home, v)]
    written: dict[str, set[bytes]] = {view: set() for view in views}
    for purpose in SERVING if views else ():
        store = open_store(home, purpose)
        store.provider.online_store.on_write = partial(_note, written)
        with _quiet():
            store.materialize(start, end, feature_views=views)
    return {view: len(tokens) for view, tokens in written.items()}


def replace_online(home: Home, table: str) -> dict[str, int]:
    """Bring a table's newest data version online in the place of everything that is there of it, newer rows too.

    Between the two there are no values: whoever reads meanwhile gets what is not there.

    Returns:
        As `materialise`.
    """
    store = open_store(home, SERVING[0])
    views = [v for v in store.list_feature_views() if require_consent_view(v).table == table]
    everybody = home.gate.timeline().subjects().to_pylist()
    store.provider.online_store.remove_subjects(store.config, views, everybody)
    names = [view.name for view in views]
    return materialise(home, start=EPOCH, end=home.ledger.now(), only=names)


def training_set(
    home: Home,
    entities: pa.Table | pd.DataFrame,
    service: str,
    *,
    data_versions: Mapping[str, int] | None = None,
) -> tuple[pd.DataFrame, Receipt]:
    """The features of a service for entity rows, under the purpose that the registry gives the service.

    Args:
        entities: ``subject_key``, ``event_timestamp`` and any other columns; they come back with the features.
        data_versions: table -> data version to read instead of the newest.

    Returns:
        One row per entity row, in order, and the receipt of the fetch.

    Raises:
        ConfigError: there is no such service.
        BadInput, Unavailable: the service does not read such a table, or there is no such version.
    """
    store, registered = _store_of(home, service)
    rows = entities.to_pandas() if isinstance(entities, pa.Table) else entities
    job = store.get_historical_features(entity_df=rows, features=registered)
    job = job.at_versions(**(data_versions or {}))
    return job.to_df(), job.receipt


def reproduce(
    home: Home, entities: pa.Table | pd.DataFrame, receipt: Receipt
) -> tuple[pd.DataFrame, Receipt]:
    """The values of an earlier training set again, less what consent has taken away since.

    Args:
        entities: the entity rows of then: the same people and instants in the same order.

    Returns:
        One row per entity row, in order, and the receipt of this fetch.

    Raises:
        BadInput: these are other entity rows.
        Unavailable: a data version, or a feature, is not there any more.
    """
    rows = entities.to_pandas() if isinstance(entities, pa.Table) else entities
    job = open_store(home, receipt.purpose).get_historical_features(
        entity_df=rows, features=list(receipt.features), full_feature_names=receipt.full_feature_names
    )
    again = job.as_in(receipt)
    return again.to_df(), again.receipt


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

    What is only suspended stays: under a hold nothing is destroyed, and a pause may end.

    Returns:
        The number of rows deleted, one for each view and person.
    """
    store = open_store(home, SERVING[0])
    timeline, now = home.gate.timeline(), home.ledger.now()
    known = pa.chunked_array([timeline.subjects()])
    removed = 0
    for view in store.list_feature_views():
        reasons = timeline.judge_loading(known, require_consent_view(view).source, data_at=None, now=now)
        over = pc.and_(pc.is_valid(reasons), pc.invert(pc.is_in(reasons, value_set=_SUSPENDED)))
        gone = known.filter(over).to_pylist()
        removed += int(store.provider.online_store.remove_subjects(store.config, [view], gone))
    return removed


def remove_online(home: Home, subject_keys: Sequence[str], *, source: str = ANY) -> int:
    """Delete everything about these people, or of one source, from the online store.

    Returns:
        The number of rows deleted, one for each view and person.
    """
    if not has_online(home):
        return 0
    store = open_store(home, SERVING[0])
    return int(
        store.provider.online_store.remove_subjects(store.config, _views_of(store, source), subject_keys)
    )


def count_online(home: Home, subject_keys: Sequence[str], *, source: str = ANY) -> dict[str, int]:
    """How many rows the online store holds of each of these people, one for each view; who has none is left out."""
    if not has_online(home):
        return {}
    store = open_store(home, SERVING[0])
    counts: dict[str, int] = store.provider.online_store.count_subjects(
        store.config, _views_of(store, source), subject_keys
    )
    return counts


@dataclass(frozen=True)
class OnlineValues:
    """What one view of the online store holds of a person.

    Attributes:
        at: the features' event time.
    """

    view: str
    at: datetime
    values: dict[str, Any]


def online_values_for_own_access_package(home: Home, subject_key: str) -> list[OnlineValues]:
    """Everything the online store holds of a person, for the package in which they are told so; by view.

    **Not gated**: see `ConsentOnlineStore.read_for_own_access_package`. For nothing but that package.
    """
    if not has_online(home):
        return []
    store = open_store(home, SERVING[0])
    views = [version for view in _views_of(store, ANY) for version in _versions_of(store, view)]
    found = store.provider.online_store.read_for_own_access_package(store.config, views, subject_key)
    return [
        OnlineValues(view, at, {name: _plain(value) for name, value in sorted(values.items())})
        for view, (at, values) in sorted(found.items())
    ]


def _plain(value: Any) -> Any:
    """A value of Feast's as Python's; None for null."""
    kind = value.WhichOneof("val")
    return None if kind in (None, "null_val") else getattr(value, kind)


@dataclass(frozen=True)
class Service:
    """A feature service as the registry knows it.

    Attributes:
        features: ``view:feature``.
        computed: on-demand view -> its description; these are computed at the request and kept nowhere.
    """

    name: str
    purpose: str
    description: str
    features: tuple[str, ...]
    computed: dict[str, str]


def read_services(home: Home) -> list[Service]:
    """All feature services, by name; none before the home has its Feast configuration."""
    if not has_online(home):
        return []
    store = open_store(home, SERVING[0])
    on_demand = {view.name: view.description for view in store.list_on_demand_feature_views()}
    return [
        Service(
            service.name,
            str(service.tags.get("purpose", "")),
            service.description,
            tuple(
                f"{view.name}:{f.name}" for view in service.feature_view_projections for f in view.features
            ),
            {v.name: on_demand[v.name] for v in service.feature_view_projections if v.name in on_demand},
        )
        for service in sorted(store.list_feature_services(), key=lambda found: found.name)
    ]


def has_online(home: Home) -> bool:
    """Whether the home has an online store."""
    return home.path("feast", SERVING[0], _YAML).exists()


def _views_of(store: FeatureStore, source: str) -> list[Any]:
    """Those that hold a source's values, in any of their versions."""
    return [
        view
        for view in store.list_feature_views()
        if source == ANY or source in {require_consent_view(v).source for v in _versions_of(store, view)}
    ]


def _versions_of(store: FeatureStore, view: Any) -> list[Any]:
    """A view as it is, and as it was in the versions that Feast remembers (``view@v2``)."""
    current, numbers = view.current_version_number or 0, store.list_feature_view_versions(view.name)
    others = sorted({version["version_number"] for version in numbers} - {current})
    return [view, *(store.registry.get_feature_view_by_version(view.name, store.project, n) for n in others)]


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
