"""Alembic migrations of the store, shipped with the package; adapters/migrate.py runs them."""
