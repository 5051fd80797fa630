"""Whatever is in a file: rows, rejected rows, or one sentence; never a traceback."""

from __future__ import annotations

import gzip
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_cli.domain import FeedRow
from recsys_cli.errors import RecsysError
from recsys_cli.feeds.reader import FeedFormat, FeedOptions, open_feed

JSON = '[{"id": "a", "name": "Lamp", "price": 1.5, "tags": ["x", {"y": null}]}, {"id": "b"}]'
CSV = 'id,name,price,brand\na,"Lamp, big",19.99,Lumen\nb,"two\nlines","1.299,00 €",\n'
SEEDS = [JSON, CSV, CSV.replace(",", ";"), '{"id": 1, "name": "a"}\n{"id": 2}\n', JSON[1:-1]]

cells = st.text(alphabet=st.sampled_from('ab1,;\t|"\n\r\\{}[]: é\0<&\u2028'), max_size=12)
tables = st.lists(st.lists(cells, max_size=6), max_size=8).map(
    lambda rows: "id,name,price\n" + "\n".join(",".join(row) for row in rows)
)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A good feed with some bytes cut out, doubled or replaced."""
    content = bytearray(draw(st.sampled_from(SEEDS)).encode())
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(content)))
        length = draw(st.integers(0, 9))
        content[at : at + length] = draw(st.binary(max_size=5)) or content[at : at + 2] * 2
    return bytes(content)


feeds = st.one_of(
    st.binary(max_size=400), mutated(), mutated().map(gzip.compress), tables.map(str.encode)
)


@settings(max_examples=300, deadline=None)
@given(feeds, st.sampled_from([None, *FeedFormat]), st.sampled_from([None, "utf-8", "utf-16"]))
def test_any_file_is_read_without_a_crash(
    content: bytes, format_: FeedFormat | None, encoding: str | None
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "feed"
        path.write_bytes(content)
        try:
            options = FeedOptions(format=format_, encoding=encoding)
            with open_feed(str(path), options, lambda _: None) as feed:
                rows = list(feed)
        except RecsysError:
            return
    for row in rows:
        if isinstance(row, FeedRow):
            assert 1 <= len(row.product_id.encode()) <= 512
            assert row.fields.get("name") or row.fields.get("description")
        else:
            assert row.reason
