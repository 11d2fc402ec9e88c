"""The officer's console: server-rendered pages over what the rooms below know."""
