"""Feast's offline store over published feature tables, with consent decided at every execution.

Feast calls the store once to build a job, and the job whenever its values are wanted. The job reads the ledger
then: a withdrawal that came in between counts, and two executions may differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, Literal, NoReturn

import pyarrow as pa
import pyarrow.compute as pc
from feast.infra.offline_stores.offline_store import OfflineStore, RetrievalJob, RetrievalMetadata
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.repo_config import RepoConfig
from pydantic import PositiveInt, StrictStr

from consent.errors import BadInput, ConfigError, Denied, Gap
from feature_repo.stores.config import ConsentStoreConfig, require_consent_stores
from feature_repo.stores.entity_rows import read_entity_rows
from feature_repo.stores.entity_sql import read_entity_query
from feature_repo.stores.explanation import Explanation, explain
from feature_repo.stores.historical import Wanted, fetch, plan_view, require_new_names, stream
from feature_repo.stores.point_in_time import latest_rows
from feature_repo.stores.receipts import Receipt
from feature_repo.stores.source import EVENT_TIMESTAMP, SUBJECT_KEY, require_consent_source
from ingestion.tables import empty_table, read_current, scan_table


class ConsentOfflineStoreConfig(ConsentStoreConfig):
    """``offline_store`` in feature_store.yaml.

    Attributes:
        entity_files: absolute path of a directory of Parquet files, which entity rows given as SQL may read; without
            it SQL is refused.
        memory_limit_mb: memory for the work of one fetch, beside the program, the ledger, the entity rows that the
            caller holds, and what was handed out. Nothing goes to disk instead; more rows take more turns.
    """

    type: Literal["feature_repo.stores.offline.ConsentOfflineStore"] = (
        "feature_repo.stores.offline.ConsentOfflineStore"
    )
    entity_files: StrictStr | None = None
    memory_limit_mb: PositiveInt = 1024


class ConsentRetrievalJob(RetrievalJob):
    """Decides and reads anew at each execution.

    Attributes:
        receipt: of the last execution of a historical fetch; None before it, and for a plain pull.
    """

    def __init__(
        self,
        execute: Callable[[], tuple[pa.Table, Receipt | None]],
        *,
        stream: Callable[[], tuple[Iterator[pa.Table], Receipt | None]] | None = None,
        wanted: Wanted | None = None,
        on_demand_feature_views: list[Any] | None = None,
        full_feature_names: bool = False,
        metadata: RetrievalMetadata | None = None,
    ) -> None:
        self._execute = execute
        self._stream = stream
        self._wanted = wanted
        self._on_demand_feature_views = on_demand_feature_views or []
        self._full_feature_names = full_feature_names
        self._metadata = metadata
        self.receipt: Receipt | None = None

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:
        self.receipt = None
        table, self.receipt = self._execute()
        return table if self.receipt is None else _named(table, self.receipt)

    def to_arrow_batches(self) -> Iterator[pa.Table]:
        """The result in batches, so that it may be larger than memory; named as where Feast has it, for Snowflake.

        The receipt is written by this call, before the first batch. `feature_repo.stores.historical` says what a
        withdrawal means that comes while the batches are taken.
        """
        self.receipt = None
        if self._stream is None:
            return iter([self.to_arrow()])
        batches, self.receipt = self._stream()
        receipt = self.receipt
        named = (batch if receipt is None else _named(batch, receipt) for batch in batches)
        return map(self._with_on_demand_features, named)

    def as_in(self, receipt: Receipt) -> ConsentRetrievalJob:
        """A job that gives the values of an earlier fetch again, less what consent has taken away since.

        It reads the data versions that the receipt names, and hands out what may be used now and might be used then.

        Raises:
            BadInput: the receipt is of another fetch; of other entity rows, when the job is executed.
        """
        return self._other(self._require_wanted().as_in(receipt))

    def at_versions(self, **numbers: int) -> ConsentRetrievalJob:
        """A job that reads other data versions than the newest: ``job.at_versions(spending_v1=3)``.

        What may be read is decided as ever: on what consent says now.

        Raises:
            BadInput: a table is not among those that are read.
        """
        return self._other(self._require_wanted().at_versions(numbers))

    def _require_wanted(self) -> Wanted:
        if self._wanted is None:
            raise BadInput("a scan of a table has no receipt", remedy="Make a historical fetch.")
        return self._wanted

    def _other(self, wanted: Wanted) -> ConsentRetrievalJob:
        return job_of(wanted, self._on_demand_feature_views, self._metadata)

    def explain(self) -> Explanation:
        """What became of the rows of the last execution: a table, and a picture in notebooks.

        Raises:
            ConfigError: there was none yet.
        """
        if self._wanted is None or self.receipt is None:
            raise ConfigError(
                "there is no fetch to explain yet", remedy="Take its values first, with to_df or to_arrow."
            )
        return explain(self._wanted, self.receipt)

    def _with_on_demand_features(self, batch: pa.Table) -> pa.Table:
        """As `to_arrow` does it, for one batch."""
        return ConsentRetrievalJob(
            lambda: (batch, None),
            on_demand_feature_views=self._on_demand_feature_views,
            full_feature_names=self._full_feature_names,
            metadata=self._metadata,
        ).to_arrow()

    @property
    def full_feature_names(self) -> bool:
        """Whether features are called ``<view>__<feature>``."""
        return self._full_feature_names

    @property
    def on_demand_feature_views(self) -> list[Any]:
        """Views that Feast computes from the result."""
        return self._on_demand_feature_views

    @property
    def metadata(self) -> RetrievalMetadata | None:
        """What Feast records about the retrieval."""
        return self._metadata

    def persist(self, storage: Any, allow_overwrite: bool = False, timeout: int | None = None) -> NoReturn:
        """Refused: a saved dataset would outlive the consents it rests on.

        Raises:
            Denied: always.
        """
        raise Denied(
            "a saved dataset would outlive the consents it rests on",
            remedy="Keep the entity rows and the receipt, and fetch again when the values are needed.",
        )

    def to_remote_storage(self) -> NoReturn:
        """Refused like `persist`.

        Raises:
            Denied: always.
        """
        self.persist(None)

    def to_sql(self) -> NoReturn:
        """Refused: whoever ran the query would get values that nobody has decided on.

        Raises:
            Denied: always.
        """
        raise Denied(
            "there is no query to hand out: consent is decided while the values are read",
            remedy="Take the values themselves, with to_df or to_arrow.",
        )


#: Names the receipt in the metadata of a result's schema, which goes over the wire with it.
RECEIPT = b"assent.receipt"


def _named(table: pa.Table, receipt: Receipt) -> pa.Table:
    return table.replace_schema_metadata(
        {**(table.schema.metadata or {}), RECEIPT: receipt.receipt_id.encode()}
    )


def job_of(wanted: Wanted, on_demand: list[Any], metadata: RetrievalMetadata | None) -> ConsentRetrievalJob:
    """The job of a historical fetch."""
    return ConsentRetrievalJob(
        lambda: fetch(wanted),
        stream=lambda: stream(wanted),
        wanted=wanted,
        on_demand_feature_views=on_demand,
        full_feature_names=wanted.full_feature_names,
        metadata=metadata,
    )


class ConsentOfflineStore(OfflineStore):
    """Historical features and materialisation reads, for the purpose of the configuration."""

    @staticmethod
    def get_historical_features(
        config: RepoConfig,
        feature_views: list[Any],
        feature_refs: list[str],
        entity_df: Any,
        registry: Any,
        project: str,
        full_feature_names: bool = False,
        **kwargs: Any,
    ) -> RetrievalJob:
        """Point-in-time features for entity rows, null where consent does not cover them.

        Raises:
            Gap, Denied: a view is not one that consent can be decided on.
            ConfigError, BadInput: the entity rows cannot be used.
        """
        require_consent_stores(config)
        store: ConsentOfflineStoreConfig = config.offline_store
        views = [plan_view(view, feature_refs, full=full_feature_names) for view in feature_views]
        if isinstance(entity_df, str):
            entity_df = read_entity_query(entity_df, store.entity_files, store)
        on_demand = OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry)
        requested = {name for view in on_demand for name in view.get_request_data_schema()}
        entities = read_entity_rows(entity_df, {view.entity for view in views} | requested)
        require_new_names(entities, views)
        first, last = entities.between
        metadata = RetrievalMetadata(
            features=feature_refs,
            keys=[name for name in entities.column_names if name != entities.timestamp_column],
            min_event_timestamp=first,
            max_event_timestamp=last,
        )
        wanted = Wanted(
            store, views, entities, tuple(feature_refs), store.memory_limit_mb, full_feature_names
        )
        return job_of(wanted, on_demand, metadata)

    @staticmethod
    def pull_latest_from_table_or_query(
        config: RepoConfig,
        data_source: Any,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None,
        start_date: datetime,
        end_date: datetime,
    ) -> RetrievalJob:
        """Each subject's latest row in the range, where consent in force now covers it.

        Raises:
            Gap, Denied: the data source is not one that consent can be decided on.
        """
        columns = [*join_key_columns, *feature_name_columns, timestamp_field]
        return _pull(config, data_source, columns, (start_date, end_date), latest=True)

    @staticmethod
    def pull_all_from_table_or_query(
        config: RepoConfig,
        data_source: Any,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> RetrievalJob:
        """All rows in the range that consent in force now covers.

        Raises:
            Gap, Denied: the data source is not one that consent can be decided on.
        """
        columns = [*join_key_columns, *feature_name_columns, timestamp_field]
        return _pull(config, data_source, columns, (start_date, end_date), latest=False)

    @staticmethod
    def offline_write_batch(config: RepoConfig, feature_view: Any, table: Any, progress: Any) -> NoReturn:
        """Refused: feature tables are published from the vault only.

        Raises:
            Denied: always.
        """
        raise Denied(
            "feature tables are published from consented records only, not written by hand",
            remedy="Run `assent ingest` and `assent publish`; push with PushMode.ONLINE for serving alone.",
        )

    @staticmethod
    def write_logged_features(
        config: RepoConfig, data: Any, source: Any, logging_config: Any, registry: Any
    ) -> NoReturn:
        """Refused: a log of served values would outlive the consents they rest on.

        Raises:
            Denied: always.
        """
        raise Denied(
            "a log of served features would outlive the consents they rest on",
            remedy="Log the decision and the model's name, not the features.",
        )

    @staticmethod
    def ensure_monitoring_tables(*args: Any, **kwargs: Any) -> NoReturn:
        """Refused: kept statistics, with their smallest and most frequent values, would outlive the consents.

        Raises:
            Denied: always.
        """
        raise Denied(
            "kept statistics of features would outlive the consents they rest on",
            remedy="Compute them from a fetch when they are needed; `assent ingest` reports on what comes in.",
        )

    save_monitoring_metrics = ensure_monitoring_tables
    query_monitoring_metrics = ensure_monitoring_tables
    clear_monitoring_baseline = ensure_monitoring_tables


def _pull(
    config: RepoConfig,
    data_source: Any,
    columns: list[str],
    between: tuple[datetime | None, datetime | None],
    *,
    latest: bool,
) -> RetrievalJob:
    require_consent_stores(config)
    source = require_consent_source(data_source)
    store: ConsentStoreConfig = config.offline_store
    if EVENT_TIMESTAMP not in columns:
        raise Gap(f"{source.table} is dated by {EVENT_TIMESTAMP}", remedy="Use the source's timestamp_field.")

    def execute() -> tuple[pa.Table, None]:
        home = store.open_home()
        version = read_current(home, source.table)
        wanted = [name for name in columns if name not in (SUBJECT_KEY, EVENT_TIMESTAMP)]
        timeline, now = home.gate.timeline(), home.ledger.now()
        about = (source.source, store.purpose)
        willing = timeline.usable_of(*about, as_of=now)[SUBJECT_KEY].unique().sort()
        kept = [empty_table(home, version, wanted)]
        for piece in scan_table(home, version, columns=wanted, subjects=willing):
            rows = _between(piece, *between)
            rows = latest_rows(rows) if latest else rows
            keys = rows[SUBJECT_KEY].cast(pa.string())
            reasons = timeline.judge(keys, *about, data_at=rows[EVENT_TIMESTAMP], as_of=now, derived=True)
            kept.append(rows.set_column(0, SUBJECT_KEY, keys).filter(pc.is_null(reasons)))
        table = pa.concat_tables(kept)
        return (latest_rows(table) if latest else table).select(columns), None

    return ConsentRetrievalJob(execute)


def _between(rows: pa.Table, start: datetime | None, end: datetime | None) -> pa.Table:
    """Rows dated from `start` to `end`, both included; instants without an offset are UTC, as in Feast."""
    at = rows[EVENT_TIMESTAMP]
    keep = pc.is_valid(at)
    for limit, compare in ((start, pc.greater_equal), (end, pc.less_equal)):
        if limit is not None:
            aware = limit.replace(tzinfo=UTC) if limit.tzinfo is None else limit
            keep = pc.and_(keep, compare(at, pa.scalar(aware, at.type)))
    return rows.filter(keep)
