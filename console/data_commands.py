"""``assent init``, ``ingest``, ``publish``, ``versions`` and ``training-set``."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from consent.catalog import SOURCES, require_source
from consent.clock import EPOCH, format_instant, now_utc
from consent.errors import BadInput, ConfigError, DataQuality
from consent.files import move_into_place, partial_path, write_atomically
from consent.home import CONFIG_FILE, Home
from console.options import (
    DEFAULT_HOME,
    HomeOption,
    JsonOption,
    SubjectColumn,
    open_home,
    optional_instant,
)
from console.show import progress_bar, say, say_json, say_table


def init(
    home: HomeOption = DEFAULT_HOME,
    keys: Annotated[
        Path | None,
        typer.Option("--keys", envvar="ASSENT_KEYS", help="Keyring directory; default: beside the home."),
    ] = None,
    currency: Annotated[str, typer.Option("--currency", help="ISO 4217 code of all amounts.")] = "CNY",
    ledger: Annotated[
        str | None,
        typer.Option(
            "--ledger", help="An empty PostgreSQL database for the ledger; default: a file in the home."
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Make a home: keys, an empty consent ledger, and one Feast configuration per purpose.

    In a home that exists it writes the Feast configurations and definitions anew, and changes nothing else.

    Examples:
      assent init
      assent init --home /srv/assent --keys /secure/assent.keys --currency INR
      assent init --ledger postgresql://assent@db.internal/assent
    """
    exists = (home / CONFIG_FILE).exists()
    made = (
        Home.open(home, keys=keys)
        if exists
        else Home.create(home, keys=keys, currency=currency, ledger=ledger)
    )
    configurations = set_up_feast(made)
    if json:
        say_json({"home": str(made.root), "keys": str(made.keys), "feast": configurations})
        return
    say(f"home  {made.root}")
    say(f"keys  {made.keys}   (back this up apart from the home, never together with it)")
    for purpose, path in configurations.items():
        say(f"feast {path}   ({purpose})")


def set_up_feast(home: Home) -> dict[str, str]:
    """Write the Feast configurations and register the definitions."""
    from feature_repo.stores import setup  # Feast takes seconds to load

    configurations = setup.write_configurations(home)
    setup.apply(home)
    return {purpose: str(path.parent) for purpose, path in configurations.items()}


def ingest(
    source: Annotated[str, typer.Argument(help=f"One of {', '.join(sorted(SOURCES))}.")],
    files: Annotated[list[Path], typer.Argument(help="Parquet, CSV or JSONL files, plain or .gz.")],
    home: HomeOption = DEFAULT_HOME,
    subject_column: SubjectColumn = "subject_id",
    encoding: Annotated[
        str, typer.Option("--encoding", help="Of CSV and JSONL text, e.g. gb18030.")
    ] = "utf-8",
    mapping: Annotated[
        Path | None,
        typer.Option("--map", help="A mapping file (TOML): the lender's columns, codes and dates as ours."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would become of the first rows; change nothing.")
    ] = False,
    rows: Annotated[
        int, typer.Option("--rows", min=1, help="So many rows of each file in a dry run.")
    ] = 1000,
    report_page: Annotated[
        Path | None, typer.Option("--report", help="Also write what became of it, as an HTML page.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Load what people consented to. Safe to repeat: a row is loaded exactly once.

    Rows without consent are never loaded, only counted by reason. Rows that fail validation go to a sealed
    quarantine; a file with too many of them is rejected whole (exit code 7).

    Examples:
      assent ingest spending 2026-11.csv
      assent ingest employment jobs.jsonl --subject-column customer_no --encoding gb18030
      assent ingest spending trans.csv --map bank.toml --dry-run
    """
    from ingestion.run import ingest as run_ingest

    reading = _reading(source, mapping, subject_column, encoding)
    if report_page is not None and not report_page.absolute().parent.is_dir():
        raise BadInput("the directory of --report does not exist", remedy="Make it first.")
    opened = open_home(home)
    if dry_run:
        _rehearse(opened, source, files, reading, first=rows, json=json)
        return
    with progress_bar(quiet=json) as advance:
        report = run_ingest(opened, source, files, reading=reading, on_progress=advance)
    if report_page is not None:
        _write_page(report, report_page)
    if json:
        say_json(report.report())
    else:
        say_ingested(report)
    if report.rejected_files:
        raise DataQuality(
            f"rejected whole: {', '.join(report.rejected_files)}: a check of the whole file failed, or more than"
            f" {opened.settings.reject_above:.0%} of the rows that consent admits break a rule",
            remedy="Mend the file; the rules are listed above. Nothing of it was loaded.",
        )


def _write_page(report: Any, path: Path) -> None:
    from console.job_page import job_page

    write_atomically(path.absolute(), job_page(report).encode())


def _reading(source: str, mapping: Path | None, subject_column: str, encoding: str) -> Any:
    """How the files are read, as the options say."""
    from ingestion.mapped_rows import read_mapping
    from ingestion.reading import Reading
    from ingestion.sources import source as find_source

    require_source(source)
    if mapping is None:
        return Reading(subject_column, encoding)
    if (subject_column, encoding) != ("subject_id", "utf-8"):
        raise ConfigError(
            "--map says which column holds the customer number, and the encoding",
            remedy="Leave --subject-column and --encoding out.",
        )
    return Reading(mapping=read_mapping(mapping, find_source(source)))


def _rehearse(home: Home, source: str, files: list[Path], reading: Any, *, first: int, json: bool) -> None:
    from ingestion.rehearsal import rehearse

    with progress_bar(quiet=json) as advance:
        advance("trying the first rows", 0, 1)
        rehearsals = rehearse(home, source, files, reading=reading, first=first)
    if json:
        say_json({"source": source, "dry_run": True, "files": [r.to_document() for r in rehearsals]})
        return
    say_files([r.report for r in rehearsals])
    for rehearsal in rehearsals:
        say(f"\n{rehearsal.report.file}: {rehearsal.report.rows} of {rehearsal.in_file} rows were looked at")
        columns = list(rehearsal.sample[0]) if rehearsal.sample else []
        say_table(columns, [[row[c] or "-" for c in columns] for row in rehearsal.sample])
    say("\ndry run: nothing was loaded, sealed or written")


def say_ingested(report: Any) -> None:
    """One line per file, then why rows were refused or quarantined."""
    say_files(report.files)


def say_files(files: Sequence[Any]) -> None:
    """`say_ingested`, of reports on files."""
    columns = ("file", "read", "loaded", "refused", "quarantined", "rejected", "earlier", "outcome")
    rows = [
        (
            f.file,
            f.read,
            f.loaded,
            sum(f.refused.values()),
            f.quarantined,
            f.rejected,
            f.already_ingested,
            f.outcome,
        )
        for f in files
    ]
    say_table(columns, rows)
    for f in files:
        for label, counts in (
            ("refused", f.refused),
            ("broken rules" if f.rejected else "quarantined", f.quarantined_by_rule),
            ("warned", f.warnings_by_rule),
        ):
            if counts:
                say(f"  {f.file}: {label}: " + ", ".join(f"{n} {name}" for name, n in counts.items()))
        if f.undated:
            say(
                f"  {f.file}: {f.undated} of those refused have no date that can be read,"
                " so no consent can be held against them"
            )
        if f.left_out:
            say(f"  {f.file}: left out by the mapping: {f.left_out} rows")
        if f.table_warnings:
            say(f"  {f.file}: warned of the file as a whole: {', '.join(f.table_warnings)}")
        if f.failed_table_checks:
            say(f"  {f.file}: failed: {', '.join(f.failed_table_checks)}")


def publish(
    sources: Annotated[list[str] | None, typer.Argument(help="Which sources; default: all.")] = None,
    as_of: Annotated[
        str | None, typer.Option("--as-of", help="Instant of the newest row; default: now.")
    ] = None,
    entities: Annotated[
        Path | None,
        typer.Option(
            "--entities", help="CSV or Parquet of customers and instants that need rows of their own."
        ),
    ] = None,
    full: Annotated[
        bool,
        typer.Option("--full", help="Compute every row anew, also of people of whom nothing has changed."),
    ] = False,
    home: HomeOption = DEFAULT_HOME,
    subject_column: SubjectColumn = "subject_id",
    json: JsonOption = False,
) -> None:
    """Compute features and publish them as a new data version, offline and online.

    Rows that nothing has touched since the last version are kept; the result is that of --full. Nothing changed at
    all: nothing is published. With --as-of the online store stays as it is.

    Examples:
      assent publish
      assent publish spending --entities loans.csv
    """
    from ingestion.entities import read_entities
    from ingestion.publish import publish as run_publish

    for name in sources or ():
        require_source(name)
    opened = open_home(home)
    asked = None if entities is None else read_entities(opened, entities, subject_column=subject_column)
    with progress_bar(quiet=json) as advance:
        published = run_publish(
            opened,
            sources,
            as_of=optional_instant(as_of, "--as-of"),
            entities=None if asked is None else asked.select(["subject_key", "event_timestamp"]),
            full=full,
            on_progress=advance,
        )
        advance("writing online features", 0, 1)
        online, removed = bring_online(opened) if published and as_of is None else ({}, 0)
    if json:
        say_json(
            {
                "published": [
                    {**_version(p.version), "fresh": p.fresh, "people_computed_anew": p.computed}
                    for p in published
                ],
                "online_rows": online,
                "online_rows_removed": removed,
            }
        )
        return
    say_table(
        ("table", "version", "rows", "people", "computed anew", ""),
        [
            (
                p.version.table,
                p.version.number,
                p.version.rows,
                p.version.subjects,
                p.computed,
                "new" if p.fresh else "unchanged",
            )
            for p in published
        ],
    )
    say("online: written " + (", ".join(f"{n} {view}" for view, n in online.items()) or "nothing"), end="")
    say(f"; {removed} rows that nobody may use any more removed")


def bring_online(home: Home) -> tuple[dict[str, int], int]:
    """Bring the online store up to date: people written per feature view, and rows removed."""
    from feature_repo.stores import setup

    return setup.materialise(home, start=EPOCH, end=now_utc()), setup.remove_unusable(home)


def versions(home: HomeOption = DEFAULT_HOME, json: JsonOption = False) -> None:
    """Show every published data version.

    Example: assent versions
    """
    from ingestion.sources import definitions
    from ingestion.tables import read_versions

    opened = open_home(home)
    found = [v for each in definitions() for v in read_versions(opened, each.definition)]
    if json:
        say_json({"versions": [_version(v) for v in found]})
        return
    say_table(
        ("table", "version", "rows", "people", "published", "definition", "ledger size", "rolled back to"),
        [
            (
                v.table,
                v.number,
                v.rows,
                v.subjects,
                format_instant(v.published_at)[:19],
                v.definition_hash[:12],
                v.lineage["ledger_size"],
                v.lineage.get("rolled_back_to"),
            )
            for v in found
        ],
    )


def _version(version: Any) -> dict[str, Any]:
    return {**vars(version), "published_at": format_instant(version.published_at)}


def training_set(
    entities: Annotated[Path, typer.Argument(help="CSV or Parquet: customers, event_timestamp, labels.")],
    out: Annotated[Path, typer.Option("--out", help="Where to write it: .parquet or .csv.")],
    service: Annotated[
        str | None, typer.Option("--service", help="Feature service, e.g. scorecard_training_v1.")
    ] = None,
    receipt: Annotated[
        str | None, typer.Option("--reproduce", help="Instead of a service: the receipt of an earlier one.")
    ] = None,
    data_version: Annotated[
        list[str] | None,
        typer.Option("--data-version", help="TABLE=N: read this version, not the newest; may be repeated."),
    ] = None,
    home: HomeOption = DEFAULT_HOME,
    subject_column: SubjectColumn = "subject_id",
    json: JsonOption = False,
) -> None:
    """Fetch a point-in-time training set: the same as the plain Feast call, with its receipt.

    A value is given only where consent for the service's purpose is in force now and was in force at the row's
    instant; else it is null and the reason is counted. Every row stays.

    With --reproduce the values of an earlier training set are given again, from the data versions of then and for the
    same entity rows, less what consent has taken away since; it says how many.

    Examples:
      assent training-set loans.csv --service scorecard_training_v1 --out training.parquet
      assent training-set loans.csv --reproduce ff227a41... --out again.parquet
      assent training-set loans.csv --service scorecard_training_v1 --data-version spending_v1=3 --out then.parquet
    """
    if (service is None) == (receipt is None):
        raise ConfigError("what to fetch is not said", remedy="Name either --service or --reproduce.")
    if receipt is not None and data_version:
        raise ConfigError("a receipt names its own data versions", remedy="Leave out --data-version.")
    numbers = dict(_data_version(text) for text in data_version or ())
    if out.suffix.lower() not in (".parquet", ".csv"):
        raise BadInput("the training set can be .parquet or .csv", remedy="Name --out accordingly.")
    if not out.absolute().parent.is_dir():
        raise BadInput("the directory of --out does not exist", remedy="Make it first.")
    if not entities.is_file():
        raise BadInput(f"{entities.name}: there is no such file", remedy="Check the path.")
    from feature_repo.stores import setup
    from feature_repo.stores.receipts import find_receipt, taken_away
    from ingestion.entities import read_entities

    opened = open_home(home)
    with progress_bar(quiet=json) as advance:
        advance("reading the entities", 0, 2)
        frame = read_entities(opened, entities, subject_column=subject_column)
        advance("fetching what consent allows", 1, 2)
        if service is not None:
            before, (fetched, used) = None, setup.training_set(opened, frame, service, data_versions=numbers)
        else:
            before = find_receipt(opened, str(receipt))
            fetched, used = setup.reproduce(opened, frame, before)
    _write(fetched, out)
    lost = None if before is None else taken_away(before, used)
    if json:
        more = {} if lost is None else {"taken_away": lost}
        say_json({"out": str(out), "rows": len(fetched), "receipt": asdict(used), **more})
        return
    say_fetched(used)
    if lost is not None:
        told = ", ".join(f"{count} of {view}" for view, count in lost.items() if count)
        say(f"taken away since: {told or 'nothing'}")
    say(f"{len(fetched)} rows written to {out.name}")


def _data_version(text: str) -> tuple[str, int]:
    table, _, number = text.partition("=")
    if not re.fullmatch(r"[1-9]\d{0,8}", number):
        raise BadInput("a data version is written TABLE=N", remedy="Example: --data-version spending_v1=3")
    return table, int(number)


def _write(frame: Any, out: Path) -> None:
    partial = partial_path(out.absolute())
    try:
        partial.touch(mode=0o600)
        if out.suffix.lower() == ".csv":
            frame.to_csv(partial, index=False)
        else:
            frame.to_parquet(partial, index=False)
        move_into_place(partial, out.absolute())
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        reason = os.strerror(error.errno) if error.errno else "no reason given"
        raise BadInput(f"{out.name} cannot be written ({reason})", remedy="Check the path.") from None


def say_fetched(receipt: Any) -> None:
    """Coverage by feature view and the reasons for what is masked."""
    rows = [
        (v.view, v.given, v.no_data, ", ".join(f"{n} {r}" for r, n in sorted(v.masked.items())) or "-")
        for v in receipt.views
    ]
    say_table(("features", "given", "no data", "masked by reason"), rows)
    say(f"purpose {receipt.purpose}, receipt {receipt.receipt_id[:16]}")
