"""Consent statements as they come in from others, and records as they go out."""
