"""The door of the feeds: a path in, valid rows and rejected ones out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field

from recsys_cli.cleaning import clean_fields, clean_id, has_text
from recsys_cli.domain import FeedRow, RejectedRow
from recsys_cli.errors import InvalidProduct
from recsys_cli.feeds import columns, encoding, html
from recsys_cli.feeds.columns import Plan, parse_mapping
from recsys_cli.feeds.delimited import Table
from recsys_cli.feeds.json_feed import json_elements, json_lines
from recsys_cli.feeds.lines import line_blocks
from recsys_cli.feeds.prices import parse_price
from recsys_cli.feeds.records import EXTRA_CELLS, JsonValue, TableRow, Unreadable
from recsys_cli.feeds.sniff import FeedFormat, detect_delimiter, detect_format
from recsys_cli.feeds.source import Source

__all__ = ["Feed", "FeedFormat", "FeedOptions", "open_feed", "parse_mapping"]

_PLANS_KEPT = 64
"""JSON objects may differ in their keys; so many shapes are remembered."""


@dataclass(frozen=True)
class FeedOptions:
    """What not to guess. ``mapping``: our field -> the feed's column."""

    format: FeedFormat | None = None
    encoding: str | None = None
    mapping: Mapping[str, str] = field(default_factory=dict)


def open_feed(path: str, options: FeedOptions, notify: Callable[[str], None]) -> Feed:
    """Open a feed; ``-`` is standard input. Raises FeedError where it cannot be read at all."""
    if options.encoding:
        encoding.check_encoding(options.encoding)
    return Feed(Source(path), options, notify)


class Feed:
    """Iterate it once, inside ``with``. ``folded`` counts rows that only continue the one before.

    In a Shopify export a product's further variants and images are such rows: the same handle, and
    neither title nor text. They fill what is still empty and are no rows of their own.
    """

    def __init__(self, source: Source, options: FeedOptions, notify: Callable[[str], None]) -> None:
        self._source = source
        self._options = options
        self._listener = notify
        self._plans: dict[tuple[str, ...], Plan] = {}
        self._mapped: set[str] = set()
        self.folded = 0

    @property
    def name(self) -> str:
        return self._source.name

    @property
    def bytes_read(self) -> int:
        return self._source.bytes_read

    @property
    def total_bytes(self) -> int | None:
        return self._source.total_bytes

    def __enter__(self) -> Feed:
        return self

    def __exit__(self, *_: object) -> None:
        self._source.close()

    def __iter__(self) -> Iterator[FeedRow | RejectedRow]:
        last: FeedRow | None = None
        line = 1
        for row in self._rows():
            line = row.line
            if isinstance(row, FeedRow):
                if last is not None:
                    yield last
                last = row
            elif last is not None and self._continues(last, row):
                self.folded += 1
            else:
                if last is not None:
                    yield last
                    last = None
                yield row
        if last is not None:
            yield last
        if self._source.damage:
            yield self._rejected(line, self._source.damage, "")

    def _rows(self) -> Iterator[FeedRow | RejectedRow]:
        head = self._source.head
        chosen = self._options.encoding or encoding.detect_encoding(head)
        text = encoding.head_text(head, chosen)
        if not text.strip():
            return
        format_ = self._options.format or detect_format(head, text, self.name)
        if format_ is FeedFormat.PARQUET:
            yield from self._parquet()
            return
        texts = encoding.decoded(
            self._source.blocks(),
            chosen,
            lenient=not self._options.encoding,
            notify=self._notify,
        )
        match format_:
            case FeedFormat.JSON:
                yield from self._objects(json_elements(texts))
            case FeedFormat.JSONL:
                yield from self._objects(json_lines(texts))
            case FeedFormat.TSV:
                yield from self._table(texts, "\t")
            case FeedFormat.CSV:
                yield from self._table(texts, detect_delimiter(text))

    def _parquet(self) -> Iterator[FeedRow | RejectedRow]:
        from recsys_cli.feeds.parquet import parquet_rows  # noqa: PLC0415 - loads pandas

        with ExitStack() as stack:
            file = stack.enter_context(self._source.seekable())
            yield from self._objects(parquet_rows(file, self.name))

    def _table(self, texts: Iterable[str], delimiter: str) -> Iterator[FeedRow | RejectedRow]:
        table = Table(line_blocks(texts), delimiter)
        header = table.header
        if not header:
            return
        found = columns.recognise(header, self._options.mapping)
        columns.require_id(header, found, self.name)
        self._tell_repeated(header)
        plan = columns.plan(header, found)
        for row in table:
            if isinstance(row, Unreadable):
                yield self._rejected(*row)
            elif any(row.cells):
                yield self._table_row(row, header, plan)

    def _table_row(self, row: TableRow, header: list[str], plan: Plan) -> FeedRow | RejectedRow:
        line, cells = row
        record: dict[str | None, object] = dict(zip(plan.names, cells, strict=False))
        extra = cells[len(header) :]
        if any(extra):
            raw: dict[str, object] = dict(zip(header, cells, strict=False))
            reason = f"{len(cells)} cells where the header has {len(header)}"
            return self._rejected(line, reason, {**raw, EXTRA_CELLS: extra})
        return self._row(line, record, plan, dict(zip(header, cells, strict=False)))

    def _objects(self, values: Iterable[JsonValue | Unreadable]) -> Iterator[FeedRow | RejectedRow]:
        for value in values:
            if isinstance(value, Unreadable):
                yield self._rejected(*value)
            elif not isinstance(value.value, dict):
                yield self._rejected(value.line, "not an object", repr(value.value)[:500])
            else:
                raw: dict[str, object] = value.value
                plan = self._plan(tuple(raw))
                record = dict(zip(plan.names, raw.values(), strict=True))
                yield self._row(value.line, record, plan, raw)
        for name in sorted(set(self._options.mapping) - self._mapped):
            self._notify(f"--map {name}={self._options.mapping[name]}: no row has this column")

    def _plan(self, keys: tuple[str, ...]) -> Plan:
        plan = self._plans.get(keys)
        if plan is None:
            mapping = {f: c for f, c in self._options.mapping.items() if c in keys}
            self._mapped |= mapping.keys()
            plan = columns.plan(keys, columns.recognise(keys, mapping))
            if len(self._plans) < _PLANS_KEPT:
                self._plans[keys] = plan
        return plan

    def _row(
        self, line: int, record: dict[str | None, object], plan: Plan, raw: Mapping[str, object]
    ) -> FeedRow | RejectedRow:
        record.pop(None, None)
        product_id = None
        try:
            product_id = clean_id(record.pop("id", None))
            fields = clean_fields(_read(record, plan))
            if not has_text(fields):
                raise InvalidProduct("no text: neither a name nor a description")
        except InvalidProduct as error:
            return self._rejected(line, str(error), dict(raw), product_id)
        return FeedRow(file=self.name, line=line, product_id=product_id, fields=fields)

    def _rejected(
        self, line: int, reason: str, raw: dict[str, object] | str, product_id: str | None = None
    ) -> RejectedRow:
        return RejectedRow(file=self.name, line=line, reason=reason, product_id=product_id, raw=raw)

    def _continues(self, last: FeedRow, row: RejectedRow) -> bool:
        """Fold a row without text into the one before it, if that has the same id."""
        if row.product_id != last.product_id or not row.reason.startswith("no text"):
            return False
        assert isinstance(row.raw, dict)  # noqa: S101 - it was read that far
        plan = self._plans.get(tuple(row.raw)) or self._plan(tuple(row.raw))
        record = dict(zip(plan.names, row.raw.values(), strict=True))
        record.pop(None, None)
        record.pop("id", None)
        try:
            more = clean_fields(_read(record, plan))
        except InvalidProduct:
            return False
        for name, value in more.items():
            if last.fields.get(name) is None:
                last.fields[name] = value
        return True

    def _notify(self, text: str) -> None:
        self._listener(f"{self.name}: {text}")

    def _tell_repeated(self, header: list[str]) -> None:
        repeated = sorted({name for name in header if name and header.count(name) > 1})
        if repeated:
            self._notify(f"repeated columns, of which the first counts: {', '.join(repeated)}")


def _read(record: dict[str | None, object], plan: Plan) -> dict[str, object]:
    """Return the record with prices as numbers and markup as text."""
    fields: dict[str, object] = record  # type: ignore[assignment]  # None was popped
    price = fields.get("price")
    if isinstance(price, str):
        fields["price"] = parse_price(price)
    category = fields.get("category")
    if isinstance(category, list):
        fields["category"] = " > ".join(map(_category, category))
    if plan.short_text and not fields.get("description"):
        fields["description"] = fields.get(plan.short_text)
    for name, value in fields.items():
        if isinstance(value, str) and ("<" in value or "&" in value):
            fields[name] = html.to_text(value)
    return fields


def _category(part: object) -> str:
    return str(part.get("name", "")) if isinstance(part, dict) else str(part)
