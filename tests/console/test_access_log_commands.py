"""``assent receipt``, ``accesses`` and ``training-set --reproduce`` on a home with one training set."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from consent.clock import now_utc
from console.cli import run
from console.demo_data import Inputs, midnight, write_inputs

Call = Callable[..., tuple[int, str, str]]
SERVICE = "scorecard_training_v1"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Inputs]:
    """A home with features of thirty generated borrowers."""
    place = tmp_path_factory.mktemp("accesses")
    (place / "inputs").mkdir()
    inputs = write_inputs(place / "inputs", today=midnight(now_utc()), people=30, seed=5)
    home = ["--home", str(place / "home")]
    for arguments in (
        ["init"],
        ["consent", "import", inputs.consents],
        ["ingest", "spending", *inputs.spending],
        ["ingest", "employment", *inputs.employment],
        ["ingest", "app_usage", *inputs.app_usage],
        ["publish", "--entities", inputs.loans],
        ["training-set", inputs.loans, "--service", SERVICE, "--out", place / "t.parquet"],
        ["model", "register", "scorecard-1", "--receipt"],
    ):
        more = [next((place / "home" / "receipts").glob("*.json")).stem] if arguments[0] == "model" else []
        assert run([*map(str, arguments), *more, *home]) == 0
    return place, inputs


@pytest.fixture
def call(
    made: tuple[Path, Inputs],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Call:
    """Run a command on a copy of the home: (exit code, stdout, stderr)."""
    for name in ("home", "home.keys"):
        shutil.copytree(made[0] / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert run(["init", "--home", str(tmp_path / "home")]) == 0  # Feast's configurations name the home
    capsys.readouterr()

    def one(*arguments: str | Path) -> tuple[int, str, str]:
        code = run([*map(str, arguments), "--home", str(tmp_path / "home")])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return one


def who_is_used(inputs: Inputs, call: Call) -> str:
    """A borrower whose values are in the training set."""
    for person in inputs.people:
        code, out, _ = call("receipt", "of", person.customer, "--json")
        if code == 0 and json.loads(out)["receipts"]:
            return person.customer
    raise AssertionError("nobody is in the training set")


def test_the_receipt_is_listed_and_shown(call: Call) -> None:
    """With who asked, and as JSON with everything."""
    (listed,) = json.loads(call("receipt", "list", "--json")[1])["receipts"]
    code, out, _ = call("receipt", "show", listed["receipt_id"][:10])
    assert code == 0
    assert listed["receipt_id"] in out
    assert listed["caller"].startswith("local:")
    assert listed["caller"] in out
    assert "masked by reason" in out
    assert json.loads(call("receipt", "show", listed["receipt_id"], "--json")[1]) == listed
    assert listed["receipt_id"][:16] in call("receipt", "list")[1]


def test_the_training_sets_and_models_of_a_person(call: Call, made: tuple[Path, Inputs]) -> None:
    """And looking is written down before it is answered."""
    customer = who_is_used(made[1], call)
    answer = json.loads(call("receipt", "of", customer, "--json")[1])
    assert len(answer["receipts"]) == 1
    assert answer["models"] == ["scorecard-1"]
    assert "models: scorecard-1" in call("receipt", "of", customer)[1]
    looks = json.loads(call("accesses", "list", "--subject", customer, "--json")[1])["accesses"]
    assert [look["about"]["command"] for look in looks][:3] == ["accesses list", "receipt of", "receipt of"]
    assert customer not in json.dumps(looks)


def test_every_look_at_a_person_is_written_down(call: Call, made: tuple[Path, Inputs]) -> None:
    """By each command that tells something about one."""
    customer = who_is_used(made[1], call)
    question = ("--source", "spending", "--purpose", "model_training")
    for command in (
        ("consent", "show", customer),
        ("consent", "decide", customer, *question),
        ("consent", "review", customer, *question, "--read-at", "2026-01-01"),
    ):
        before = json.loads(call("accesses", "list", "--json")[1])["accesses"][0]["leaf_index"]
        call(*command)
        newest = json.loads(call("accesses", "list", "--json")[1])["accesses"][0]
        assert newest["leaf_index"] == before + 1
        assert (newest["kind"], newest["personal"]) == ("looked", True)
        assert newest["about"] == {"command": " ".join(command[:2])}


def test_without_the_log_nobody_looks(call: Call, made: tuple[Path, Inputs], tmp_path: Path) -> None:
    """4, and nothing about the person on the screen."""
    for path in (tmp_path / "home").glob("access.db*"):
        path.unlink()
    for person in made[1].people[:5]:
        code, out, err = call("consent", "show", person.customer)
        assert code in (4, 6)
        assert out == ""
        assert person.customer not in err
    assert call("training-set", made[1].loans, "--service", SERVICE, "--out", "x.parquet")[0] == 4
    assert not Path("x.parquet").exists()


def test_a_training_set_is_given_again_less_what_was_taken_away(
    call: Call, made: tuple[Path, Inputs]
) -> None:
    """It says how many; without a change, the same file."""
    place, inputs = made
    (receipt,) = json.loads(call("receipt", "list", "--json")[1])["receipts"]
    again = ("training-set", inputs.loans, "--reproduce", receipt["receipt_id"][:16])
    code, out, err = call(*again, "--out", "again.parquet")
    assert code == 0, err
    assert "taken away since: nothing" in out
    assert pq.read_table("again.parquet").equals(pq.read_table(place / "t.parquet"))
    customer = who_is_used(inputs, call)
    assert call("consent", "withdraw", customer)[0] == 0
    answer = json.loads(call(*again, "--out", "less.parquet", "--json")[1])
    assert sum(answer["taken_away"].values()) > 0
    assert answer["receipt"]["reproduces"] == receipt["receipt_id"]
    lost = (
        pq.read_table("less.parquet")["spend_30d"].null_count
        - pq.read_table("again.parquet")["spend_30d"].null_count
    )
    assert lost == answer["taken_away"]["spending_v1"]


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("receipt", "show", "0" * 64), 4, "no such receipt"),
        (("receipt", "show", "nonsense"), 6, "64 hex digits"),
        (("receipt", "of", "CANARY-nobody"), 6, "nothing is on record"),
        (("accesses", "list", "--subject", "CANARY-nobody"), 6, "nothing is on record"),
        (("accesses", "list", "--kind", "nonsense"), 2, "nonsense"),
        (("accesses", "list", "--since", "soon"), 6, "--since"),
        (("accesses", "list", "--limit", "0"), 2, "limit"),
        (("accesses", "audit", "--checkpoint", "none"), 6, "none"),
        (("accesses", "checkpoint", "--out", "/nowhere/at/all"), 6, "cannot be written"),
    ],
)
def test_what_cannot_be_told(call: Call, arguments: tuple[str, ...], code: int, told: str) -> None:
    """Stable exit codes and a remedy; no number is repeated."""
    got, out, err = call(*arguments)
    assert (got, out) == (code, "")
    assert told in err
    assert "CANARY" not in err


def test_what_to_fetch_must_be_said(call: Call, made: tuple[Path, Inputs]) -> None:
    """One of two ways, not both, not none; other rows than the receipt's are refused."""
    loans = made[1].loans
    assert call("training-set", loans, "--out", "x.parquet")[0] == 2
    both = ("--service", SERVICE, "--reproduce", "0" * 64)
    assert call("training-set", loans, *both, "--out", "x.parquet")[0] == 2
    (receipt,) = json.loads(call("receipt", "list", "--json")[1])["receipts"]
    fewer = Path("fewer.csv")
    fewer.write_text("\n".join(loans.read_text("utf-8").splitlines()[:-1]) + "\n", "utf-8")
    code, _, err = call("training-set", fewer, "--reproduce", receipt["receipt_id"], "--out", "x.parquet")
    assert (code, "not the entity rows" in err) == (6, True)
    assert not Path("x.parquet").exists()


def test_the_log_is_audited_against_a_checkpoint_kept_elsewhere(call: Call) -> None:
    """What is added later does not matter; what is lost does."""
    assert call("accesses", "checkpoint", "--out", "kept")[0] == 0
    assert "assent/" in call("accesses", "checkpoint")[1]
    assert json.loads(call("accesses", "checkpoint", "--json")[1])["checkpoint"].startswith("assent/")
    code, out, _ = call("accesses", "audit", "--checkpoint", "kept")
    assert (code, "audit passed" in out) == (0, True)
    assert json.loads(call("accesses", "audit", "--json")[1])["entries"] > 0
    assert call("accesses", "audit", "--checkpoint", "home/assent.toml")[0] in (5, 6)
