"""Files of pairs: which products are known to match, as two columns of ids."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

from recsys_cli.cleaning import clean_id
from recsys_cli.domain import Pair
from recsys_cli.errors import FeedError, InvalidProduct
from recsys_cli.feeds import encoding
from recsys_cli.feeds.delimited import Table
from recsys_cli.feeds.lines import line_blocks
from recsys_cli.feeds.records import Unreadable
from recsys_cli.feeds.sniff import detect_delimiter, is_binary
from recsys_cli.feeds.source import Source


def read_pairs(path: str, notify: Callable[[str], None]) -> Iterator[Pair]:
    """Yield the first two cells of each row, the first row too: whoever knows ids knows a header.

    Raises FeedError naming the line of a row that is no pair.
    """
    with closing(Source(path)) as source:
        chosen = encoding.detect_encoding(source.head)
        text = encoding.head_text(source.head, chosen)
        if is_binary(text):
            raise FeedError(f"{path} is no file of pairs: it is not text")
        texts = encoding.decoded(source.blocks(), chosen, lenient=True, notify=notify)
        table = Table(line_blocks(texts), detect_delimiter(text))
        if table.header:
            yield _pair(path, 1, table.header)
        for piece in table:
            if isinstance(piece, Unreadable):
                raise FeedError(f"{path}, line {piece.line}: {piece.reason}")
            for line, cells in piece:
                if any(cells):
                    yield _pair(path, line, cells)


def _pair(path: str, line: int, cells: list[str]) -> Pair:
    if len(cells) < 2:
        raise FeedError(
            f"{path}, line {line}: {cells[0]!r} is one cell where two ids are expected",
            hint="write a line for each pair: id,id",
        )
    try:
        return Pair(line, clean_id(cells[0]), clean_id(cells[1]))
    except InvalidProduct as error:
        raise FeedError(f"{path}, line {line}: {error}") from error
