"""The faces of Assent. Thin: no rule lives here."""
