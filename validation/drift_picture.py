"""Drift as a picture: for each feature the shares of people by bin, before and now."""

from __future__ import annotations

import io
from collections.abc import Sequence

from validation.drift import GREAT, WORTH_A_LOOK, FeatureDrift

_BEFORE, _NOW, _LOOK, _GREAT = "#b8c4ce", "#2a6f97", "#b26b00", "#b3261e"
_ACROSS = 4


def drift_picture(title: str, drifts: Sequence[FeatureDrift], *, form: str = "svg") -> bytes:
    """An SVG or PNG; it names features and shares of people, and refers to nothing outside it.

    Args:
        title: above it.
        form: ``svg`` or ``png``.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    down = -(-len(drifts) // _ACROSS)
    with mpl.rc_context({"svg.fonttype": "path", "svg.hashsalt": "assent", "font.size": 8}):
        figure = Figure(figsize=(11, 0.9 + 1.7 * down), layout="constrained")
        FigureCanvasAgg(figure)
        figure.suptitle(title, x=0.01, ha="left", fontsize=11)
        axes = figure.subplots(down, _ACROSS, squeeze=False).ravel()
        for axis, drift in zip(axes, drifts, strict=False):
            _draw(axis, drift)
        for axis in axes[len(drifts) :]:
            axis.set_visible(False)
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower left", ncols=2, frameon=False)
        out = io.BytesIO()
        plain = {"Date": None, "Creator": None} if form == "svg" else {"Software": None}
        figure.savefig(out, format=form, dpi=110, metadata=plain)
    picture = out.getvalue()
    return picture[picture.index(b"<svg") :] if form == "svg" else picture


def _draw(axis: object, drift: FeatureDrift) -> None:
    """Pairs of bars; the last pair, set apart, is of people without a value."""
    places = [*range(len(drift.now) - 1), len(drift.now) - 0.4]
    colour = _GREAT if drift.psi >= GREAT else _LOOK if drift.psi >= WORTH_A_LOOK else "black"
    axis.bar([p - 0.2 for p in places], drift.before, 0.4, color=_BEFORE, label="version before")  # type: ignore[attr-defined]
    axis.bar([p + 0.2 for p in places], drift.now, 0.4, color=_NOW, label="this version")  # type: ignore[attr-defined]
    axis.set_title(f"{drift.feature}   PSI {drift.psi:.2f}", loc="left", fontsize=8, color=colour)  # type: ignore[attr-defined]
    axis.set_xticks([places[0], places[-2], places[-1]], ["low", "high", "null"])  # type: ignore[attr-defined]
    top = max(*drift.before, *drift.now, 0.05)
    axis.set_yticks([0, top], ["0", f"{top:.0%}"])  # type: ignore[attr-defined]
    axis.tick_params(length=0)  # type: ignore[attr-defined]
    axis.spines[["top", "right", "left"]].set_visible(False)  # type: ignore[attr-defined]
