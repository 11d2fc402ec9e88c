"""Consented data in; sealed history and published feature tables out."""
