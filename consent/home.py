"""One directory for everything of one lender, and the keys beside it.

=================  =============================================================================
assent.toml        settings
access.db          the access log: who used or looked at which data
ledger.db          the consent ledger, unless the settings name a PostgreSQL database for it
directory.db       customer number -> subject key
tokens.db          what programs sign in with, as keyed hashes
repeats.db         answers to requests of the last day, so that one that is sent again changes nothing
keys.db            the subjects' data keys, sealed under the keyring's epoch key
vault/             sealed history of consented records, by source
quarantine/        sealed records that failed validation
tables/            published feature tables, encrypted, by definition version
receipts/          what each training fetch used
models/            which receipts a model was trained on
runs/              job reports, counts only
erasures/          erasures under way
certificates/      what erasures and sweeps destroyed, signed
feast/             one Feast configuration per purpose, the registry and the online store
=================  =============================================================================
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import tomllib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from consent.accesses import AccessLog
from consent.catalog import require_sound_catalog
from consent.console_settings import ConsoleSettings, parse_console
from consent.datakeys import DataKeys
from consent.directory import Directory
from consent.epochs import Epochs
from consent.errors import ConfigError, Conflict, Unavailable
from consent.evidence.handover import LogKeys
from consent.evidence.notes import Signer
from consent.exchange.controller import Controller, parse_controller
from consent.files import write_atomically
from consent.key_service import ServiceSettings, parse_key_service
from consent.keyring import Keyring
from consent.ledger import Ledger
from consent.lineage_settings import Lineage, parse_lineage
from consent.migrate import migrate
from consent.repeats import Repeats
from consent.timeline import Gate
from consent.tokens import Tokens

FORMAT = 2
CONFIG_FILE = "assent.toml"
_DIRECTORIES = (
    "vault",
    "quarantine",
    "tables",
    "receipts",
    "models",
    "runs",
    "erasures",
    "certificates",
    "feast",
)


@dataclass(frozen=True)
class Storage:
    """How long what is kept, in days; the settings' table ``[storage]``.

    Attributes:
        backup_days: how old the oldest backup of the home may be.
        evidence_days: consent records of an erased person, under the pseudonym.
        grace_days: records after the last consent to them has ended.
        quarantine_days: records in quarantine.
    """

    backup_days: int = 35
    evidence_days: int = 1_095
    grace_days: int = 30
    quarantine_days: int = 90


@dataclass(frozen=True)
class Online:
    """Where online features lie; the settings' table ``[online]``.

    Attributes:
        store: ``sqlite``, a file in the home, or ``redis``.
        connection: of Redis, as Feast writes it: ``host:port,parameter=value,...``. A password stays out of it: write
            ``password=${NAME}``, and whoever opens the store reads it from the environment.
    """

    store: str = "sqlite"
    connection: str | None = None


@dataclass(frozen=True)
class Settings:
    """What `assent.toml` says.

    Attributes:
        origin: name of the consent log, signed into every checkpoint.
        currency: ISO 4217 code of every amount in this home.
        reject_above: share of bad rows above which a batch is rejected whole.
        keys: absolute path of the keyring; None: beside the home.
        ledger: address of the PostgreSQL database that holds the ledger; None: ``ledger.db`` in the home.
        controller: who answers for the data, as consent records and receipts name them.
        key_service: wraps the epoch keys made from now on; None: they lie in the keyring.
        storage: how long what is kept.
        online: where online features lie.
        lineage: who is told of training sets besides their receipts.
        console: how the officer's console is reached, and who may sign in.
    """

    origin: str
    currency: str = "CNY"
    reject_above: float = 0.05
    keys: str | None = None
    ledger: str | None = None
    controller: Controller | None = None
    key_service: ServiceSettings | None = None
    storage: Storage = Storage()
    online: Online = Online()
    lineage: Lineage = field(default_factory=Lineage)
    console: ConsoleSettings = field(default_factory=ConsoleSettings)


class Home:
    """Opens the stores of one home. Make one with `Home.create`."""

    def __init__(self, root: Path, keys: Path, settings: Settings) -> None:
        self.root = root
        self.keys = keys
        self.settings = settings

    @classmethod
    def create(
        cls, root: Path, *, keys: Path | None = None, currency: str = "CNY", ledger: str | None = None
    ) -> Home:
        """A new home with its keys, ledger and directory; nothing is visible until all of it is there.

        Args:
            ledger: address of an empty PostgreSQL database for the ledger; None: a file in the home.

        Raises:
            Conflict: there is a home, or something else, already.
            ConfigError: the keys would lie inside the home.
        """
        require_sound_catalog()
        root = root.absolute()
        keys = (keys or keys_beside(root)).absolute()
        if root.resolve() in (keys.resolve(), *keys.resolve().parents):
            raise ConfigError(
                "the keys would lie inside the home, and so in its backups",
                remedy="Name a directory elsewhere with --keys.",
            )
        _require_currency(currency)
        if root.exists() and (not root.is_dir() or any(root.iterdir())):
            raise Conflict("the home exists and is not empty", remedy="Use it, or name another with --home.")
        keyring = Keyring.open(keys) if keys.is_dir() and any(keys.iterdir()) else Keyring.create(keys)
        elsewhere = None if keys == keys_beside(root) else str(keys)
        settings = Settings(
            f"assent/{secrets.token_hex(8)}", currency=currency, keys=elsewhere, ledger=ledger
        )
        partial = root.with_name(f"{root.name}.partial-{secrets.token_hex(4)}")
        partial.mkdir(mode=0o700, parents=True)
        try:
            _furnish(partial, keyring, settings)
            if root.exists():
                root.rmdir()
            partial.rename(root)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        return cls(root, keys, settings)

    @classmethod
    def open(cls, root: Path, *, keys: Path | None = None) -> Home:
        """The home at `root`.

        Args:
            keys: where the keyring is; else ``ASSENT_KEYS`` says it, else the settings, else it is beside the home.

        Raises:
            Unavailable: there is none.
            ConfigError: its settings cannot be understood.
        """
        require_sound_catalog()
        root = root.absolute()
        try:
            text = (root / CONFIG_FILE).read_text(encoding="utf-8")
        except OSError:
            raise Unavailable(
                "there is no Assent home here", remedy="Run `assent init`, or check --home."
            ) from None
        except UnicodeDecodeError:
            raise ConfigError(f"{CONFIG_FILE} is not text", remedy="Mend it or restore it.") from None
        settings = _parse_settings(text)
        named = keys or os.environ.get("ASSENT_KEYS") or settings.keys or keys_beside(root)
        return cls(root, Path(named).absolute(), settings)

    @cached_property
    def keyring(self) -> Keyring:
        """The keyring."""
        return Keyring.open(self.keys)

    @cached_property
    def ledger(self) -> Ledger:
        """The consent ledger."""
        origin = self.settings.origin
        return Ledger.open(
            _database(self.settings, self.root),
            self.keyring.log_signer(origin),
            anchor=self.keyring.anchor(origin),
            held=self.keyring.first_log_key(origin),
        )

    def log_keys(self) -> LogKeys:
        """The log's keys, from the first one on."""
        held = self.keyring.first_log_key(self.settings.origin)
        return LogKeys.follow(held, self.ledger.handovers())

    def migrate_ledger(self) -> tuple[str, str]:
        """Bring the ledger's tables to this version of Assent. Returns the revisions before and after."""
        origin = self.settings.origin
        return migrate(
            _database(self.settings, self.root),
            self.keyring.log_signer(origin),
            anchor=self.keyring.anchor(origin),
        )

    def rotate_log_key(self) -> bytes:
        """Hand the log over to a new key and forget the old one. Run again after a crash, it ends what it began.

        Returns:
            The handover note, signed by both keys.
        """
        note = self.ledger.hand_over(self.keyring.next_log_signer(self.settings.origin))
        self.keyring.adopt_next_log_key()
        return note

    @cached_property
    def gate(self) -> Gate:
        """The ledger's rules for whole tables."""
        return Gate(self.ledger)

    @cached_property
    def directory(self) -> Directory:
        """The subject directory."""
        return Directory.open(self.root / "directory.db", self.keyring.secret("directory"))

    @cached_property
    def epochs(self) -> Epochs:
        """The keys that wrap the data keys, in the keyring or with a key service."""
        return Epochs(self.keyring.path, self.settings.origin, self.settings.key_service)

    @cached_property
    def data_keys(self) -> DataKeys:
        """The subjects' data keys."""
        return DataKeys.open(self.root / "keys.db", self.epochs)

    @cached_property
    def accesses(self) -> AccessLog:
        """Who used or looked at which data. A home of an earlier build gets one at its first use."""
        place = _access_log(self.settings, self.root, self.keyring)
        if place[0].exists() or place[2].exists():
            return AccessLog.open(*place, self.data_keys)
        return AccessLog.create(*place, self.data_keys)

    @cached_property
    def tokens(self) -> Tokens:
        """What programs sign in with; the file is made at its first use."""
        return Tokens(self.root / "tokens.db", self.keyring.secret("tokens"))

    @cached_property
    def repeats(self) -> Repeats:
        """Answers to requests that may be sent again; the file is made at its first use."""
        return Repeats(self.root / "repeats.db", self.keyring.secret("repeats"))

    def path(self, *parts: str) -> Path:
        """A path under the home."""
        return self.root.joinpath(*parts)


def keys_beside(root: Path) -> Path:
    """Where a home's keys are unless something else is said."""
    return root.with_name(root.name + ".keys")


def _database(settings: Settings, root: Path) -> Path | str:
    """Where the ledger is, or will be."""
    return settings.ledger or root / "ledger.db"


def _access_log(settings: Settings, root: Path, keyring: Keyring) -> tuple[Path, Signer, Path]:
    """Where the access log is, or will be, the key that signs it, and its anchor."""
    origin = f"{settings.origin}/access"
    return root / "access.db", keyring.derived_signer(origin), keyring.anchor(origin)


def _furnish(place: Path, keyring: Keyring, settings: Settings) -> None:
    for name in _DIRECTORIES:
        (place / name).mkdir(mode=0o700)
    signer, anchor = keyring.log_signer(settings.origin), keyring.anchor(settings.origin)
    Ledger.create(_database(settings, place), signer, anchor=anchor).close()
    Directory.create(place / "directory.db", keyring.secret("directory")).close()
    epochs = Epochs(keyring.path, settings.origin)
    epochs.ensure(1)
    keys = DataKeys.create(place / "keys.db", epochs)
    AccessLog.create(*_access_log(settings, place, keyring), keys).close()
    keys.close()
    write_atomically(place / CONFIG_FILE, _format_settings(settings).encode())


def _require_currency(currency: object) -> str:
    if not isinstance(currency, str) or re.fullmatch("[A-Z]{3}", currency) is None:
        raise ConfigError("the currency is no ISO 4217 code", remedy="Write it like CNY or INR.")
    return currency


def _format_settings(settings: Settings) -> str:
    return (
        "# Assent home. Its keys lie beside this directory, or where `keys` or ASSENT_KEYS says; never in it.\n"
        f"format = {FORMAT}\n"
        f'origin = "{settings.origin}"\n'
        f'currency = "{settings.currency}"\n'
        f"reject_above = {settings.reject_above}\n"
        + "".join(
            f"{name} = {json.dumps(value)}\n"
            for name, value in (("keys", settings.keys), ("ledger", settings.ledger))
            if value
        )
    )


def _parse_settings(text: str) -> Settings:
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise ConfigError(f"{CONFIG_FILE} is not valid TOML", remedy="Mend it or restore it.") from None
    known = {
        "format",
        "origin",
        "currency",
        "reject_above",
        "keys",
        "ledger",
        "controller",
        "key_service",
        "storage",
        "online",
        "lineage",
        "console",
    }
    if raw.get("format") != FORMAT or not isinstance(raw.get("origin"), str) or set(raw) - known:
        raise ConfigError(
            f"{CONFIG_FILE} is not of format {FORMAT}, or has settings nobody knows",
            remedy=f"It may hold: {', '.join(sorted(known))}.",
        )
    reject_above = raw.get("reject_above", 0.05)
    if not isinstance(reject_above, int | float) or not 0 <= reject_above <= 1:
        raise ConfigError("reject_above is not a share from 0 to 1", remedy=f"Mend {CONFIG_FILE}.")
    keys = raw.get("keys")
    if keys is not None and not (isinstance(keys, str) and Path(keys).is_absolute()):
        raise ConfigError("keys is not an absolute path", remedy=f"Mend {CONFIG_FILE}.")
    ledger = raw.get("ledger")
    if ledger is not None and not isinstance(ledger, str):
        raise ConfigError("ledger is no address of a database", remedy=f"Mend {CONFIG_FILE}.")
    return Settings(
        raw["origin"],
        _require_currency(raw.get("currency", "CNY")),
        float(reject_above),
        keys,
        ledger,
        parse_controller(raw["controller"]) if "controller" in raw else None,
        _parse_key_service(raw["key_service"]) if "key_service" in raw else None,
        _parse_storage(raw.get("storage", {})),
        _parse_online(raw.get("online", {})),
        parse_lineage(raw.get("lineage", {})),
        parse_console(raw.get("console", {})),
    )


def _parse_online(table: object) -> Online:
    if not isinstance(table, dict) or set(table) - {"store", "connection"}:
        raise ConfigError("online has settings nobody knows", remedy="It may hold: store, connection.")
    online = Online(**table)
    is_redis = online.store == "redis" and isinstance(online.connection, str) and bool(online.connection)
    if not is_redis and online != Online("sqlite"):
        raise ConfigError(
            "online names no store that is known, or a Redis without its connection",
            remedy='Write store = "redis" and connection = "host:6379", or leave the table out.',
        )
    if is_redis and re.search(r"password=(?!\$\{)", str(online.connection)):
        raise ConfigError(
            "the connection of online holds a password", remedy="Write password=${NAME}, and export NAME."
        )
    return online


def _parse_storage(table: object) -> Storage:
    known = Storage.__dataclass_fields__.keys()
    if not isinstance(table, dict) or set(table) - known:
        raise ConfigError("storage has settings nobody knows", remedy=f"It may hold: {', '.join(known)}.")
    if any(type(days) is not int or not 0 <= days <= 36_500 for days in table.values()):
        raise ConfigError("storage holds what is no number of days", remedy=f"Mend {CONFIG_FILE}.")
    return Storage(**table)


def _parse_key_service(table: object) -> ServiceSettings:
    if not isinstance(table, dict):
        raise ConfigError("key_service is no table", remedy=f"Mend {CONFIG_FILE}.")
    return parse_key_service(table)
