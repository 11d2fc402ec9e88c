"""Blanking: how an erasure takes the content out of entries and leaves every proof valid.

The erasure's own entry names what it blanks: how many entries, and a digest over their positions. The positions
themselves stand in a table, so that an entry that is empty without a logged erasure naming it is noticed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


def format_blanks(leaf_indexes: Sequence[int]) -> str:
    """``<count>:<SHA-256 over the positions in order, one decimal a line>``: what an erasure's entry says."""
    lines = "".join(f"{leaf_index}\n" for leaf_index in sorted(leaf_indexes))
    return f"{len(leaf_indexes)}:{hashlib.sha256(lines.encode()).hexdigest()}"
