"""``assent demo``: the whole line on generated borrowers, with a transcript a newcomer understands.

Every command shown is really run, through the same code as the command line.
"""

from __future__ import annotations

import shlex
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from consent.catalog import BUILT_IN, PURPOSES
from consent.clock import now_utc
from consent.errors import Conflict, EvidenceError
from consent.home import Home, keys_beside
from console.demo_data import Inputs, midnight, write_inputs
from console.show import say, say_table

_MARK = "DEMO"
_SERVICE = "scorecard_training_v1"


#: Runs one command line and returns its exit code.
Run = Callable[[list[str]], int]


def run_demo(home: Path, people: int, run: Run) -> None:
    """Run everything once on generated borrowers, in a fresh home.

    Raises:
        Conflict: something that is no demo is there already.
        EvidenceError: the line did not give what consent allows.
    """
    _clear(home)
    with tempfile.TemporaryDirectory(prefix="assent-demo-") as directory:
        inputs = write_inputs(Path(directory), today=midnight(now_utc()), people=people)
        _Transcript(home, Path(directory), inputs, run).tell()


def _clear(home: Path) -> None:
    """Remove an earlier demo; never anything else."""
    if not home.exists():
        return
    if not (home / _MARK).exists():
        raise Conflict(
            "there is something else where the demo's home would be", remedy="Name another with --home."
        )
    shutil.rmtree(home)
    shutil.rmtree(keys_beside(home.absolute()), ignore_errors=True)


class _Transcript:
    def __init__(self, home: Path, directory: Path, inputs: Inputs, run: Run) -> None:
        self._run = run
        self._home = home
        self._directory = directory
        self._inputs = inputs
        self._customer = ""

    def tell(self) -> None:
        """The story, in order."""
        people = len(self._inputs.people)
        self._say(
            f"{people} borrowers were asked for each source and each purpose apart.",
            "Their raw files lie in a temporary directory; the home will hold nothing of them in clear.",
        )
        self._assent("init")
        (self._home / _MARK).touch()
        self._say("WHO CONSENTED. The lender's app hands over what people answered.")
        self._assent("consent", "import", self._inputs.consents)
        self._say_coverage()
        self._say("WHAT IS LOADED, AND WHAT IS NOT. Without consent a row is counted, never loaded.")
        self._assent("ingest", "spending", *self._inputs.spending)
        self._assent("ingest", "employment", *self._inputs.employment)
        self._assent("ingest", "app_usage", *self._inputs.app_usage)
        self._say("FEATURES, as a new immutable data version each, offline and online.")
        self._assent("publish", "--entities", self._inputs.loans)
        self._say(
            "THE TRAINING SET for the loans decided so far, for the purpose model_training.",
            "Every loan keeps its row; what consent does not cover is null, and the reason is counted.",
        )
        first = self._training_set("training.parquet")
        self._customer, key = self._choose_person(first)
        self._say("ONE PERSON, who agreed to everything, is read online ...")
        self._online(key)
        self._say("... AND WITHDRAWS consent for spending. It counts from the very next read.")
        self._assent("consent", "withdraw", self._customer, "--source", "spending")
        self._assent(
            "consent",
            "decide",
            self._customer,
            "--source",
            "spending",
            "--purpose",
            "credit_scoring",
            expect=3,
        )
        self._online(key)
        second = self._training_set("training_again.parquet")
        self._compare(first, second, key)
        self._say("A file that arrives late brings none of the person's rows in.")
        self._assent("ingest", "spending", self._inputs.late_spending)
        self._say("THE PROOF. Replay the whole ledger against its signed checkpoints.")
        self._assent("log", "audit")
        self._assent("log", "checkpoint")
        self._say(
            f"The home is {self._home}; look around with `assent versions --home {self._home}`.",
            f"In Python: FeatureStore(repo_path='{self._home}/feast/credit_scoring').",
        )

    def _say(self, *lines: str) -> None:
        say()
        for line in lines:
            say(f"# {line}")

    def _assent(self, *arguments: str | Path, expect: int = 0) -> None:
        """Show a command as a person would type it, and run it. A customer number is never shown."""
        shown = [self._shown(a) for a in arguments]
        say(f"$ assent {' '.join(shown)}")
        code = self._run([*map(str, arguments), "--home", str(self._home)])
        if code != expect:
            raise EvidenceError(
                f"the demo's command ended with {code}, expected {expect}", remedy="Please report it."
            )
        if expect:
            say(f"(exit code {code})")

    def _shown(self, argument: str | Path) -> str:
        if argument == self._customer:
            return '"$CUSTOMER"'
        return argument.name if isinstance(argument, Path) else shlex.quote(argument)

    def _training_set(self, name: str) -> pa.Table:
        out = self._directory / name
        self._assent("training-set", self._inputs.loans, "--service", _SERVICE, "--out", out)
        return pq.read_table(out)

    def _say_coverage(self) -> None:
        """How many people's consent is in force now, by source and purpose."""
        home, now = Home.open(self._home), now_utc()
        keys = home.directory.find([p.customer for p in self._inputs.people])
        timeline, rows = home.gate.timeline(), []
        for source in BUILT_IN:
            reasons = [
                timeline.judge(
                    pa.chunked_array([pa.array(keys, pa.string())]), source, p, data_at=None, as_of=now
                )
                for p in PURPOSES
            ]
            rows.append((source, *(r.null_count for r in reasons)))
        say_table((f"consent in force, of {len(keys)}", *PURPOSES), rows)

    def _choose_person(self, training: pa.Table) -> tuple[str, str]:
        """A person of the training set who agreed to every source for training and for scoring."""
        home, now = Home.open(self._home), now_utc()
        for feature in ("spend_30d", "tenure_days", "events_30d"):
            training = training.filter(pc.is_valid(training[feature]))
        for source in BUILT_IN:
            reasons = home.gate.timeline().judge(
                training["subject_key"], source, "credit_scoring", data_at=None, as_of=now
            )
            training = training.filter(pc.is_null(reasons))
        key = training["subject_key"][0].as_py()
        customers = [p.customer for p in self._inputs.people]
        return dict(zip(home.directory.find(customers), customers, strict=True))[key], key

    def _online(self, key: str) -> None:
        from feature_repo.stores import setup

        say(f">>> store = FeatureStore(repo_path='{self._home}/feast/credit_scoring')")
        say(
            ">>> store.get_online_features(features=store.get_feature_service('scorecard_v1'), entity_rows=[person])"
        )
        values = setup.online_features(Home.open(self._home), "scorecard_v1", [key])
        for name in ("spend_30d", "income_90d", "tenure_days", "active_days_30d"):
            say(f"    {name:<16} {values[name][0]}")

    def _compare(self, first: pa.Table, second: pa.Table, key: str) -> None:
        def given(table: pa.Table) -> int:
            return int(pc.sum(pc.is_valid(table["spend_30d"])).as_py())

        theirs: list[Any] = second.filter(pc.equal(second["subject_key"], key))["spend_30d"].to_pylist()
        self._say(
            f"Rows: {first.num_rows} before, {second.num_rows} after. With spending features: {given(first)} before,"
            f" {given(second)} after.",
            f"The person's own value is now {theirs[0]}.",
        )
        if first.num_rows != second.num_rows or given(first) - given(second) != 1 or theirs != [None]:
            raise EvidenceError(
                "the demo's training set is not what consent allows", remedy="Please report it."
            )
