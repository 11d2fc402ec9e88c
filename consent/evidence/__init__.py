"""The log as others check it: trees, signed notes, proofs, witnesses. Knows no database and no consent rule."""
