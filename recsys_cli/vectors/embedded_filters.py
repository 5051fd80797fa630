"""Which products of the embedded file a filter allows."""

from __future__ import annotations

import json
from sqlite3 import Connection

from recsys_cli.domain import SearchFilter

_HAS_ATTRIBUTE = """EXISTS (
    SELECT 1 FROM json_each(e.attributes) AS has, json_each(?) AS wanted
    WHERE has.key = json_extract(wanted.value, '$[0]')
      AND has.value = json_extract(wanted.value, '$[1]'))"""


def allowed_slots(
    connection: Connection, vector_index: int, where: SearchFilter | None
) -> list[int] | None:
    """Return the slots of the products that ``where`` allows; None: all of them."""
    where = where or SearchFilter()
    conditions = {
        "category = ?": where.category,
        "price >= ?": where.price_min,
        "price <= ?": where.price_max,
    }
    asked: list[tuple[str, object]] = [(q, v) for q, v in conditions.items() if v is not None]
    asked += [("category <> ?", category) for category in where.exclude_categories]
    for name, values in where.attributes.items():
        asked.append((_HAS_ATTRIBUTE, json.dumps([(name, value) for value in values])))
    if not asked:
        return None
    query = " AND ".join(
        ["SELECT slot FROM embeddings AS e WHERE vector_index = ?", *(sql for sql, _ in asked)]
    )
    rows = connection.execute(query, (vector_index, *(value for _, value in asked)))
    return [slot for (slot,) in rows]
