"""No value is ever returned without a decision that allows it, whatever happened before and in whatever order.

**One interleaving** is one question at one point of a random history: what a read gives for one person in one view
under one purpose, after whatever grants, refusals, pauses, resumptions, withdrawals, revocations, invalidations,
holds, links, erasures, batches, publishes, pushes and materialisations the dice brought until then. A read asks about
all people and views at once, and historical reads at many instants, so one read is many questions; every one of them
is compared with the slow twin, null or not, and every value with what was published for that very person.
``ASSENT_CASES`` is the number of questions: 20,000 unless it is set, 1,000,000 in the long run.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.feature_repo.random_walk import OFTEN, TAKEN_BACK, Walk

CASES = int(os.environ.get("ASSENT_CASES", "20000"))
SEED = int(os.environ.get("ASSENT_SEED", "1"))
#: So that several processes can share a long run.
PARTS = 4
#: Steps in one home, before the next one is made.
STEPS = 300


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("part", range(PARTS))
def test_every_read_gives_exactly_what_consent_allows(
    part: int, tmp_path: Path, record_property: Callable[[str, Any], None]
) -> None:
    """Not a value more than the twin allows, not one less, and each of them its own person's."""
    counts: Counter[str] = Counter()
    seed = SEED * 1_000_000 + part * 100_000
    while counts["questions"] < CASES / PARTS:
        walk = Walk(tmp_path / f"{seed}" / "home", seed)
        while walk.counts["steps"] < STEPS and counts["questions"] + walk.counts["questions"] < CASES / PARTS:
            walk.step()
        walk.end()
        shutil.rmtree(tmp_path / f"{seed}")
        counts += walk.counts
        seed += 1
    for name, number in sorted(counts.items()):
        record_property(name, number)
    print(f"part {part}: {dict(counts)}")
    assert counts["given"] > counts["questions"] / 50, "hardly anything was allowed: this shows little"
    for kind in set(TAKEN_BACK):
        # Were it never taken down, nobody who takes it back would be heard, and no read would differ.
        assert counts[f"{kind} not heard"] <= counts[f"{kind} heard"] + 2, f"{kind} is hardly ever taken down"
    if CASES >= 100_000:
        assert all(counts[kind] for kind in OFTEN), "something never happened"
