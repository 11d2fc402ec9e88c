"""``assent export``: everything that is held about one person, for that person."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from consent.clock import now_utc
from console.consent_commands import Subject
from console.options import DEFAULT_HOME, HomeOption, JsonOption, open_home
from console.show import progress_bar, say, say_json, say_table


def export(
    subject: Subject,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="The .zip to write; default: one here, named by date and pseudonym."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Take the place of a file that is there.")
    ] = False,
    home: HomeOption = DEFAULT_HOME,
    json: JsonOption = False,
) -> None:
    """Write everything that is held about a person into one package for that person (GDPR Art. 15, PIPL Art. 45).

    Records, features, consents with receipts and proofs, who used the data, how long it is kept, pages in English
    and Chinese to read it all, and a signed manifest. A hold or a pending erasure does not stand in the way. The
    package is plain text: hand it over on a safe way, and delete your copy.

    Examples:
      assent export C-1042
      assent export C-1042 --out /secure/outbox/C-1042.zip --overwrite
      assent export C-1042 --out package.zip --json
    """
    from rights.export import export_person, find_person  # what they need takes seconds to load

    opened = open_home(home)
    out = out or _place(find_person(opened, subject))
    with progress_bar(quiet=json) as advance:
        exported = export_person(opened, subject, out, overwrite=overwrite, on_progress=advance)
    if json:
        say_json(_summary(exported))
        return
    say(f"written: {exported.path} ({len(exported.entries)} files, {exported.path.stat().st_size:,} bytes)")
    say_table(("what", "how much"), _lines(exported.counts))
    say(f"manifest SHA-256 {exported.sha256}")
    say("It holds the person's data in plain text: hand it over on a safe way, and delete your copy.")


def _place(subject_key: str) -> Path:
    return Path(f"access-package-{now_utc():%Y-%m-%d}-{subject_key[:8]}.zip")


def _summary(exported: Any) -> dict[str, Any]:
    return {
        "file": str(exported.path),
        "manifest_sha256": exported.sha256,
        **exported.counts,
        "files": [
            {"file": e.file, "size": e.size, "rows": e.rows, "sha256": e.sha256} for e in exported.entries
        ],
    }


def _lines(counts: dict[str, Any]) -> list[tuple[str, str]]:
    """One line for each kind of data."""
    told = {name: value if isinstance(value, dict) else {"": value} for name, value in counts.items()}
    return [
        (name.replace("_", " "), ", ".join(f"{n:,} {about}".strip() for about, n in of.items()) or "none")
        for name, of in told.items()
    ]
