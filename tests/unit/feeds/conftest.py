from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from recsys_cli.domain import FeedRow, RejectedRow
from recsys_cli.feeds.reader import FeedOptions, open_feed


class Read(NamedTuple):
    """A feed that was read to its end."""

    rows: list[FeedRow]
    rejected: list[RejectedRow]
    notices: list[str]
    folded: int

    @property
    def ids(self) -> list[str]:
        return [row.product_id for row in self.rows]

    @property
    def reasons(self) -> list[tuple[int, str]]:
        return [(row.line, row.reason) for row in self.rejected]


def read_path(path: Path, **options: Any) -> Read:
    notices: list[str] = []
    with open_feed(str(path), FeedOptions(**options), notices.append) as feed:
        found = list(feed)
        return Read(
            [row for row in found if isinstance(row, FeedRow)],
            [row for row in found if isinstance(row, RejectedRow)],
            notices,
            feed.folded,
        )


Reader = Callable[..., Read]


@pytest.fixture
def read(tmp_path: Path) -> Reader:
    """Write a feed and read it."""

    def read_(content: str | bytes, **options: Any) -> Read:
        path = tmp_path / "feed"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return read_path(path, **options)

    return read_
