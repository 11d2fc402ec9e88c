"""``assent keys``: the epochs that data keys are sealed under."""

from __future__ import annotations

import typer

from consent.clock import format_instant
from consent.files import exclusive
from consent.rotation import rotate_epoch
from console.options import DEFAULT_HOME, HomeOption, JsonOption, open_home
from console.show import progress_bar, say, say_json, say_table

app = typer.Typer(help="Data keys and the epoch keys that wrap them.", no_args_is_help=True)


@app.command()
def status(home: HomeOption = DEFAULT_HOME, json: JsonOption = False) -> None:
    """Show which epochs there are, who wraps them, and which of them are in use.

    Example: assent keys status
    """
    opened = open_home(home)
    used = set(opened.data_keys.epochs_in_use())
    epochs = [
        {"epoch": number, "service": opened.epochs.service_of(number), "in_use": number in used}
        for number in opened.epochs.numbers()
    ]
    if json:
        say_json({"epochs": epochs, "current": opened.epochs.current})
        return
    say_table(
        ("epoch", "wrapped by", "in use"),
        [(e["epoch"], e["service"], "yes" if e["in_use"] else "") for e in epochs],
    )


@app.command()
def rotate(home: HomeOption = DEFAULT_HOME, json: JsonOption = False) -> None:
    """Seal all data keys under a new epoch key and destroy the old one.

    The new epoch is made by the key service that assent.toml names under [key_service]. Backups of the key table
    made before do not open any more; make a new one afterwards.

    Example: assent keys rotate
    """
    opened = open_home(home)
    # Not beside an erasure: it leaves keys out of a new epoch, and this one would have them all.
    lock = exclusive(opened.path("job.lock"), "an ingestion, publish or erasure job")
    with lock, progress_bar(quiet=json) as advance:
        done = rotate_epoch(opened, on_progress=lambda n, of: advance("sealing data keys", n, of))
    if json:
        say_json(
            {
                "epoch": done.rotation.epoch,
                "buckets": done.rotation.buckets,
                "bytes": done.rotation.size,
                "destroyed": [
                    {"epoch": d.epoch, "service": d.service, "effective_at": format_instant(d.effective_at)}
                    for d in done.destroyed
                ],
            }
        )
        return
    say(f"epoch {done.rotation.epoch}: {done.rotation.buckets} buckets sealed, {done.rotation.size} bytes")
    for gone in done.destroyed:
        say(
            f"epoch {gone.epoch} destroyed ({gone.service}), for good from {format_instant(gone.effective_at)}"
        )
