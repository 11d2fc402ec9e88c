"""The command ``assent``. Every command is thin: it parses, calls a room below, and shows the answer."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Annotated

import typer
from typer.exceptions import TyperException

from consent.errors import AssentError
from console import (
    access_commands,
    accesses_commands,
    consent_commands,
    data_commands,
    drift_commands,
    event_commands,
    export_commands,
    feature_server_commands,
    key_commands,
    log_commands,
    model_commands,
    quarantine_commands,
    receipt_commands,
    report_commands,
    rights_commands,
    run_commands,
    serve_commands,
    show,
    time_commands,
    token_commands,
    version_commands,
)
from console.demo import run_demo

_EPILOG = (
    "Exit codes: 0 ok, 1 unforeseen, 2 usage or configuration, 3 denied, 4 unavailable or conflict, "
    "5 evidence broken, 6 bad input, 7 data quality."
)

app = typer.Typer(
    name="assent",
    help="A consent-aware alternative-data feature store for small online loans.",
    epilog=_EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("init")(data_commands.init)


@app.command("demo")
def demo(
    home: Annotated[Path, typer.Option("--home", help="Where to make the demo's home.")] = Path(
        ".assent-demo"
    ),
    people: Annotated[int, typer.Option("--people", min=20, max=20_000, help="How many borrowers.")] = 400,
) -> None:
    """Run everything once on generated borrowers: consent, ingest, publish, train, withdraw, audit.

    Example: assent demo
    """
    run_demo(home, people, run)


consent_commands.app.command("pause")(event_commands.pause)
consent_commands.app.command("resume")(event_commands.resume)
consent_commands.app.command("revoke")(event_commands.revoke)
consent_commands.app.command("supersede")(event_commands.supersede)
consent_commands.app.command("invalidate")(event_commands.invalidate)
consent_commands.app.command("link")(event_commands.link)
consent_commands.app.command("request-erasure")(event_commands.request_erasure)
consent_commands.app.command("review")(time_commands.review)
consent_commands.app.command("eligible")(time_commands.eligible)
consent_commands.app.command("changes")(time_commands.changes)
consent_commands.app.command("receipt")(export_commands.receipt)
consent_commands.app.command("export")(export_commands.export)
app.add_typer(consent_commands.app, name="consent")
app.add_typer(event_commands.hold_app, name="hold")
app.command("ingest")(data_commands.ingest)
app.add_typer(quarantine_commands.app, name="quarantine")
app.command("publish")(data_commands.publish)
app.add_typer(run_commands.app, name="runs")
app.command("versions")(data_commands.versions)
app.command("drift")(drift_commands.drift)
app.command("rollback")(version_commands.rollback)
app.command("training-set")(data_commands.training_set)
app.command("serve-offline")(feature_server_commands.serve_offline)
app.command("serve-online")(feature_server_commands.serve_online)
app.command("client-config")(feature_server_commands.client_config)
app.command("export")(access_commands.export)
app.command("erase")(rights_commands.erase)
app.command("sweep")(rights_commands.sweep)
app.command("report")(report_commands.report)
app.command("serve")(serve_commands.serve)
app.add_typer(rights_commands.certificate_app, name="certificate")
app.add_typer(model_commands.app, name="model")
app.add_typer(receipt_commands.app, name="receipt")
app.add_typer(accesses_commands.app, name="accesses")
app.add_typer(key_commands.app, name="keys")
app.add_typer(log_commands.app, name="log")
app.add_typer(token_commands.app, name="token")


def main() -> None:
    """Run the command and end the process with the exit code of the table in `console.show`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that cannot show a character gets its number
            stream.reconfigure(errors="backslashreplace")
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code; errors are shown, never raised."""
    try:
        result = app(arguments, standalone_mode=False)
    except AssentError as error:
        show.say_error(error, as_json="--json" in arguments)
        return show.exit_code(error)
    except typer.Exit as stop:
        return stop.exit_code
    except typer.Abort:
        return 130
    except TyperException as error:
        if error.format_message():  # a bare group shows its help instead
            show.say_usage(error.format_message())
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 0
    except Exception as error:  # the last door: a message could quote a cell, so it is not shown
        show.say_unforeseen(error)
        return 1
    return result if isinstance(result, int) else 0
