"""A new epoch for the data keys of a home, and the end of all epochs before it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from consent.datakeys import Rotation
from consent.epochs import Destroyed
from consent.home import Home


@dataclass(frozen=True)
class Rotated:
    """What a new epoch did.

    Attributes:
        rotation: of the key table.
        destroyed: the epochs whose keys are gone.
    """

    rotation: Rotation
    destroyed: list[Destroyed]


def rotate_epoch(
    home: Home,
    *,
    destroy: Mapping[str, Collection[str]] | None = None,
    outdated: Mapping[str, Collection[str]] | None = None,
    on_progress: Callable[[int, int], None] = lambda *_: None,
) -> Rotated:
    """Seal all data keys under a new epoch key, made by the key service of the settings, and destroy the old ones.

    Args:
        destroy, outdated: see `DataKeys.rotate`.

    Raises:
        EvidenceError: this is an old copy of the home.
        Unavailable: a key service or the key table cannot be used. What was done so far holds; run it again.
    """
    home.ledger.head()  # an old copy of the home, with the newest keyring, must not destroy the newest home's keys
    epoch = home.epochs.current + 1
    rotation = home.data_keys.rotate(epoch, destroy=destroy, outdated=outdated, on_progress=on_progress)
    home.data_keys.forget()
    old = [number for number in home.epochs.numbers() if number < epoch]
    return Rotated(rotation, [home.epochs.destroy(number) for number in old])
