"""Is this table fit for its purpose? The only room that imports Great Expectations."""
