"""Runs Feast's universal tests against Assent's stores, and says which were refused, and whether they should be.

python tests/feast_universal/run.py PLACE

PLACE holds Feast's ``sdk/python/tests`` and the packages they need, as ``make test-feast`` puts them there.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

HERE = Path(__file__).parent
TESTS = [
    "offline_store/test_feature_logging.py",
    "offline_store/test_non_entity_mode.py",
    "offline_store/test_offline_write.py",
    "offline_store/test_persist.py",
    "offline_store/test_push_features_to_offline_store.py",
    "offline_store/test_universal_historical_retrieval.py",
    "offline_store/test_universal_materialization.py",
    "offline_store/test_universal_types.py",
    "online_store/test_universal_online.py",
    "online_store/test_universal_online_types.py",
    "online_store/test_universal_e2e.py",
    "online_store/test_push_features_to_online_store.py",
    "materialization/test_universal_materialization.py",
]
#: What we refuse, and why; docs/feast.md has the same list.
BY_DESIGN = {
    "test_feature_service_logging": "a log of served values would outlive the consents",
    "test_historical_features_persisting": "so would a saved dataset",
    "test_reorder_columns": "feature tables are published from consented records only",
    "test_writing_consecutively_to_offline_store": "feature tables are published from consented records only",
    "test_push_features_and_read": "feature tables are published from consented records only (offline push)",
    "test_odfv_materialization_single_source": "on-demand views are computed when read, not written online",
    "test_odfv_materialization_multi_source": "on-demand views are computed when read, not written online",
    "test_odfv_materialization_incremental_multi_source": "on-demand views are computed when read",
    "test_odfv_write_methods": "on-demand views are computed when read, not written online",
    "test_online_retrieval_with_event_timestamps": "a view's ttl is kept on online reads too",
}
DOCKER = {
    "test_push_features_and_read_async_dynamodb",
    "test_async_online_retrieval_with_event_timestamps_dynamo",
}
INI = """[pytest]
asyncio_mode = auto
markers =
""" + "".join(
    f"    {name}: Feast's\n"
    for name in [
        "universal_offline_stores",
        "universal_online_stores",
        "rbac_remote_integration_test",
        "integration",
        "benchmark",
        "slow",
        "cloud",
        "local_only",
        "xdist_group",
        "mongodb",
        "ray_offline_stores_only",
        "timeout",
        "env",
    ]
)


def main(place: Path) -> int:
    """Run them; 0 if every failure is one that is meant."""
    (place / "feast.ini").write_text(INI)
    command = [sys.executable, "-m", "pytest", "-c", "../../feast.ini", "--rootdir", ".", "--integration"]
    command += ["-q", "-n", "0", "-p", "no:cacheprovider", "-W", "ignore", "--tb=line", "-rA"]
    command += ["-m", "not ray_offline_stores_only and not rbac_remote_integration_test"]
    command += [f"tests/integration/{name}" for name in TESTS]
    paths = [".", str(HERE), str(HERE.parents[1]), str(place / "lib")]
    env = os.environ | {
        "PYTHONPATH": os.pathsep.join(paths),
        "FULL_REPO_CONFIGS_MODULE": "assent_stores",
        "FEAST_IS_LOCAL_TEST": "True",
    }
    done = subprocess.run(
        command, cwd=place / "sdk" / "python", env=env, capture_output=True, text=True, check=False
    )
    counts: Counter[str] = Counter()
    for outcome, name in re.findall(r"^(PASSED|FAILED|ERROR) \S+::(\w+)", done.stdout, re.M):
        meant = outcome == "FAILED" and name in BY_DESIGN
        kind = "refused by design" if meant else "needs Docker" if name in DOCKER else outcome.lower()
        counts[kind] += 1
        if kind != "passed":
            print(f"{kind}: {name}{': ' + BY_DESIGN[name] if meant else ''}")
    counts["skipped by Feast"] = sum(map(int, re.findall(r"(\d+) skipped", done.stdout)))
    print(", ".join(f"{number} {kind}" for kind, number in counts.items()))
    if not counts["passed"]:
        print(done.stdout[-3000:], done.stderr[-3000:])
    return int(counts["failed"] + counts["error"] > 0 or not counts["passed"])


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]).absolute()))
