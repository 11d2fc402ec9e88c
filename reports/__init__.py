"""The privacy officer's reports."""
