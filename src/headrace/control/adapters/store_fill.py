"""Fill orders in the database."""

from dataclasses import replace

from sqlalchemy import delete, select, update

from headrace.control.adapters.database import Database, bump, changed_rows, finish
from headrace.control.adapters.tables import fill_orders
from headrace.control.model import NewEvent
from headrace.fill.orders import FillOrder
from headrace.wire.codec import decode, encode


class SqlFillOrders:
    """FillStore on a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def fill_orders(self, *, with_ended: bool = False) -> tuple[FillOrder, ...]:
        query = select(fill_orders.c.body).order_by(fill_orders.c.number)
        if not with_ended:
            query = query.where(fill_orders.c.has_ended.is_(False))
        with self._database.reading() as connection:
            bodies = connection.execute(query).scalars().all()
        return tuple(decode(FillOrder, body) for body in bodies)

    def add_fill_order(self, order: FillOrder, *, event: NewEvent, now_s: float) -> FillOrder:
        with self._database.writing() as connection:
            number = bump(connection, "fill_orders")
            new = replace(order, order_id=f"o{number}")
            body = encode(new).decode()
            connection.execute(fill_orders.insert().values(number=number, has_ended=False, body=body))
            finish(connection, "fleet", event, now_s)
        return new

    def end_fill_order(self, order: FillOrder, *, event: NewEvent, now_s: float) -> bool:
        number = int(order.order_id.removeprefix("o"))
        mine = (fill_orders.c.number == number) & fill_orders.c.has_ended.is_(False)
        changed = update(fill_orders).where(mine).values(has_ended=True, body=encode(order).decode())
        with self._database.writing() as connection:
            if not changed_rows(connection, changed):
                return False
            finish(connection, "fleet", event, now_s)
        return True

    def drop_fill_orders(self, *, keep: int) -> int:
        newest = select(fill_orders.c.number).order_by(fill_orders.c.number.desc()).limit(keep)
        old = fill_orders.c.has_ended.is_(True) & fill_orders.c.number.not_in(newest)
        with self._database.writing() as connection:
            return changed_rows(connection, delete(fill_orders).where(old))
