"""The studentlife example."""
