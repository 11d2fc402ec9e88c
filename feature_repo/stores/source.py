"""A published feature table as a Feast data source that only the consent stores can read."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from typing import Any

from feast import type_map
from feast.data_source import DataSource
from feast.feature_view import FeatureView
from feast.protos.feast.core.DataSource_pb2 import DataSource as DataSourceProto
from feast.repo_config import RepoConfig
from feast.value_type import ValueType

from consent.catalog import require_source
from consent.errors import ConfigError, Denied, Gap
from ingestion.sources import definition_of

#: The join key of every view: the subject's pseudonym, 32 hex digits.
SUBJECT_KEY = "subject_key"
#: The tag of a view whose definition is on its way out; it says what to use instead.
DEPRECATED = "deprecated"
#: The time column of every feature table.
EVENT_TIMESTAMP = "event_timestamp"


class ConsentSource(DataSource):
    """A feature table and the consent source that its values come from.

    Plain stores cannot read it: it has no path and no query.
    """

    def __init__(
        self,
        *,
        source: str,
        table: str,
        name: str | None = None,
        field_mapping: dict[str, str] | None = None,
        description: str = "",
        tags: dict[str, str] | None = None,
        owner: str = "",
    ) -> None:
        """Describe the table.

        Args:
            source: consent source of every value in the table.
            table: the published definition, ``<source>_v<N>``.
            name: of the Feast object; the table's name with ``_table`` unless given.
            field_mapping: table column -> feature name, for features that are called otherwise in a view.
            description, tags, owner: as in every Feast data source.

        Raises:
            Denied: the source is prohibited.
            ConfigError: there is no such source, or the table holds data of another.
        """
        require_source(source)
        if not re.fullmatch(rf"{re.escape(source)}_v[1-9][0-9]*", table):
            raise ConfigError(
                f"table {table!r} does not hold data of source {source!r}",
                remedy=f"Tables of this source are called {source}_v1, {source}_v2, ...",
            )
        mapping = field_mapping or {}
        if {SUBJECT_KEY, EVENT_TIMESTAMP} & (mapping.keys() | set(mapping.values())):
            raise ConfigError(
                "the subject key and the event timestamp cannot be mapped", remedy="Map features only."
            )
        super().__init__(
            name=name or f"{table}_table",
            timestamp_field=EVENT_TIMESTAMP,
            field_mapping=mapping,
            description=description,
            tags=tags,
            owner=owner,
        )
        self.source = source
        self.table = table

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, ConsentSource)
            and bool(super().__eq__(other))
            and (self.source, self.table) == (other.source, other.table)
        )

    def __hash__(self) -> int:
        return hash((self.name, self.source, self.table))

    @staticmethod
    def from_proto(data_source: DataSourceProto) -> ConsentSource:
        """Inverse of `to_proto`."""
        options = json.loads(data_source.custom_options.configuration)
        return ConsentSource(
            source=options["source"],
            table=options["table"],
            name=data_source.name,
            field_mapping=dict(data_source.field_mapping),
            description=data_source.description,
            tags=dict(data_source.tags),
            owner=data_source.owner,
        )

    def _to_proto_impl(self) -> DataSourceProto:
        options = json.dumps({"source": self.source, "table": self.table}).encode()
        return DataSourceProto(
            name=self.name,
            type=DataSourceProto.CUSTOM_SOURCE,
            data_source_class_type=f"{ConsentSource.__module__}.{ConsentSource.__name__}",
            custom_options=DataSourceProto.CustomSourceOptions(configuration=options),
            timestamp_field=EVENT_TIMESTAMP,
            field_mapping=self.field_mapping,
            description=self.description,
            tags=self.tags,
            owner=self.owner,
        )

    def source_type(self) -> Any:
        """Feast's name for a source it does not know."""
        return DataSourceProto.CUSTOM_SOURCE

    def validate(self, config: RepoConfig) -> None:
        """Nothing is left to check: a table may be declared before its first publish."""

    @staticmethod
    def source_datatype_to_feast_value_type() -> Callable[[str], ValueType]:
        """From the type names of `get_table_column_names_and_types`."""
        return type_map.pa_to_feast_value_type

    def get_table_column_names_and_types(self, config: RepoConfig) -> Iterable[tuple[str, str]]:
        """The table's columns and Arrow type names, as its definition says.

        Raises:
            ConfigError: the definition is not one that this version of Assent can compute.
        """
        definition = definition_of(self.table)
        if definition is None or definition.name != self.source:
            raise ConfigError(
                f"the columns of {self.table} are not known here", remedy="Give the view a schema."
            )
        types = {"int64": "int64", "float64": "double"}
        keys = [(SUBJECT_KEY, "string"), (EVENT_TIMESTAMP, "timestamp[us, tz=UTC]")]
        return [*keys, *((f.name, types[f.dtype]) for f in definition.features)]


def require_consent_source(data_source: object) -> ConsentSource:
    """The data source, if it says which consent covers it.

    Raises:
        Gap: there is no data source, so there is no consent source.
        Denied: it is a plain one.
    """
    if data_source is None:
        raise Gap("a feature view has no data source", remedy="Give it a ConsentSource.")
    if not isinstance(data_source, ConsentSource):
        raise Denied(
            f"a {type(data_source).__name__} says nothing about consent",
            remedy="Ingest and publish the data, and declare the table as a ConsentSource.",
        )
    return data_source


#: What a batch or stream view may bring along; the raw form where Feast has left the function packed.
_COMPUTED = ("feature_transformation", "_raw_feature_transformation_proto", "aggregations")


def require_consent_view(view: Any) -> ConsentSource:
    """The consent source of a feature view that the stores may serve.

    Raises:
        Gap: the view has no source, or is not about a subject.
        Denied: it is of a kind, or has a source, that the stores cannot decide on.
    """
    if not isinstance(view, FeatureView):
        raise Denied(
            f"{view.name}: a {type(view).__name__} is not kept in the consent stores",
            remedy="Use a FeatureView on a ConsentSource; compute on-demand views when reading.",
        )
    if view.source_views:
        raise Denied(
            f"{view.name} is derived from other views, and would mix what consents keep apart",
            remedy="Compute it in a source's features, or as an on-demand view.",
        )
    if any(getattr(view, name, None) for name in _COMPUTED):
        raise Denied(
            f"{view.name} computes its values on the way online, and could mix what people's consents keep apart",
            remedy="Compute it in a source's features, or as an on-demand view.",
        )
    source = require_consent_source(view.batch_source)
    if [column.name for column in view.entity_columns] != [SUBJECT_KEY]:
        raise Gap(
            f"{view.name} is not about a subject: its only join key must be {SUBJECT_KEY}",
            remedy="Use the entity `subject` of feature_repo/definitions.py alone; for a second person in a row,"
            " the view again as view.with_name('partner').with_join_key_map({'subject_key': 'partner_key'}).",
        )
    return source
