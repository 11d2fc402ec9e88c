"""What became of the rows of a historical fetch, as a small table and a picture.

The counts are those of the fetch's receipt; by month they are worked out anew, on the data versions and the ledger
entries that the receipt names.
"""

from __future__ import annotations

import html
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from consent.files import write_atomically
from feature_repo.stores.historical import Execution, Seen, Wanted
from feature_repo.stores.receipts import Receipt

GIVEN, NO_DATA = "given", "no data"
#: Calm for what is there, grey for what nobody has, warm for what consent keeps back.
_COLOURS = {GIVEN: "#4878a8", NO_DATA: "#d5d8dc"}
_MASKED_COLOURS = ("#c8553d", "#e09f3e", "#9e4770", "#7a5c3e", "#d4a5a5", "#5e503f", "#b5838d", "#6d6875")
_WIDTH_INCHES, _HEIGHT_INCHES = 8.0, 1.5


@dataclass(frozen=True, repr=False)
class Explanation:
    """What became of the entity rows, view by view.

    Attributes:
        receipt: of the fetch.
        by_month: one row per view, month of the entity rows' instants, and outcome: ``view``, ``month`` (NaT for
            rows without an instant), ``outcome`` (given, no data, or a denial reason), ``rows``.
    """

    receipt: Receipt
    by_month: pd.DataFrame

    @property
    def table(self) -> pd.DataFrame:
        """One row per view: given, no data, and a column for each reason that masked something; percent given."""
        rows = []
        for view in self.receipt.views:
            counts = {GIVEN: view.given, NO_DATA: view.no_data, **dict(sorted(view.masked.items()))}
            share = 100 * view.given / self.receipt.entity_rows if self.receipt.entity_rows else 0.0
            rows.append({"features": view.view, "source": view.source, "given %": round(share, 1), **counts})
        reasons = sorted({reason for view in self.receipt.views for reason in view.masked})
        columns = ["features", "source", "given %", GIVEN, NO_DATA, *reasons]
        frame = pd.DataFrame(rows, columns=columns)
        return (
            frame.astype(dict.fromkeys([GIVEN, NO_DATA], "int64"))
            .fillna(dict.fromkeys(reasons, 0))
            .astype(dict.fromkeys(reasons, "int64"))
        )

    def __str__(self) -> str:
        return (
            f"{self.receipt.entity_rows} rows for {self.receipt.purpose}, receipt {self.receipt.receipt_id[:16]}\n"
            f"{self.table.to_string(index=False)}"
        )

    __repr__ = __str__

    def _repr_html_(self) -> str:
        head = html.escape(str(self).partition("\n")[0])
        return f"<div><p>{head}</p>{self.table.to_html(index=False)}{self.picture()}</div>"

    def save(self, path: str | Path) -> None:
        """Write the picture, an SVG without a reference to anything outside it."""
        write_atomically(Path(path).absolute(), self.picture().encode())

    def picture(self) -> str:
        """Coverage over time, a band for each view: shares of given, no data and masked by reason, month by month."""
        import matplotlib as mpl
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure

        outcomes = self._outcomes()
        colours = {**_COLOURS, **dict(zip(outcomes[2:], _MASKED_COLOURS * 4, strict=False))}
        views = [view.view for view in self.receipt.views]
        with mpl.rc_context({"svg.fonttype": "path", "svg.hashsalt": "assent", "font.size": 9}):
            figure = Figure(figsize=(_WIDTH_INCHES, 0.8 + _HEIGHT_INCHES * len(views)), layout="constrained")
            FigureCanvasSVG(figure)
            axes = figure.subplots(len(views), 1, sharex=True, squeeze=False)[:, 0]
            for axis, view in zip(axes, views, strict=True):
                self._band(axis, view, outcomes, colours)
            handles, labels = axes[0].get_legend_handles_labels()
            figure.legend(
                handles, labels, loc="outside lower center", ncols=min(6, len(labels)), frameon=False
            )
            out = io.StringIO()
            figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
        return out.getvalue()[out.getvalue().index("<svg") :]

    def _outcomes(self) -> list[str]:
        """Those of the picture, from below to above: what is given first, the most frequent reason next."""
        counts = self.by_month.groupby("outcome")["rows"].sum().sort_values(ascending=False)
        return [GIVEN, NO_DATA, *(name for name in counts.index if name not in (GIVEN, NO_DATA))]

    def _band(self, axis: Any, view: str, outcomes: list[str], colours: dict[str, str]) -> None:
        rows = self.by_month[(self.by_month["view"] == view) & self.by_month["month"].notna()]
        counts = rows.pivot_table(
            index="month", columns="outcome", values="rows", aggfunc="sum", fill_value=0
        )
        counts = counts.reindex(columns=outcomes, fill_value=0).sort_index()
        shares = counts.div(counts.sum(axis=1), axis=0)
        names = [f"{month:%Y-%m}" for month in shares.index]
        below = np.zeros(len(shares))
        for outcome in outcomes:
            axis.bar(names, shares[outcome], bottom=below, width=0.9, color=colours[outcome], label=outcome)
            below += shares[outcome].to_numpy()
        axis.set_title(view, loc="left", fontsize=9)
        axis.set_ylim(0, 1)
        axis.set_yticks([0, 0.5, 1], ["0", "50", "100 %"])
        axis.tick_params(length=0)
        axis.spines[["top", "right", "left", "bottom"]].set_visible(False)
        for number, label in enumerate(axis.get_xticklabels()):
            label.set_visible(number % max(1, len(names) // 12) == 0)


def explain(wanted: Wanted, receipt: Receipt) -> Explanation:
    """What became of the rows of a fetch, on what its receipt names.

    Raises:
        Unavailable, EvidenceError, BadInput: as `historical.fetch`.
    """
    execution, counted = Execution(wanted, at=receipt), []
    for chunk in wanted.chunks():
        month = pc.floor_temporal(chunk.at, unit="month").cast(pa.date32())
        for seen in execution.look(chunk):
            rows = pa.table({"month": month, "outcome": _outcomes(seen)})
            found = rows.group_by(["month", "outcome"]).aggregate([([], "count_all")]).to_pandas()
            counted.append(found.assign(view=seen.view.name).rename(columns={"count_all": "rows"}))
    frame = pd.concat(counted, ignore_index=True)
    frame["month"] = pd.to_datetime(frame["month"])
    keys = ["view", "month", "outcome"]
    return Explanation(
        receipt, frame.groupby(keys, dropna=False, as_index=False)["rows"].sum()[[*keys, "rows"]]
    )


def _outcomes(seen: Seen) -> pa.Array:
    """Of each entity row: given, no data, or why not."""
    outcomes = np.full(seen.rows, "UNKNOWN", dtype=object)
    outcomes[seen.asked.rows] = seen.reasons.fill_null(NO_DATA).to_numpy(zero_copy_only=False)
    outcomes[seen.given] = GIVEN
    return pa.array(outcomes, pa.string())
