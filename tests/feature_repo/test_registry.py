"""The registry holds code and policy: what the home's keys did not sign is not read."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, Project, RepoConfig, ValueType
from feast.protos.feast.core.Registry_pb2 import Registry
from feast.types import Float64, String

from consent.errors import EvidenceError
from consent.home import Home
from feature_repo.stores import setup
from feature_repo.stores.registry import SignedRegistryStore
from tests.feature_repo.lender import Lender

PURPOSE = "credit_scoring"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home with a registry, and nothing else."""
    home = Home.create(tmp_path / "home")
    setup.apply(home)
    return home


def registry_file(home: Home) -> Path:
    return home.path("feast", "registry.pb")


def services(home: Home) -> list[str]:
    return sorted(s.name for s in setup.open_store(home, PURPOSE).list_feature_services())


def plain(home: Home) -> FeatureStore:
    """Plain Feast on the same registry and online store."""
    return FeatureStore(
        config=RepoConfig(
            project="assent",
            registry=str(registry_file(home)),
            provider="local",
            online_store={"type": "sqlite", "path": str(home.path("feast", "online.db"))},
        )
    )


def copy_of(home: Home, place: Path) -> Path:
    return Path(shutil.copy(registry_file(home), place / "registry.copy"))


def test_any_flipped_byte_is_noticed(home: Home) -> None:
    """Wherever in the file it is, and before anything in it is unpickled."""
    raw = registry_file(home).read_bytes()
    for place in random.Random(7).sample(range(len(raw)), 60):
        registry_file(home).write_bytes(raw[:place] + bytes([raw[place] ^ 0x40]) + raw[place + 1 :])
        with pytest.raises(EvidenceError):
            services(home)
    registry_file(home).write_bytes(raw)
    assert services(home)


def test_an_older_copy_is_refused(home: Home, tmp_path: Path) -> None:
    """It was signed by this home, and says what held then; the newest is accepted again."""
    older = copy_of(home, tmp_path)
    store = setup.open_store(home, PURPOSE)
    loose = store.get_feature_service("scorecard_v1")
    loose.tags = {"purpose": "fraud_detection"}
    store.apply([loose])
    newest = registry_file(home).read_bytes()
    shutil.copy(older, registry_file(home))
    with pytest.raises(EvidenceError, match="older copy") as caught:
        services(home)
    assert "assent init" in caught.value.remedy
    registry_file(home).write_bytes(newest)
    assert setup.service_purpose(home, "scorecard_v1") == "fraud_detection"


def test_the_remedy_for_an_older_copy_is_one(home: Home, tmp_path: Path) -> None:
    """Where the newest is lost, removing the old one and applying the definitions makes a registry anew."""
    older = copy_of(home, tmp_path)
    setup.open_store(home, PURPOSE).apply(Project(name="assent"))
    shutil.copy(older, registry_file(home))
    registry_file(home).unlink()
    setup.apply(home)
    assert "scorecard_v1" in services(home)


@pytest.mark.parametrize("step", ["registry", "note"])
def test_a_write_that_was_interrupted_leaves_a_registry_that_is_accepted(
    home: Home, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Before the file was replaced it is the old one, after that the new one; then the next write goes through."""
    store = SignedRegistryStore(setup.open_store(home, PURPOSE).config.registry, home.root)
    registry, before = store.get_registry_proto(), services(home)

    class Killed(Exception):
        pass

    written = {"registry": 1, "note": 2}[step]
    note = SignedRegistryStore._write_newest

    def kill(self: SignedRegistryStore, *macs: bytes) -> None:
        nonlocal written
        written -= 1
        if written or step == "registry":
            note(self, *macs)
        if not written:
            raise Killed

    for _ in range(2):
        written = {"registry": 1, "note": 2}[step]
        with monkeypatch.context() as patched:
            patched.setattr(SignedRegistryStore, "_write_newest", kill)
            with pytest.raises(Killed):
                store.update_registry_proto(registry)
        assert services(home) == before
    store.update_registry_proto(registry)
    assert services(home) == before


def test_a_registry_without_its_note_beside_the_keys_is_refused(home: Home) -> None:
    """Nothing then says which one is the newest."""
    (note,) = home.keys.glob("registry-*")
    assert note.stat().st_mode & 0o077 == 0
    note.unlink()
    with pytest.raises(EvidenceError):
        services(home)


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: raw.replace(b"credit_scoring", b"fraud_detectio"),
        lambda raw: raw[:-1] + bytes([raw[-1] ^ 1]),
        lambda raw: raw[:-36],
        lambda raw: raw + raw[-36:],
        lambda raw: b"",
    ],
    ids=["another purpose", "another mac", "no mac", "two macs", "empty"],
)
def test_a_changed_registry_is_refused(home: Home, damage: Callable[[bytes], bytes]) -> None:
    open_before = setup.open_store(home, PURPOSE)
    assert open_before.list_feature_services()
    raw = registry_file(home).read_bytes()
    registry_file(home).write_bytes(damage(raw))
    for store in (setup.open_store(home, PURPOSE), open_before):
        with pytest.raises(EvidenceError):
            store.list_feature_services()


def test_another_homes_registry_is_refused(home: Home, lender: Lender) -> None:
    shutil.copy(registry_file(lender.home), registry_file(home))
    with pytest.raises(EvidenceError, match="another home"):
        services(home)


def test_what_plain_feast_wrote_is_refused(home: Home) -> None:
    assert [view.name for view in plain(home).list_feature_views()]
    plain(home).apply(Project(name="assent"))
    with pytest.raises(EvidenceError):
        services(home)


def test_a_change_by_one_configuration_shows_in_the_others_at_once(home: Home) -> None:
    fraud, credit = (setup.open_store(home, p) for p in ("fraud_detection", PURPOSE))
    service = credit.get_feature_service("scorecard_v1")
    service.name = "scorecard_v2"
    assert services(home) == sorted(s.name for s in fraud.list_feature_services())
    credit.apply([service])
    assert {s.name for s in fraud.registry.list_feature_services("assent", allow_cache=True)} == set(
        services(home)
    )
    assert "scorecard_v2" in services(home)


def test_every_write_is_a_new_version_for_feasts_caches(home: Home) -> None:
    store = SignedRegistryStore(setup.open_store(home, PURPOSE).config.registry, home.root)
    registry = store.get_registry_proto()
    before = registry.version_id
    store.update_registry_proto(registry)
    assert before != store.get_registry_proto().version_id != ""


def test_writers_at_the_same_time_leave_a_whole_registry(home: Home) -> None:
    def write(number: int) -> None:
        store = SignedRegistryStore(setup.open_store(home, PURPOSE).config.registry, home.root)
        registry = Registry()
        registry.ParseFromString(store.get_registry_proto().SerializeToString())
        registry.registry_schema_version = str(number)
        store.update_registry_proto(registry)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(12)))
    assert "scorecard_v1" in services(home)
    assert registry_file(home).stat().st_mode & 0o077 == 0


def test_a_missing_registry_is_made_anew_and_holds_nothing(home: Home) -> None:
    registry_file(home).unlink()
    assert services(home) == []
    setup.apply(home)
    assert "scorecard_v1" in services(home)


# ------------------------------------------------------------------------- the same files, plain Feast


def test_plain_stores_on_the_same_files_give_no_value(home: Home, lender: Lender) -> None:
    key = lender.agrees(PURPOSE)
    lender.publish("spending", [(key, -1, {"spend_7d": 1.0})])
    setup.materialise(lender.home, start=lender.at(-2), end=lender.at(0))
    request = {"features": ["spending_v1:spend_7d"], "entity_rows": [{"subject_key": key}]}
    ours = lender.stores[PURPOSE]
    assert ours.get_online_features(**request).to_dict()["spend_7d"] == [1.0]
    before = registry_file(lender.home).read_bytes()
    assert plain(lender.home).get_online_features(**request).to_dict()["spend_7d"] == [None]
    assert registry_file(lender.home).read_bytes() == before


@pytest.mark.parametrize("offline", ["dask", "duckdb"])
def test_plain_offline_stores_cannot_read_the_tables(lender: Lender, offline: str) -> None:
    key = lender.agrees(PURPOSE)
    version = lender.publish("spending", [(key, -1, {"spend_7d": 1.0})])
    store = plain(lender.home)
    store.config.offline_config, store.config._offline_store = {"type": offline}, None
    with pytest.raises((AssertionError, AttributeError, NotImplementedError, ValueError)):
        store.get_historical_features(
            entity_df=lender.entities((key, 0)), features=["spending_v1:spend_7d"]
        ).to_df()
    raw = lender.home.path("tables", version.table, version.files[0].file).read_bytes()
    assert key.encode() not in raw
    assert b"spend_7d" not in raw


@pytest.mark.parametrize("offline", ["dask", "duckdb"])
def test_plain_feast_materialises_nothing_from_the_tables(
    lender: Lender, offline: str, tmp_path: Path
) -> None:
    """Neither into an online store of its own, nor into ours."""
    key = lender.agrees(PURPOSE)
    lender.publish("spending", [(key, -1, {"spend_7d": 1.0})])
    for path in (tmp_path / "own.db", lender.home.path("feast", "online.db")):
        store = FeatureStore(
            config=RepoConfig(
                project="assent",
                registry=str(shutil.copy(registry_file(lender.home), tmp_path / "registry.pb")),
                provider="local",
                offline_store={"type": offline},
                online_store={"type": "sqlite", "path": str(path)},
            )
        )
        with pytest.raises((AssertionError, AttributeError, NotImplementedError, ValueError)):
            store.materialize(lender.at(-2), lender.at(0), feature_views=["spending_v1"])
    assert not (tmp_path / "own.db").exists() or b"spend_7d" not in (tmp_path / "own.db").read_bytes()


def test_a_published_file_cannot_be_declared_as_a_plain_source(lender: Lender, tmp_path: Path) -> None:
    """It is encrypted: plain Feast finds no Parquet file in it, and says so."""
    key = lender.agrees(PURPOSE)
    version = lender.publish("spending", [(key, -1, {"spend_7d": 1.0})])
    path = lender.home.path("tables", version.table, version.files[0].file)
    store = FeatureStore(
        config=RepoConfig(
            project="plain",
            registry=str(tmp_path / "registry.pb"),
            provider="local",
            online_store={"type": "sqlite", "path": str(tmp_path / "online.db")},
        )
    )
    subject = Entity(name="subject", join_keys=["subject_key"], value_type=ValueType.STRING)
    view = FeatureView(
        name="stolen",
        entities=[subject],
        schema=[Field(name="subject_key", dtype=String), Field(name="spend_7d", dtype=Float64)],
        source=FileSource(path=str(path), timestamp_field="event_timestamp"),
    )

    def steal() -> None:
        store.apply([subject, view])
        store.get_historical_features(
            entity_df=lender.entities((key, 0)), features=["stolen:spend_7d"]
        ).to_df()

    with pytest.raises(Exception, match=r"(?i)encrypt|parquet|magic"):
        steal()
