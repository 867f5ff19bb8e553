"""Alembic's entry point: runs the migrations inside one writing transaction of our own database object."""

from alembic import context

from pipelines.database import Database, tables

database: Database = context.config.attributes["database"]
with database.write() as connection:
    context.configure(connection=connection, target_metadata=tables.metadata, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()
