"""A folder of files that nobody would want to import: sentences, never a traceback."""

from __future__ import annotations

import gzip
import random
from pathlib import Path

import pytest

from tests.commands import Recsys

GOOD = "id,name,price\n" + "".join(f"good-{n},Lamp {n},{n}\n" for n in range(50))

HORRORS: dict[str, bytes] = {
    "binary.csv": random.Random(1).randbytes(50_000),
    "empty.csv": b"",
    "header-only.csv": b"id,name,price\n",
    "wrong-delimiter.csv": b"id^name^price\na^Lamp^1\n",
    "truncated.csv.gz": gzip.compress(GOOD.encode())[:-40],
    "not-really.gz": b"\x1f\x8b" + b"no gzip at all",
    "huge-cell.csv": b'id,name\na,"' + b"x" * 10_000_000 + b'"\nb,Lamp\n',
    "deep.json": b'[{"id": "a", "name": "b", "x": ' + b"[" * 200_000 + b"]" * 200_000 + b"}]",
    "deep.jsonl": b'{"id": 1, "x": ' * 50_000,
    "nan.csv": b"id,name,price\na,Lamp,NaN\nb,Lamp,Infinity\nc,Lamp,-inf\n",
    "nan.json": b'[{"id": "a", "name": "b", "price": NaN}]',
    "repeated-headers.csv": b"id,name,id,name,name\na,b,c,d,e\n",
    "nulls.csv": b"id,name\na\0,La\0mp\n",
    "line-ends.csv": b"id,name\r\na,Lamp\rb,Desk\nc,Chair\r\r\n\n\r",
    "quotes.csv": b'id,name\na,"La"mp"\nb,"\nc,"""\n',
    "surrogates.jsonl": b'{"id": "\\ud800", "name": "\\udfff x"}\n',
    "numbers.json": b"[1, 2, [3], null, true]",
    "half.parquet": b"PAR1" + bytes(1000),
    "utf16-cut.csv": GOOD.encode("utf-16")[:-1],
}


@pytest.mark.parametrize("name", HORRORS)
def test_one_at_a_time(recsys_embedded: Recsys, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(HORRORS[name])
    result = recsys_embedded("import", path, "--rejects", tmp_path / "rejects", exits=None)
    assert result.exit_code in (0, 1, 3)
    if result.exit_code:
        assert "error: " in result.err or "rejected: " in result.err
        assert name in result.err


def test_all_at_once_cost_the_good_rows_nothing(recsys: Recsys, tmp_path: Path) -> None:
    paths = []
    for name, content in {**HORRORS, "good.csv": GOOD.encode()}.items():
        paths.append(tmp_path / name)
        paths[-1].write_bytes(content)
    recsys("import", *paths, exits=1)
    recsys("product", "show", "good-49")
    assert "failed 0" in recsys("consume", "--drain").err


@pytest.mark.parametrize("wrong", ["csv", "tsv", "json", "jsonl", "parquet"])
def test_under_every_wrong_format(recsys_embedded: Recsys, tmp_path: Path, wrong: str) -> None:
    for name, content in HORRORS.items():
        path = tmp_path / name
        path.write_bytes(content[:100_000])
        recsys_embedded("import", path, "--format", wrong, exits=None)
