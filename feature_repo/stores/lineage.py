"""Training sets told of where others look: tags of an MLflow run, and OpenLineage events with what consent said.

Both only where the settings name them, and after the receipt is on record, which is the evidence: what does not get
through is warned about and changes nothing.
"""

from __future__ import annotations

import uuid
import warnings
from pathlib import PurePath
from typing import Any

from consent.clock import format_instant
from consent.home import Home
from feature_repo.stores.receipts import Receipt

PRODUCER = "assent"
#: The name of the facet with what consent said.
CONSENT_FACET = "assent_consent"
#: Tags of an MLflow run. A run may have several training sets.
RECEIPTS_TAG, PURPOSES_TAG = "assent.receipts", "assent.purposes"


class NotTold(UserWarning):
    """A training set's receipt is on record, but elsewhere nobody was told."""


def tell(home: Home, receipt: Receipt) -> None:
    """Tell of a training set wherever the settings say."""
    lineage = home.settings.lineage
    if lineage.mlflow:
        _try("MLflow", receipt, lambda: tag_run(receipt))
    if lineage.openlineage is not None:
        where = lineage.openlineage
        _try("OpenLineage", receipt, lambda: send_event(where, event_of(home, receipt)))


def _try(whom: str, receipt: Receipt, telling: Any) -> None:
    try:
        telling()
    except Exception as error:  # its text may hold an address with a key
        warnings.warn(
            f"{whom} was not told of receipt {receipt.receipt_id[:16]} ({type(error).__name__})",
            NotTold,
            stacklevel=2,
        )


def tag_run(receipt: Receipt) -> None:
    """Name the receipt in the MLflow run that is active, if one is."""
    import mlflow

    run = mlflow.active_run()
    if run is None:
        return
    tags = mlflow.get_run(run.info.run_id).data.tags
    for name, value in ((RECEIPTS_TAG, receipt.receipt_id), (PURPOSES_TAG, receipt.purpose)):
        known = [each for each in tags.get(name, "").split(",") if each]
        mlflow.set_tag(name, ",".join(dict.fromkeys([*known, value])))


def event_of(home: Home, receipt: Receipt) -> Any:
    """The OpenLineage event of a training set: the tables read, and a facet with what consent said; no person.

    Source: OpenLineage 2-0-2, RunEvent.
    """
    from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
    from openlineage.client.facet_v2 import dataset_version_dataset

    namespace = f"assent://{home.settings.origin}"
    version = dataset_version_dataset.DatasetVersionDatasetFacet
    inputs = [
        InputDataset(namespace, used.table, facets={"version": version(datasetVersion=str(used.version))})
        for used in receipt.tables
    ]
    return RunEvent(
        eventType=RunState.COMPLETE,
        eventTime=format_instant(receipt.created_at),
        producer=PRODUCER,
        run=Run(str(_run_id(receipt)), facets={CONSENT_FACET: _facet(receipt)}),
        job=Job(namespace, f"training-set.{receipt.purpose}"),
        inputs=inputs,
        outputs=[OutputDataset(namespace, f"training-set/{receipt.receipt_id}")],
    )


def _run_id(receipt: Receipt) -> uuid.UUID:
    """Follows from the receipt, so that the same one is the same run."""
    return uuid.UUID(receipt.receipt_id[:32], version=4)


def _facet(receipt: Receipt) -> Any:
    from attr import define
    from openlineage.client.facet_v2 import RunFacet

    @define(kw_only=True)
    class ConsentRunFacet(RunFacet):
        receipt: str
        purpose: str
        decided_at: str
        ledger_size: int
        checkpoint: str | None
        entity_rows: int
        subjects: int
        views: list[dict[str, Any]]

    return ConsentRunFacet(
        producer=PRODUCER,
        receipt=receipt.receipt_id,
        purpose=receipt.purpose,
        decided_at=format_instant(receipt.created_at),
        ledger_size=receipt.ledger_size,
        checkpoint=receipt.checkpoint,
        entity_rows=receipt.entity_rows,
        subjects=receipt.subjects,
        views=[vars(view) for view in receipt.views],
    )


def send_event(where: str, event: Any) -> None:
    """Send it to an address, or append it to a file."""
    from openlineage.client import OpenLineageClient
    from openlineage.client.transport.file import FileConfig, FileTransport
    from openlineage.client.transport.http import HttpConfig, HttpTransport

    if PurePath(where).is_absolute():
        transport: Any = FileTransport(FileConfig(log_file_path=where, append=True))
    else:
        transport = HttpTransport(HttpConfig.from_dict({"url": where, "timeout": 5}))
    OpenLineageClient(transport=transport).emit(event)
