"""``assent runs``: what jobs did, told without a cell."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from consent.clock import now_utc
from consent.errors import BadInput
from consent.home import Home
from console.cli import run
from ingestion.publish import publish
from ingestion.run import ingest
from ingestion.runs import Stopwatch, find_run, keep_run, new_run_id, newest_runs
from tests.ingestion.conftest import grant_event, transaction, write_csv

Call = Callable[..., tuple[int, str, str]]
CUSTOMER, MERCHANT = "C-77001", "Secret Sweets"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One load with a good row, a bad one and one of a stranger; a publish, and another with nothing new."""
    place = tmp_path_factory.mktemp("runs")
    home = Home.create(place / "home")
    key = home.directory.find_or_create([CUSTOMER])[0]
    home.ledger.append([grant_event(key, "spending", "credit_scoring")])
    rows = [transaction(CUSTOMER, n, merchant=MERCHANT) for n in range(30)]
    bad = transaction(CUSTOMER, 31, merchant=MERCHANT, amount="-5")
    ingest(home, "spending", [write_csv(place / "a.csv", [*rows, bad, transaction("stranger", 1)])])
    now = now_utc()
    for _ in range(2):
        publish(home, clock=lambda: now)
    return home.root


@pytest.fixture
def call(made: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    def _call(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run(["runs", *arguments, "--home", str(made)])
        captured = capsys.readouterr()
        assert not any(secret in captured.out + captured.err for secret in (CUSTOMER, MERCHANT, "stranger"))
        return code, captured.out, captured.err

    return _call


def listed(call: Call, *arguments: str) -> list[dict[str, object]]:
    code, out, _ = call("list", *arguments, "--json")
    assert code == 0
    runs: list[dict[str, object]] = json.loads(out)["runs"]
    return runs


def test_jobs_are_listed_the_newest_first(call: Call) -> None:
    found = listed(call)
    assert sorted(str(r["kind"]) for r in found) == ["ingest", "publish", "publish"]
    assert [r["started_at"] for r in found] == sorted((r["started_at"] for r in found), reverse=True)
    _, out, _ = call("list")
    assert all(str(r["run_id"]) in out for r in found)
    assert "30 loaded" in out
    assert "nothing new" in out


def test_only_some_of_them(call: Call) -> None:
    assert [r["kind"] for r in listed(call, "--kind", "ingest")] == ["ingest"]
    assert len(listed(call, "--limit", "1")) == 1
    assert listed(call, "--since", (now_utc() + timedelta(hours=1)).isoformat()) == []
    assert len(listed(call, "--since", "2026-01-01")) == 3


def test_one_load_is_shown_with_reasons_rules_bytes_and_seconds(call: Call) -> None:
    (about,) = listed(call, "--kind", "ingest")
    (file,) = about["files"]  # type: ignore[misc]
    assert (file["read"], file["loaded"], file["quarantined"]) == (32, 30, 1)
    assert file["bytes"] > 1000
    assert set(about["stages"]) == {"read", "gate", "validate", "seal", "commit"}  # type: ignore[call-overload]
    assert sum(about["stages"].values()) <= about["seconds"] + 0.05  # type: ignore[attr-defined,operator]
    code, out, _ = call("show", str(about["run_id"]))
    assert code == 0
    for told in ("a.csv: refused: 1 ", "1 amount_positive", " seal"):
        assert told in out, out


def test_one_publish_is_shown_with_its_tables(call: Call) -> None:
    for about in listed(call, "--kind", "publish"):
        code, out, _ = call("show", str(about["run_id"]))
        assert code == 0
        assert "spending_v1" in out
    fresh = [about["tables"][0]["fresh"] for about in listed(call, "--kind", "publish")]  # type: ignore[index]
    assert sorted(fresh) == [False, True]


@pytest.mark.parametrize("name", ["2026-11-25T000000-000000", "../ledger", "", "a/b", "\0", "运行"])
def test_a_run_that_is_not_there(call: Call, name: str) -> None:
    code, out, err = call("show", name)
    assert (code, out) == (6, "")
    assert "assent runs list" in err


@pytest.mark.parametrize(
    ("arguments", "code"), [(("--kind", "sweep"), 6), (("--since", "yesterday"), 6), (("--limit", "0"), 2)]
)
def test_what_cannot_be_asked(call: Call, arguments: tuple[str, ...], code: int) -> None:
    found, out, err = call("list", *arguments)
    assert (found, out) == (code, "")
    assert err


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"{}", b'{"run_id": "x", "started_at": "never"}', b"\xff"]
)
def test_a_damaged_report_is_told(tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    home = Home.create(tmp_path / "home")
    home.path("runs").mkdir(exist_ok=True)
    home.path("runs", "2026-11-25T000000-aaaaaa.json").write_bytes(content)
    for question in (["list"], ["show", "2026-11-25T000000-aaaaaa"]):
        assert run(["runs", *question, "--home", str(home.root)]) == 5
    assert "Restore" in capsys.readouterr().err


def test_a_report_is_found_again_and_in_order(tmp_path: Path) -> None:
    home, now = Home.create(tmp_path / "home"), now_utc()
    ids = [new_run_id(now + timedelta(seconds=n)) for n in range(3)]
    for name in ids:
        keep_run(home, "publish", {"run_id": name, "started_at": "2026-11-25T00:00:00Z", "tables": []})
    assert [r.run_id for r in newest_runs(home)] == ids[::-1]
    assert find_run(home, ids[1]).kind == "publish"
    with pytest.raises(BadInput):
        find_run(home, "nothing")


def test_a_stopwatch_adds_up_what_is_a_stages_own() -> None:
    watch = Stopwatch()
    watch.enter("a")
    watch.enter("b")
    watch.enter("a")
    watch.enter(None)
    watch.enter(None)
    assert set(watch.seconds()) == {"a", "b"}
    assert all(0 <= spent < 1 for spent in watch.seconds().values())
