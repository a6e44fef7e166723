"""Titles and files in the database. A file keeps its number for ever, also when no title has it any more."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, Select, delete, func, select, update

from headrace.base.ids import FileNo, RenditionId, Sha256, TitleId
from headrace.catalog.fileset import FileSet
from headrace.catalog.model import CatalogError, CatalogFile, FileSuffix, PublishedFile, Title
from headrace.control.adapters.database import Database, bump, changed_rows, finish, put_row
from headrace.control.adapters.tables import files, title_files, titles
from headrace.control.model import CatalogTotals, NewEvent, StoredTitle, TitleConflict
from headrace.wire.codec import decode, encode

_IN_ONE_QUERY = 5_000
"""Below SQLite's bound on parameters (32,766 since 3.32)."""


class SqlCatalog:
    """CatalogStore on a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def titles(
        self, *, after: TitleId | None = None, limit: int | None = None, find: str = "", is_newest_first: bool = False
    ) -> tuple[StoredTitle, ...]:
        query = select(titles).where(titles.c.is_visible).limit(limit)
        for word in find.casefold().split():
            query = query.where(titles.c.words.contains(word, autoescape=True))
        if is_newest_first:
            query = query.order_by(titles.c.published_at_s.desc(), titles.c.title_id.desc())
        else:
            query = query.order_by(titles.c.title_id)
        if after is not None:
            query = query.where(_is_behind(after) if is_newest_first else titles.c.title_id > after)
        with self._database.reading() as connection:
            rows = connection.execute(query).mappings().all()
        return tuple(_stored_title(row) for row in rows)

    def title(self, title_id: TitleId) -> StoredTitle | None:
        query = select(titles).where(titles.c.is_visible, titles.c.title_id == title_id)
        with self._database.reading() as connection:
            row = connection.execute(query).mappings().first()
        return None if row is None else _stored_title(row)

    def register_title(
        self, title: Title, *, expected_version: int, event: NewEvent, now_s: float
    ) -> StoredTitle | TitleConflict:
        published = {file.sha256: file for file in title.files}
        with self._database.writing() as connection:
            first = bump(connection, "file_no", 0)  # takes the lock: registrations go one after the other
            query = select(titles.c.version, titles.c.is_visible).where(titles.c.title_id == title.title_id)
            row = connection.execute(query).first()
            current, stored = (0, 0) if row is None else (row.version if row.is_visible else 0, row.version)
            if current != expected_version:
                return TitleConflict(title_id=title.title_id, current_version=current)
            numbers = _number_files(connection, title.title_id, published, first)
            new = StoredTitle(
                title=title,
                version=stored + 1,
                published_at_s=now_s,
                size_bytes=sum(file.size_bytes for file in published.values()),
                file_nos=tuple(numbers[file.sha256] for file in title.files),
            )
            _write_title(connection, new, published, numbers)
            finish(connection, "titles", event, now_s)
        return new

    def withdraw_title(self, title_id: TitleId, *, event: NewEvent, now_s: float) -> bool:
        mine = (titles.c.title_id == title_id) & titles.c.is_visible
        with self._database.writing() as connection:
            bump(connection, "file_no", 0)
            if not changed_rows(connection, update(titles).where(mine).values(is_visible=False)):
                return False
            connection.execute(delete(title_files).where(title_files.c.title_id == title_id))
            finish(connection, "titles", event, now_s)
        return True

    def files(self, numbers: Sequence[FileNo]) -> tuple[CatalogFile, ...]:
        found: list[CatalogFile] = []
        ordered = sorted(numbers)
        with self._database.reading() as connection:
            for start in range(0, len(ordered), _IN_ONE_QUERY):
                part = ordered[start : start + _IN_ONE_QUERY]
                rows = connection.execute(_file_query().where(files.c.file_no.in_(part))).mappings()
                found += _catalog_files(rows.all())
        return tuple(found)

    def catalog_files(self) -> tuple[CatalogFile, ...]:
        with self._database.reading() as connection:
            rows = connection.execute(_file_query()).mappings().all()
        return tuple(_catalog_files(rows))

    def published(self) -> FileSet:
        with self._database.reading() as connection:
            return FileSet(connection.execute(select(title_files.c.file_no).distinct()).scalars())

    def catalog_totals(self) -> CatalogTotals:
        used = select(title_files.c.file_no).distinct().subquery()
        sums = select(func.count(), func.coalesce(func.sum(files.c.size_bytes), 0))
        with self._database.reading() as connection:
            visible = select(func.count()).select_from(titles).where(titles.c.is_visible)
            title_count = connection.execute(visible).scalar_one()
            file_count, total_bytes = connection.execute(
                sums.select_from(files.join(used, used.c.file_no == files.c.file_no))
            ).one()
        return CatalogTotals(title_count=title_count, file_count=file_count, total_bytes=int(total_bytes))


def _number_files(
    connection: Connection, title_id: TitleId, published: dict[Sha256, PublishedFile], last_no: int
) -> dict[Sha256, FileNo]:
    """The number of each file; new ones get the next. The caller holds the lock on the counter."""
    names = sorted(published)
    numbers: dict[Sha256, FileNo] = {}
    for start in range(0, len(names), _IN_ONE_QUERY):
        part = names[start : start + _IN_ONE_QUERY]
        for row in connection.execute(select(files).where(files.c.sha256.in_(part))).all():
            known = published[Sha256(row.sha256)]
            if (known.size_bytes, known.suffix) != (row.size_bytes, row.suffix):
                kept = f"{row.size_bytes} bytes, .{row.suffix}"
                raise CatalogError(f"title {title_id}: file {row.sha256} is known with another size or suffix ({kept})")
            numbers[known.sha256] = FileNo(row.file_no)
    fresh = [name for name in published if name not in numbers]
    for index, name in enumerate(fresh, start=1):
        numbers[name] = FileNo(last_no + index)
    if fresh:
        connection.execute(
            files.insert(),
            [
                {
                    "file_no": numbers[name],
                    "sha256": name,
                    "size_bytes": published[name].size_bytes,
                    "suffix": published[name].suffix.value,
                }
                for name in fresh
            ],
        )
        bump(connection, "file_no", len(fresh))
    return numbers


def _is_behind(title_id: TitleId) -> ColumnElement[bool]:
    """Older than this title; of the same moment, before it in order of id."""
    last = titles.alias("last")
    at_s = select(last.c.published_at_s).where(last.c.title_id == title_id).scalar_subquery()
    return (titles.c.published_at_s < at_s) | ((titles.c.published_at_s == at_s) & (titles.c.title_id < title_id))


def _write_title(
    connection: Connection, new: StoredTitle, published: dict[Sha256, PublishedFile], numbers: dict[Sha256, FileNo]
) -> None:
    values = {
        "title_id": new.title.title_id,
        "version": new.version,
        "is_visible": True,
        "published_at_s": new.published_at_s,
        "size_bytes": new.size_bytes,
        "body": encode(new.title).decode(),
        "file_nos": " ".join(map(str, new.file_nos)),
        "words": f"{new.title.title_id} {new.title.name}".casefold(),
    }
    put_row(connection, titles, values)
    connection.execute(delete(title_files).where(title_files.c.title_id == new.title.title_id))
    links = [
        {"title_id": new.title.title_id, "file_no": numbers[name], "rendition_id": file.rendition_id}
        for name, file in published.items()
    ]
    if links:
        connection.execute(title_files.insert(), links)


def _stored_title(row: RowMapping) -> StoredTitle:
    return StoredTitle(
        title=decode(Title, row["body"]),
        version=row["version"],
        published_at_s=row["published_at_s"],
        size_bytes=row["size_bytes"],
        file_nos=tuple(FileNo(int(number)) for number in row["file_nos"].split()),
    )


def _file_query() -> Select[Any]:
    joined = files.join(title_files, title_files.c.file_no == files.c.file_no)
    columns = (*files.c, title_files.c.title_id, title_files.c.rendition_id)
    return select(*columns).select_from(joined).order_by(files.c.file_no, title_files.c.title_id)


def _catalog_files(rows: Sequence[RowMapping]) -> list[CatalogFile]:
    """One entry a number, though titles may share a file."""
    found: list[CatalogFile] = []
    for row in rows:
        if not found or found[-1].file_no != row["file_no"]:
            found.append(
                CatalogFile(
                    file_no=FileNo(row["file_no"]),
                    sha256=Sha256(row["sha256"]),
                    size_bytes=row["size_bytes"],
                    suffix=FileSuffix(row["suffix"]),
                    title_id=TitleId(row["title_id"]),
                    rendition_id=RenditionId(row["rendition_id"]),
                )
            )
    return found
