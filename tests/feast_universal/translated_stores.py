"""Feast's stores as its universal tests configure them: Assent's, with keys translated (`stand_in`)."""

from __future__ import annotations

from typing import Any, Literal

import pyarrow as pa
from feast.infra.offline_stores.offline_store import OfflineStore
from feast.infra.online_stores.online_store import OnlineStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.repo_config import FeastConfigBaseModel
from stand_in import QUERIES, lender

from feature_repo.stores.entity_sql import read_entity_query
from feature_repo.stores.offline import ConsentOfflineStore, ConsentRetrievalJob
from feature_repo.stores.online import ConsentOnlineStore
from feature_repo.stores.source import EVENT_TIMESTAMP, SUBJECT_KEY, ConsentSource


class TranslatedOfflineStoreConfig(FeastConfigBaseModel):
    """Nothing to say: there is one home."""

    type: Literal["translated_stores.TranslatedOfflineStore"] = "translated_stores.TranslatedOfflineStore"


class TranslatedOfflineStore(OfflineStore):
    """Historical fetches and pulls."""

    @staticmethod
    def get_historical_features(
        config: Any,
        feature_views: list[Any],
        feature_refs: list[str],
        entity_df: Any,
        registry: Any,
        project: str,
        full_feature_names: bool = False,
        **kwargs: Any,
    ) -> Any:
        if kwargs.get("filter_by_created_timestamp"):
            raise NotImplementedError("published tables have no created timestamp")
        ours = lender().config(project)
        if isinstance(entity_df, str):
            entity_df = read_entity_query(entity_df, str(QUERIES), ours.offline_store)
        rows, views, added = entity_df, [], {}
        for number, view in enumerate(feature_views):
            source, given = view.batch_source, view.projection.join_key_map
            raw = {feature: column for column, feature in source.field_mapping.items()}
            names = [entity.name for entity in view.entity_columns]
            table = lender().table(source, [raw.get(name, name) for name in names])
            asked = [given.get(name, name) for name in names if given.get(name, name) in rows]
            values = list(zip(*(rows[name] for name in asked), strict=True)) or [()] * len(rows)
            added[f"subject_{number}"] = lender().subjects(values)
            translated = lender().view(view, table)
            views.append(translated.with_join_key_map({SUBJECT_KEY: f"subject_{number}"}))
            views[-1].projection.name_alias = view.projection.name_alias
            views[-1].projection.features = view.projection.features
        job = ConsentOfflineStore.get_historical_features(
            ours, views, feature_refs, rows.assign(**added), registry, project, full_feature_names
        )
        return ConsentRetrievalJob(
            lambda: (job._to_arrow_internal().drop_columns(list(added)), job.receipt),
            on_demand_feature_views=job.on_demand_feature_views,
            full_feature_names=full_feature_names,
            metadata=job.metadata,
        )

    @staticmethod
    def pull_latest_from_table_or_query(config: Any, data_source: Any, *args: Any, **kwargs: Any) -> Any:
        return _pull("pull_latest_from_table_or_query", config, data_source, *args, **kwargs)

    @staticmethod
    def pull_all_from_table_or_query(config: Any, data_source: Any, *args: Any, **kwargs: Any) -> Any:
        return _pull("pull_all_from_table_or_query", config, data_source, *args, **kwargs)

    offline_write_batch = staticmethod(ConsentOfflineStore.offline_write_batch)
    write_logged_features = staticmethod(ConsentOfflineStore.write_logged_features)


def _pull(
    call: str,
    config: Any,
    data_source: Any,
    join_key_columns: list[str],
    feature_name_columns: list[str],
    timestamp_field: str,
    created_timestamp_column: str | None = None,
    start_date: Any = None,
    end_date: Any = None,
) -> Any:
    table = lender().table(data_source, join_key_columns)
    created = [created_timestamp_column] if created_timestamp_column else []
    wanted = [*feature_name_columns, *created]
    job = getattr(ConsentOfflineStore, call)(
        lender().config(config.project),
        ConsentSource(source="spending", table=table),
        [SUBJECT_KEY],
        wanted,
        EVENT_TIMESTAMP,
        None,
        start_date,
        end_date,
    )

    def execute() -> tuple[pa.Table, None]:
        found = job._to_arrow_internal()
        keys = lender().key_columns(found, join_key_columns)
        columns = {**dict(zip(join_key_columns, keys, strict=True))}
        columns |= {name: found[name] for name in wanted}
        return pa.table({**columns, timestamp_field: found[EVENT_TIMESTAMP]}), None

    return ConsentRetrievalJob(execute)


class TranslatedOnlineStoreConfig(FeastConfigBaseModel):
    """Nothing to say: there is one home."""

    type: Literal["translated_stores.TranslatedOnlineStore"] = "translated_stores.TranslatedOnlineStore"


class TranslatedOnlineStore(OnlineStore):
    """Online writes and reads."""

    def __init__(self) -> None:
        self._ours = ConsentOnlineStore()

    def online_write_batch(self, config: Any, table: Any, data: list[Any], progress: Any) -> None:
        keys = _translated([row[0] for row in data])
        rows = [(key, *row[1:]) for key, row in zip(keys, data, strict=True)]
        self._ours.online_write_batch(_ours(config), lender().view(table), rows, progress)

    def online_read(
        self, config: Any, table: Any, entity_keys: list[Any], requested_features: list[str] | None = None
    ) -> Any:
        return self._ours.online_read(
            _ours(config), lender().view(table), _translated(entity_keys), requested_features
        )

    def update(
        self,
        config: Any,
        tables_to_delete: Any,
        tables_to_keep: Any,
        entities_to_delete: Any,
        entities_to_keep: Any,
        partial: bool,
    ) -> None:
        gone, kept = ([lender().view(view) for view in views] for views in (tables_to_delete, tables_to_keep))
        self._ours.update(_ours(config), gone, kept, entities_to_delete, entities_to_keep, partial)

    def teardown(self, config: Any, tables: Any, entities: Any) -> None:
        """The home outlives the tests of one project."""

    retrieve_online_documents = ConsentOnlineStore.retrieve_online_documents
    retrieve_online_documents_v2 = ConsentOnlineStore.retrieve_online_documents_v2


def _ours(config: Any) -> Any:
    return lender().config(config.project)


def _translated(entity_keys: list[Any]) -> list[Any]:
    values = [tuple(getattr(v, v.WhichOneof("val")) for v in key.entity_values) for key in entity_keys]
    nameless = [
        () if list(key.join_keys) == ["__dummy_id"] else row
        for key, row in zip(entity_keys, values, strict=True)
    ]
    subjects = lender().subjects(nameless)
    return [EntityKey(join_keys=[SUBJECT_KEY], entity_values=[Value(string_val=key)]) for key in subjects]
