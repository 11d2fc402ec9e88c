"""``assent token``: what programs sign in with at the consent API and the console."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

import typer

from consent.clock import format_instant, now_utc
from consent.tokens import LONGEST_LIFE, Role, Token
from console.options import DEFAULT_HOME, HomeOption, JsonOption, open_home
from console.show import say, say_json, say_table

app = typer.Typer(help="Bearer tokens for programs: create, list, revoke.", no_args_is_help=True)

Name = Annotated[
    str, typer.Argument(help="What it is for; a name is used once and never again.", show_default=False)
]


@app.command()
def create(
    name: Name,
    role: Annotated[
        Role, typer.Option("--role", help="What it may do; a lender's app is a recorder.", show_default=False)
    ],
    days: Annotated[
        int, typer.Option("--days", min=1, max=LONGEST_LIFE.days, help="How long it is good.")
    ] = 90,
    home: HomeOption = DEFAULT_HOME,
    json: JsonOption = False,
) -> None:
    """Make a token and show it once. Only a keyed hash of it is kept.

    Example: assent token create loan-app --role recorder --days 90
    """
    expires_at = now_utc() + timedelta(days=days)
    secret = open_home(home).tokens.create(name, role, expires_at)
    if json:
        say_json(
            {"name": name, "role": role.value, "expires_at": format_instant(expires_at), "secret": secret}
        )
        return
    say(secret)
    say(
        f"{name}: {role.value} until {format_instant(expires_at)[:19]}. It is not kept: put it where it belongs now."
    )


@app.command("list")
def list_tokens(home: HomeOption = DEFAULT_HOME, json: JsonOption = False) -> None:
    """List every token there is or was, without the secrets.

    Example: assent token list
    """
    now = now_utc()
    found = [_told(token, is_good=token.is_good(now)) for token in open_home(home).tokens.all()]
    if json:
        say_json({"tokens": found})
        return
    say_table(
        ("name", "role", "made", "ends", "state"),
        [(t["name"], t["role"], t["created_at"][:19], t["expires_at"][:19], t["state"]) for t in found],
    )


@app.command()
def revoke(name: Name, home: HomeOption = DEFAULT_HOME, json: JsonOption = False) -> None:
    """End a token now; whoever uses it is refused at the next request. Safe to repeat.

    Example: assent token revoke loan-app
    """
    ended = open_home(home).tokens.revoke(name)
    if json:
        say_json(_told(ended, is_good=False))
        return
    say(f"{ended.name}: revoked")


def _told(token: Token, *, is_good: bool) -> dict[str, Any]:
    revoked = None if token.revoked_at is None else format_instant(token.revoked_at)
    return {
        "name": token.name,
        "role": token.role.value,
        "created_at": format_instant(token.created_at),
        "expires_at": format_instant(token.expires_at),
        "revoked_at": revoked,
        "state": "good" if is_good else "expired" if revoked is None else "revoked",
    }
