"""A fourth source in a package of its own."""
