"""What Alembic runs: the connection, with its transaction and lock, comes from adapters/migrate.py."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], transaction_per_migration=False)
context.run_migrations()
