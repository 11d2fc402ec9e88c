"""Feast's provider for the consent stores: it refuses other stores, and services of another purpose."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from feast.feature_service import FeatureService
from feast.infra.passthrough_provider import PassthroughProvider
from feast.repo_config import RepoConfig

from consent.clock import EPOCH, now_utc
from consent.errors import ConfigError, Denied, Gap
from consent.home import CONFIG_FILE
from feature_repo.stores.config import require_consent_stores
from feature_repo.stores.newer import keeping_newer
from feature_repo.stores.source import require_consent_view


class ConsentProvider(PassthroughProvider):
    """Passes calls on to the two consent stores. The rules are in the stores: many calls never come by here.

    Feast hands a historical fetch on without the service it was asked for by, so there the configuration's purpose
    governs alone, as it does in every store anyway.
    """

    def __init__(self, config: RepoConfig) -> None:
        super().__init__(config)
        require_consent_stores(config)
        _require_own_home(config)

    def get_online_features(
        self,
        config: RepoConfig,
        features: Any,
        entity_rows: Any,
        registry: Any,
        project: str,
        full_feature_names: bool = False,
        include_feature_view_version_metadata: bool = False,
    ) -> Any:
        """As in Feast, after the service's purpose was compared with the configuration's.

        Raises:
            Denied: the service is for another purpose.
        """
        return super().get_online_features(
            config,
            _as_registered(config, features, registry, project),
            entity_rows,
            registry,
            project,
            full_feature_names,
            include_feature_view_version_metadata,
        )

    async def get_online_features_async(
        self,
        config: RepoConfig,
        features: Any,
        entity_rows: Any,
        registry: Any,
        project: str,
        full_feature_names: bool = False,
        include_feature_view_version_metadata: bool = False,
    ) -> Any:
        """As `get_online_features`."""
        return await super().get_online_features_async(
            config,
            _as_registered(config, features, registry, project),
            entity_rows,
            registry,
            project,
            full_feature_names,
            include_feature_view_version_metadata,
        )

    def materialize_single_feature_view(
        self,
        config: RepoConfig,
        feature_view: Any,
        start_date: datetime,
        end_date: datetime,
        registry: Any,
        project: str,
        tqdm_builder: Any,
        disable_event_timestamp: bool = False,
    ) -> None:
        """As in Feast, but an increment reaches back over the whole ttl of the view.

        Feast remembers how far a view was materialised, whatever for. From there on a second purpose would miss the
        rows that the first has brought online, and so would a person who agreed after that. Values that are newer
        than what the increment brings, because they were pushed, stay.
        """
        increment = start_date == feature_view.most_recent_end_time
        if increment:
            ttl = feature_view.ttl
            start_date = min(end_date, now_utc()) - ttl if ttl else EPOCH
        with keeping_newer() if increment else nullcontext():
            super().materialize_single_feature_view(
                config,
                feature_view,
                start_date,
                end_date,
                registry,
                project,
                tqdm_builder,
                disable_event_timestamp,
            )

    def retrieve_saved_dataset(self, config: RepoConfig, dataset: Any) -> NoReturn:
        """Refused like saving one.

        Raises:
            Denied: always.
        """
        raise Denied(
            "a saved dataset would outlive the consents it rests on",
            remedy="Keep the entity rows and the receipt, and fetch again when the values are needed.",
        )

    def write_feature_service_logs(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refused: a log of served values would outlive the consents they rest on.

        Raises:
            Denied: always.
        """
        raise Denied(
            "a log of served features would outlive the consents they rest on",
            remedy="Log the decision and the model's name, not the features.",
        )

    retrieve_feature_service_logs = write_feature_service_logs

    def update_infra(
        self,
        project: str,
        tables_to_delete: Any,
        tables_to_keep: Any,
        entities_to_delete: Any,
        entities_to_keep: Any,
        partial: bool,
    ) -> None:
        """As in Feast, after each view was found to be one that consent can be decided on.

        Raises:
            Gap, Denied: it is not.
        """
        for view in tables_to_keep:
            require_consent_view(view)
        super().update_infra(
            project, tables_to_delete, tables_to_keep, entities_to_delete, entities_to_keep, partial
        )


def _require_own_home(config: RepoConfig) -> None:
    """A configuration that was copied along with its home still names the old one, and would read its ledger.

    Raises:
        ConfigError: the configuration lies in another home than it names.
    """
    if config.repo_path is None:  # it lies in no file
        return
    around = Path(config.repo_path).absolute().parent.parent
    if (around / CONFIG_FILE).exists() and around.resolve() != Path(config.online_store.home).resolve():
        raise ConfigError(
            "the Feast configuration of this home names another home: one of them is a copy",
            remedy="Run `assent init` on this home to write its configurations anew.",
        )


def purpose_of(service: Any) -> str:
    """What a registered feature service is for.

    Raises:
        Gap: its tags do not say.
    """
    purpose = service.tags.get("purpose")
    if not purpose:
        raise Gap(f"feature service {service.name} names no purpose", remedy='Tag it {"purpose": ...}.')
    return str(purpose)


def _as_registered(config: RepoConfig, features: Any, registry: Any, project: str) -> Any:
    """The service as the registry knows it, never the caller's object, whose tags say what the caller likes."""
    if not isinstance(features, FeatureService):
        return features
    registered = registry.get_feature_service(features.name, project, allow_cache=True)
    purpose = purpose_of(registered)
    if purpose != config.online_store.purpose:
        raise Denied(
            f"feature service {registered.name} is for {purpose}, this configuration for"
            f" {config.online_store.purpose}",
            remedy="Open the configuration of the service's purpose.",
            code="PURPOSE",
        )
    return registered
