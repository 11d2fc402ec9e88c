"""What both store configurations say: for which purpose this Feast configuration reads, and in which home.

And what else a configuration must be, so that nothing in it is a way around the stores.
"""

from __future__ import annotations

import logging
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

from feast.repo_config import FeastConfigBaseModel, RepoConfig
from pydantic import StrictStr, model_validator

from consent.catalog import PURPOSES
from consent.errors import ConfigError, Gap
from consent.home import Home

# Feast warns at every start that this setting does nothing for a registry in a file. It does: without it no
# configuration serves a view while another materialises it.
logging.getLogger("feast.repo_config").addFilter(
    lambda record: "serve_features_while_materializing" not in record.getMessage()
)


class ConsentStoreConfig(FeastConfigBaseModel):
    """Fields of ``online_store`` and ``offline_store`` in feature_store.yaml.

    Attributes:
        purpose: what everything read through this configuration is for; one configuration, one purpose.
        home: absolute path of the Assent home.
        keys: absolute path of its keyring, where it does not lie beside the home.
    """

    purpose: StrictStr
    home: StrictStr
    keys: StrictStr | None = None

    @model_validator(mode="before")
    @classmethod
    def _require_purpose_and_home(cls, values: Any) -> Any:
        require_purpose_configured(values.get("purpose"))
        require_absolute(values.get("home"))
        return values

    def open_home(self) -> Home:
        """The home, opened once per process."""
        return open_home(self.home, self.keys)


def require_purpose_configured(purpose: object) -> str:
    """The purpose, if it is one of the catalog.

    Raises:
        Gap: none is configured, so nothing may be read.
    """
    if not isinstance(purpose, str) or purpose not in PURPOSES:
        raise Gap(
            "the store configuration names no purpose of the catalog",
            remedy=f"Set `purpose` of both stores to one of: {', '.join(sorted(PURPOSES))}.",
        )
    return purpose


def require_absolute(home: object) -> str:
    """The path, if it is absolute: Feast changes the working directory on some of its ways.

    Raises:
        ConfigError: it is not; an unset environment variable in the yaml ends here too.
    """
    if not isinstance(home, str) or not Path(home).is_absolute():
        raise ConfigError(
            "the store configuration does not name the home by an absolute path",
            remedy='Set `home`, or export ASSENT_HOME="$(realpath .assent)".',
        )
    return home


def require_consent_stores(config: RepoConfig) -> None:
    """All or nothing: one plain part beside a consent store would be a way around it.

    Asked by both stores and the provider, because Feast uses each without the others on some of its ways.

    Raises:
        ConfigError: a part is another, keeps what it is given, or differs in purpose or home.
    """
    offline, online = config.offline_store, config.online_store
    ours = isinstance(offline, ConsentStoreConfig) and isinstance(online, ConsentStoreConfig)
    registry = (config.registry.registry_type, config.registry.registry_store_type)
    if not ours or config.provider != _PROVIDER or registry != ("file", _REGISTRY):
        raise ConfigError(
            "the consent stores work with each other, the consent provider and the signed registry only",
            remedy="Start from feature_repo/feature_store.yaml.",
        )
    if offline.purpose != online.purpose or len({offline.home, online.home, config.registry.home}) > 1:
        raise ConfigError(
            "the stores and the registry differ in purpose or home",
            remedy="One configuration is for one purpose in one home.",
        )
    if config.batch_engine_config not in ("local", {"type": "local"}):
        raise ConfigError(
            "features are materialised by the local engine only: another would open stores of its own",
            remedy="Leave batch_engine out.",
        )
    if config.mlflow is not None and config.mlflow.auto_log_entity_df:
        raise ConfigError(
            "MLflow would keep the entity rows, and with them who was in a training set",
            remedy="Leave auto_log_entity_df out; the receipt says what a fetch used.",
        )


_PROVIDER = "feature_repo.stores.provider.ConsentProvider"
_REGISTRY = "feature_repo.stores.registry.SignedRegistryStore"


def open_home(root: str, keys: str | None) -> Home:
    """The home at `root`, opened once per process: an SQLite connection must not cross a fork."""
    return _open_in_process(root, keys, os.getpid())


@lru_cache(maxsize=64)
def _open_in_process(root: str, keys: str | None, _process_id: int) -> Home:
    return Home.open(Path(root), keys=None if keys is None else Path(keys))
