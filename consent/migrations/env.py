"""Alembic's way into the ledger's tables: on the connection that `consent.migrate` hands over."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
