"""``assent erase``, ``sweep`` and ``certificate``: what a person may ask for, and what time asks for."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from consent.errors import BadInput, Denied, Unavailable
from consent.evidence.certificate import verify_certificate
from consent.home import Home
from consent.nouns import ANY
from console.data_commands import bring_online
from console.options import DEFAULT_HOME, HomeOption, JsonOption, open_home
from console.show import progress_bar, say, say_json, say_table

certificate_app = typer.Typer(help="What erasures and sweeps destroyed, signed.", no_args_is_help=True)


def erase(
    subjects: Annotated[
        list[str] | None, typer.Argument(help="Customer numbers.", show_default=False)
    ] = None,
    source: Annotated[str, typer.Option("--source", help="One source; default: the whole person.")] = ANY,
    basis: Annotated[
        str, typer.Option("--basis", help="The ground, for certificate and ledger. No person's name.")
    ] = "request of the person",
    from_file: Annotated[
        Path | None, typer.Option("--from", help="A text file with one customer number a line.")
    ] = None,
    blank_records: Annotated[
        bool,
        typer.Option(
            "--blank-records", help="Blank the consent records too; else they are kept as evidence."
        ),
    ] = False,
    home: HomeOption = DEFAULT_HOME,
    json: JsonOption = False,
) -> None:
    """Erase people, or one source of theirs, in every store and every backup, and write a signed certificate.

    Safe to repeat; what was interrupted is ended first. A hold stops it: then the request is on record, nothing is
    used, and the release carries it out. Ends with exit code 3 if a hold was in the way of somebody.

    Examples:
      assent erase C-1042
      assent erase C-1042 --source app_usage --basis "withdrawal of 3 November"
      assent erase --from requests.txt --json
    """
    from rights.erase import Wanted
    from rights.erase import erase as run_erase
    from rights.journal import under_way

    opened = open_home(home)
    numbers = list(dict.fromkeys([*(subjects or ()), *_read_numbers(from_file)]))
    keys = _find(opened, numbers, begun=under_way(opened))
    wanted = [Wanted(key, _require_source(source), basis, blank_records) for key in keys]
    with progress_bar(quiet=json) as advance:
        outcomes = run_erase(opened, wanted, on_progress=advance)
    say_erased(outcomes, as_json=json)


def say_erased(outcomes: Sequence[Any], *, as_json: bool) -> None:
    """Show what became of erasures.

    Raises:
        Denied: a hold was in the way of one.
    """
    held = [o for o in outcomes if o.held_by]
    if as_json:
        say_json({"erasures": [_outcome(o) for o in outcomes]})
    else:
        for outcome in outcomes:
            _say_outcome(outcome)
    if held:
        raise Denied(
            f"{len(held)} of {len(outcomes)} erasures wait for the release of a hold",
            remedy="Nothing is used meanwhile. `assent hold release` carries them out.",
            code="HELD",
        )


def _outcome(outcome: Any) -> dict[str, Any]:
    path = None if outcome.certificate is None else str(outcome.certificate)
    return {"certificate": path, "held_by": list(outcome.held_by), **outcome.document}


def _say_outcome(outcome: Any) -> None:
    if outcome.certificate is None:
        return
    say(f"certificate {outcome.certificate}")
    _say_items(outcome.document)


def _say_items(document: dict[str, Any]) -> None:
    told = {"store", "outcome", "how", "basis", "until", "deadline"}
    rows = []
    for item in document["items"]:
        counts = ", ".join(f"{value} {name}" for name, value in item.items() if name not in told | {"source"})
        until = item.get("until") or item.get("deadline")
        why = [item.get("how") or item.get("basis"), f"until {until[:10]}" if until else None]
        rows.append(
            (
                item["outcome"],
                " ".join(filter(None, (item["store"], item.get("source")))),
                counts,
                "; ".join(filter(None, why)),
            )
        )
    say_table(("outcome", "what", "how much", "how, or why"), rows)


def sweep(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what is due.")] = False,
    home: HomeOption = DEFAULT_HOME,
    json: JsonOption = False,
) -> None:
    """Carry out erasures that are due, and destroy what may not be kept any longer. Made to run every night.

    Data whose life or retention is over, data whose consent has ended longer ago than the days of grace, quarantine
    that is old, bytes that nobody can open any more. How long what is kept is set in assent.toml under [storage].

    Examples:
      assent sweep --dry-run
      assent sweep
    """
    from feature_repo.stores.setup import has_online
    from rights.sweep import sweep as run_sweep

    opened = open_home(home)
    with progress_bar(quiet=json) as advance:
        swept = run_sweep(opened, dry_run=dry_run, on_progress=advance)
        renewed = not dry_run and any(counts["people_in_part"] for counts in swept.records.values())
        if renewed and has_online(opened):
            advance("writing online features", 0, 1)
            bring_online(opened)  # those of people with a new key were sealed under the old one
    if json:
        say_json(swept.report())
        return
    done = "would go" if dry_run else "gone"
    say(f"{len(swept.erasures)} erasures carried out")
    for source, counts in swept.records.items():
        say(
            f"{source}: {counts['rows']} rows {done}: all of {counts['people']} people,"
            f" some of {counts['people_in_part']}"
        )
    if not dry_run:
        say(f"{swept.feature_rows} feature rows and {swept.online} online values gone")
        say(f"{swept.shut} records that nobody could open removed")
    say(
        f"consent records of {swept.blanked} people {'would be' if dry_run else ''} blanked".replace(
            "  ", " "
        )
    )
    say(f"certificate {swept.certificate}" if swept.certificate else "nothing was destroyed")


@certificate_app.command("list")
def list_certificates(home: HomeOption = DEFAULT_HOME, json: JsonOption = False) -> None:
    """List the certificates of a home, oldest first.

    Example: assent certificate list
    """
    opened = open_home(home)
    found = [
        (path, _read(opened, path)) for path in sorted(opened.path("certificates").glob("*.certificate"))
    ]
    found.sort(key=lambda each: _at(each[1]))
    if json:
        say_json({"certificates": [{"name": path.stem, **document} for path, document in found]})
        return
    say_table(
        ("name", "at", "what"),
        [(path.stem, _at(document)[:19], document["summary"]) for path, document in found],
    )


@certificate_app.command("show")
def show_certificate(
    name: Annotated[str, typer.Argument(help="The certificate's name, or how it begins.")],
    home: HomeOption = DEFAULT_HOME,
    json: JsonOption = False,
) -> None:
    """Verify a certificate's signature and show what it says. `assent log verify` does so on any machine.

    Example: assent certificate show 5e12b24903ff
    """
    opened = open_home(home)
    found = [p for p in opened.path("certificates").glob("*.certificate") if p.stem.startswith(name)]
    if len(found) != 1 or not name:
        raise BadInput(
            "there is no such certificate" if not found else "several certificates begin like this",
            remedy="See `assent certificate list`.",
        )
    document = _read(opened, found[0])
    if json:
        say_json(document)
        return
    say(f"{document['summary']}, {_at(document)}; signed by {opened.settings.origin}")
    if "items" in document:
        say(f"entry {document['ledger']['erasure']} of the ledger; basis: {document['basis']}")
        _say_items(document)
    else:
        say_json({k: v for k, v in document.items() if k not in ("summary", "swept_at", "sweep_id")})


def _read(home: Home, path: Path) -> dict[str, Any]:
    try:
        content = path.read_bytes()
    except OSError:
        raise Unavailable("a certificate cannot be read", remedy="Restore it from a copy.") from None
    return verify_certificate(content, home.log_keys().keys)[1]


def _at(document: dict[str, Any]) -> str:
    return str(document.get("erased_at") or document.get("swept_at") or "")


def _require_source(source: str) -> str:
    from consent.catalog import require_source

    return source if source == ANY else require_source(source)


def _find(home: Home, numbers: Sequence[str], *, begun: Collection[str]) -> list[str]:
    """Subject keys of customer numbers; the numbers themselves are never repeated.

    Args:
        begun: ids of erasures that were interrupted: whom they are about may have left the directory already.

    Raises:
        BadInput: nothing is on record about one of them.
        Denied: one of them is erased.
    """
    if not numbers:
        raise BadInput("nobody is named", remedy="Name customer numbers, or a file of them with --from.")
    keys = home.directory.find(numbers)
    lacking = [number for number, key in zip(numbers, keys, strict=True) if key is None]
    buried = home.directory.tombstones(lacking)
    ended = {t.erasure_id for t in buried.values()} - set(begun)
    if ended:
        raise Denied(
            f"{len(ended)} of {len(numbers)} people are erased already",
            remedy=f"See `assent certificate show`: {', '.join(sorted(ended))}.",
            code="ERASED",
        )
    unknown = len(lacking) - len(buried)
    if unknown:
        raise BadInput(
            f"nothing is on record about {unknown} of {len(numbers)} people",
            remedy="Check the customer numbers; nobody was erased.",
            code="UNKNOWN_SUBJECT",
        )
    return list(dict.fromkeys(key for key in keys if key is not None))


def _read_numbers(path: Path | None) -> list[str]:
    if path is None:
        return []
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError:
        raise BadInput("the file of --from cannot be read", remedy="Check the path.") from None
    except UnicodeDecodeError:
        raise BadInput("the file of --from is not UTF-8", remedy="Save it as UTF-8 text.") from None
    return [line.strip() for line in lines if line.strip()]
