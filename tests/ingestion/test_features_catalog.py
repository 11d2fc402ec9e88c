"""The catalog of sources: complete, documented, cheap to import, and free of names and engines."""

import subprocess
import sys

import ibis
import pyarrow as pa
import pytest

from consent.errors import ConfigError
from ingestion.source import INSTANT, MONEY, Source
from ingestion.sources import SOURCES, source
from tests.ingestion.test_features import SPINE_SCHEMA, events_schema

each_source = pytest.mark.parametrize("described", SOURCES.values(), ids=list(SOURCES))

REQUIRED = {
    "spending": {"transaction_id", "occurred_at", "amount", "currency", "direction", "kind"},
    "employment": {"record_id", "reported_at", "employer_type", "started_on"},
    "app_usage": {"occurred_at", "package"},
}


def test_a_source_is_found_by_its_name() -> None:
    assert {name: source(name).definition for name in SOURCES} == {
        "app_usage": "app_usage_v1",
        "employment": "employment_v1",
        "spending": "spending_v1",
    }


def test_an_unknown_source_is_refused_with_the_names_that_exist() -> None:
    with pytest.raises(ConfigError) as refused:
        source("contacts")
    assert all(name in refused.value.remedy for name in SOURCES)


def test_importing_the_catalog_imports_neither_ibis_nor_pandas() -> None:
    code = "import sys, ingestion.sources; print(sorted({'ibis', 'pandas', 'duckdb'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@each_source
def test_everything_is_documented(described: Source) -> None:
    assert described.doc
    assert all(column.doc for column in described.columns)
    for feature in described.features:
        assert feature.doc, feature.name
        assert feature.why, feature.name
        assert len(feature.regulation) > 40, feature.name
        assert feature.unit, feature.name
        assert feature.window, feature.name
        assert feature.null_means, feature.name


@each_source
def test_there_are_fifteen_features_at_least(described: Source) -> None:
    assert len(described.features) >= 15


@each_source
def test_names_are_unique_and_refer_to_columns(described: Source) -> None:
    columns = [column.name for column in described.columns]
    features = [feature.name for feature in described.features]
    assert len({*columns, *features, "subject_key", "day"}) == len(columns) + len(features) + 2
    assert {described.event_time, *described.identity} <= set(columns)
    assert described.schema.field(described.event_time).type == INSTANT


@each_source
def test_a_file_must_have_the_required_columns_only(described: Source) -> None:
    assert {column.name for column in described.columns if column.required} == REQUIRED[described.name]


@each_source
def test_money_is_decimal(described: Source) -> None:
    money = {"amount", "balance_after", "monthly_salary"}
    assert all(column.type == MONEY for column in described.columns if column.name in money)
    assert not any(pa.types.is_floating(column.type) for column in described.columns)


@each_source
def test_the_same_maths_compiles_for_spark(described: Source) -> None:
    """Ibis refuses at compile time what its PySpark back end lacks."""
    events = ibis.table(ibis.Schema.from_pyarrow(events_schema(described)), name="events")
    spine = ibis.table(ibis.Schema.from_pyarrow(SPINE_SCHEMA), name="spine")
    assert "SELECT" in ibis.to_sql(described.compute(events, spine), dialect="pyspark")
    assert "SELECT" in ibis.to_sql(described.active_days(events), dialect="pyspark")
