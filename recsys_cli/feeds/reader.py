"""The door of the feeds: a path in, valid rows and rejected ones out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import chain, groupby
from typing import cast

from recsys_cli.batches import batched
from recsys_cli.domain import FeedRow, RejectedRow
from recsys_cli.feeds import columns, encoding
from recsys_cli.feeds.columns import parse_mapping
from recsys_cli.feeds.delimited import Table
from recsys_cli.feeds.folding import Folding, Row
from recsys_cli.feeds.json_feed import json_elements, json_lines
from recsys_cli.feeds.lines import line_blocks
from recsys_cli.feeds.records import JsonValue, Unreadable
from recsys_cli.feeds.shape import Shape, Shapes
from recsys_cli.feeds.sniff import FeedFormat, detect_delimiter, detect_format
from recsys_cli.feeds.source import Source

__all__ = ["Feed", "FeedFormat", "FeedOptions", "open_feed", "parse_mapping"]

OBJECTS_AT_ONCE = 200


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
    """Iterate it once, inside ``with``."""

    def __init__(self, source: Source, options: FeedOptions, notify: Callable[[str], None]) -> None:
        self._source = source
        self._options = options
        self._listener = notify
        self._folding = Folding()
        self._mapped: set[str] = set()

    @property
    def folded(self) -> int:
        """How many rows only continued the one before them."""
        return self._folding.folded

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
        return chain.from_iterable(self._folding.blocks(self._blocks()))

    def _blocks(self) -> Iterator[list[Row]]:
        line = 1
        for block in self._undamaged_blocks():
            if block:
                line = block[-1].line
                yield block
        if self._source.damage:
            yield self._rejected(line, self._source.damage, "")

    def _undamaged_blocks(self) -> Iterator[list[Row]]:
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

    def _parquet(self) -> Iterator[list[Row]]:
        from recsys_cli.feeds.parquet import parquet_rows  # noqa: PLC0415 - loads pandas

        with ExitStack() as stack:
            file = stack.enter_context(self._source.seekable())
            yield from self._objects(parquet_rows(file, self.name))

    def _table(self, texts: Iterable[str], delimiter: str) -> Iterator[list[Row]]:
        table = Table(line_blocks(texts), delimiter)
        header = table.header
        if not header:
            return
        found = columns.recognise(header, self._options.mapping)
        columns.require_id(header, found, self.name)
        self._tell_repeated(header)
        plan = columns.plan(header, found)

        def cut(width: int) -> Shape:
            return Shape(self.name, header[:width], plan.cut(width))

        shapes = Shapes(cut)
        most = len(header) + 1
        for piece in table:
            if isinstance(piece, Unreadable):
                yield self._rejected(*piece)
            else:
                rows = [row for row in piece if any(row[1])]
                yield shapes.read(rows, [min(len(cells), most) for _, cells in rows])

    def _objects(self, values: Iterable[JsonValue | Unreadable]) -> Iterator[list[Row]]:
        shapes = Shapes(self._shape)
        for batch in batched(values, OBJECTS_AT_ONCE):
            for is_object, group in groupby(batch, _is_object):
                if is_object:
                    yield _read_objects(shapes, cast("Iterable[JsonValue]", group))
                else:
                    yield from map(self._no_object, group)
        for name in sorted(set(self._options.mapping) - self._mapped):
            self._notify(f"--map {name}={self._options.mapping[name]}: no row has this column")

    def _shape(self, keys: tuple[str, ...]) -> Shape:
        mapping = {f: c for f, c in self._options.mapping.items() if c in keys}
        self._mapped |= mapping.keys()
        return Shape(self.name, keys, columns.plan(keys, columns.recognise(keys, mapping)))

    def _no_object(self, value: JsonValue | Unreadable) -> list[Row]:
        if isinstance(value, Unreadable):
            return self._rejected(*value)
        return self._rejected(value.line, "not an object", repr(value.value)[:500])

    def _rejected(self, line: int, reason: str, raw: str) -> list[Row]:
        return [RejectedRow(file=self.name, line=line, reason=reason, raw=raw)]

    def _notify(self, text: str) -> None:
        self._listener(f"{self.name}: {text}")

    def _tell_repeated(self, header: list[str]) -> None:
        repeated = sorted({name for name in header if name and header.count(name) > 1})
        if repeated:
            self._notify(f"repeated columns, of which the first counts: {', '.join(repeated)}")


def _read_objects(shapes: Shapes[tuple[str, ...]], values: Iterable[JsonValue]) -> list[Row]:
    objects = [(line, cast("dict[str, object]", value)) for line, value in values]
    records = [(line, tuple(fields.values())) for line, fields in objects]
    return shapes.read(records, [tuple(fields) for _, fields in objects])


def _is_object(value: JsonValue | Unreadable) -> bool:
    return isinstance(value, JsonValue) and isinstance(value.value, dict)
