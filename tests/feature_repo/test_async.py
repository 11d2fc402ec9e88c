"""Feast's asynchronous calls go the way of the others: decided at every write and at every read."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from feast.data_source import PushMode

from consent.errors import Denied
from tests.feature_repo.lender import Lender

PURPOSE = "credit_scoring"
REFS = ["spending_v1:spend_7d", "employment_v1:tenure_days"]


def read(lender: Lender, *keys: str, features: Any = None, purpose: str = PURPOSE) -> dict[str, list[Any]]:
    call = lender.stores[purpose].get_online_features_async(
        features=features or REFS, entity_rows=[{"subject_key": key} for key in keys]
    )
    answer: dict[str, list[Any]] = asyncio.run(call).to_dict()
    return answer


def write(lender: Lender, view: str, *rows: tuple[str, float], **cells: Any) -> None:
    store = lender.stores[PURPOSE]
    features = {f.name: cells.get(f.name) for f in store.get_feature_view(view).features}
    frame = lender.entities(*rows).assign(**features)
    asyncio.run(store.push_async(f"{view}_push", frame, to=PushMode.ONLINE))


def test_async_reads_are_gated_like_the_others(lender: Lender) -> None:
    """Several views at once, each decided apart; a withdrawal counts at the very next read."""
    both, one = lender.agrees(PURPOSE), lender.agrees(PURPOSE, sources=["employment"])
    trained = lender.agrees("model_training")
    for view, cells in (("spending_v1", {"spend_7d": 1.5}), ("employment_v1", {"tenure_days": 9})):
        write(lender, view, *((key, -1.0) for key in (both, one, trained)), **cells)
    answer = read(lender, both, one, trained)
    assert (answer["spend_7d"], answer["tenure_days"]) == ([1.5, None, None], [9, 9, None])
    lender.withdraw(both, "spending")
    answer = read(lender, both, one, trained)
    assert (answer["spend_7d"], answer["tenure_days"]) == ([None, None, None], [9, 9, None])


def test_async_writes_are_gated_like_the_others(lender: Lender) -> None:
    """What no purpose may use is not written, by either of the two calls."""
    kept, dropped = lender.agrees(PURPOSE), lender.person()
    write(lender, "spending_v1", (kept, -1), (dropped, -1), spend_7d=1.5)
    store, online = lender.stores[PURPOSE], lender.stores[PURPOSE].provider.online_store
    views = [store.get_feature_view("spending_v1")]
    assert set(online.count_subjects(store.config, views, [kept, dropped])) == {kept}
    row = {f.name: 2.5 for f in views[0].features}
    frame = lender.entities((kept, 0), (dropped, 0)).assign(**row)
    asyncio.run(store.write_to_online_store_async("spending_v1", frame))
    assert set(online.count_subjects(store.config, views, [kept, dropped])) == {kept}
    assert read(lender, kept, dropped)["spend_7d"] == [2.5, None]


def test_async_pushes_to_the_offline_store_are_refused(lender: Lender) -> None:
    """As they are without async: feature tables are published from consented records only."""
    store = lender.stores[PURPOSE]
    row = {f.name: 1.0 for f in store.get_feature_view("spending_v1").features}
    frame = lender.entities((lender.agrees(PURPOSE), -1)).assign(**row)
    with pytest.raises(Denied):
        asyncio.run(store.push_async("spending_v1_push", frame, to=PushMode.OFFLINE))


def test_a_service_of_another_purpose_is_denied_async(lender: Lender) -> None:
    """The provider compares purposes on this way too."""
    service = lender.stores[PURPOSE].get_feature_service("scorecard_v1")
    with pytest.raises(Denied) as caught:
        read(lender, "a" * 32, features=service, purpose="fraud_detection")
    assert caught.value.code == "PURPOSE"


def test_many_reads_and_writes_at_once_mix_nobody_up(lender: Lender) -> None:
    """Thirty people are written and read at the same time; each gets their own value or none."""
    people = [lender.agrees(PURPOSE) if i % 3 else lender.person() for i in range(30)]
    store = lender.stores[PURPOSE]
    features = [f.name for f in store.get_feature_view("spending_v1").features]

    async def everybody() -> list[Any]:
        frames = [
            lender.entities((key, -1)).assign(**dict.fromkeys(features, float(i)))
            for i, key in enumerate(people)
        ]
        await asyncio.gather(*(store.push_async("spending_v1_push", frame) for frame in frames))
        answers = await asyncio.gather(
            *(
                store.get_online_features_async(features=REFS[:1], entity_rows=[{"subject_key": key}])
                for key in people
            )
        )
        return [answer.to_dict()["spend_7d"][0] for answer in answers]

    assert asyncio.run(everybody()) == [float(i) if i % 3 else None for i in range(30)]


def test_feast_is_told_that_both_are_supported(lender: Lender) -> None:
    """Else its feature server would take the other way for reads, and nobody would notice this one."""
    supported = lender.stores[PURPOSE].provider.async_supported.online
    assert (supported.read, supported.write) == (True, True)
