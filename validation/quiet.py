"""Great Expectations, imported without what importing it does to the process. Import ``gx`` from here only.

Importing it takes about four seconds, so nothing imports this module before a batch is checked.
"""

from __future__ import annotations

import logging

import great_expectations as gx

__all__ = ["gx"]

# Its modules redirect every ``warnings.warn`` of the process to a logger that has no output.
logging.captureWarnings(False)
# Its loggers quote database errors, and those quote cells.
logging.getLogger("great_expectations").setLevel(logging.CRITICAL + 1)
