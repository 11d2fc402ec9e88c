"""The mvad example."""
