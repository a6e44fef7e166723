"""Titles can be searched, and paged with the newest first."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("titles", sa.Column("words", sa.Text(), nullable=False, server_default=""))
    titles = sa.table("titles", sa.column("title_id"), sa.column("body"), sa.column("words"))
    connection = op.get_bind()
    for row in connection.execute(sa.select(titles.c.title_id, titles.c.body)).all():
        words = f"{row.title_id} {json.loads(row.body)['name']}".casefold()
        connection.execute(sa.update(titles).where(titles.c.title_id == row.title_id).values(words=words))
    op.create_index("ix_titles_newest", "titles", ["published_at_s", "title_id"])


def downgrade() -> None:
    op.drop_index("ix_titles_newest", "titles")
    op.drop_column("titles", "words")
