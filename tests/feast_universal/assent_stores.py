"""What Feast's tests import by ``FULL_REPO_CONFIGS_MODULE``: the stores, and how a table comes into them."""

from __future__ import annotations

import secrets
from typing import Any

import pandas as pd
from feast.data_source import DataSource
from feast.infra.offline_stores.file_source import FileSource
from stand_in import QUERIES
from tests.universal.feature_repos.universal.data_sources.file import FileDataSourceCreator
from translated_stores import TranslatedOfflineStoreConfig


class AssentDataSourceCreator(FileDataSourceCreator):
    def create_data_source(
        self,
        df: pd.DataFrame,
        destination_name: str,
        created_timestamp_column: str = "created_ts",
        field_mapping: dict[str, str] | None = None,
        timestamp_field: str | None = "ts",
    ) -> DataSource:
        path = QUERIES / f"t_{secrets.token_hex(6)}.parquet"
        df.to_parquet(path)
        source = FileSource(
            path=str(path),
            timestamp_field=timestamp_field,
            created_timestamp_column=created_timestamp_column,
            field_mapping=field_mapping or {"ts_1": "ts"},
        )
        source.table = path.stem  # by which Feast's tests write a query
        return source

    def create_offline_store_config(self) -> Any:
        return TranslatedOfflineStoreConfig()


AVAILABLE_OFFLINE_STORES = [("local", AssentDataSourceCreator)]
AVAILABLE_ONLINE_STORES = {"sqlite": ({"type": "translated_stores.TranslatedOnlineStore"}, None)}
