"""Feeds in every format and state become valid rows, or rejected ones with line and reason."""

from __future__ import annotations

import gzip
import json
import unicodedata
from pathlib import Path

import pandas as pd
import pytest

from recsys_cli.errors import FeedError, UsageError
from recsys_cli.feeds.reader import FeedFormat
from recsys_cli.feeds.rejects import RejectsFile
from tests.unit.feeds.conftest import Reader, read_path

ROWS = [
    {"id": "a", "name": "Lamp", "price": 19.99, "brand": "Lumen"},
    {"id": "b/2", "name": "Đèn bàn", "price": None, "brand": None},
]
CSV = "id,name,price,brand\na,Lamp,19.99,Lumen\nb/2,Đèn bàn,,\n"


def as_dicts(read: object) -> list[dict[str, object]]:
    return [{"id": row.product_id, **row.fields} for row in read.rows]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "content",
    [
        CSV,
        CSV.replace(",", ";"),
        CSV.replace(",", "\t"),
        CSV.replace(",", "|"),
        CSV.replace("\n", "\r\n"),
        CSV.replace("\n", "\r"),
        "\ufeff" + CSV,
        "sep=;\n" + CSV.replace(",", ";"),
        json.dumps(ROWS),
        json.dumps(ROWS, indent=2, ensure_ascii=False),
        json.dumps({"count": 2, "products": ROWS}),
        "\n".join(map(json.dumps, ROWS)),
        "\n\n".join(map(json.dumps, ROWS)) + "\n",
        CSV.encode("utf-16"),
        CSV.encode("utf-16-le"),
        CSV.encode("utf-16-be"),
    ],
    ids=range(16),
)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
def test_every_format_gives_the_same_rows(read: Reader, content: str | bytes, packed: bool) -> None:
    raw = content.encode() if isinstance(content, str) else content
    result = read(gzip.compress(raw) if packed else raw)
    assert as_dicts(result) == ROWS
    assert result.rejected == []
    assert result.notices == []


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "feed.bin"
    frame = pd.DataFrame(
        {"sku": [1, 2], "title": ["Lamp", None], "stock": pd.array([5, None], dtype="Int64")}
    )
    frame.to_parquet(path)
    result = read_path(path)
    assert as_dicts(result) == [{"id": "1", "name": "Lamp", "stock": "5"}]
    assert result.reasons == [(2, "no text: neither a name nor a description")]


def test_cp1252_is_told(read: Reader) -> None:
    result = read("id,name\na,Café €5\n".encode("cp1252"))
    assert result.rows[0].fields["name"] == "Café €5"
    (notice,) = result.notices
    assert "cp1252" in notice
    assert "line 2" in notice
    assert read("id,name\na,Café\n".encode("latin-1"), encoding="latin-1").notices == []


def test_spellings_of_a_name_are_one(read: Reader) -> None:
    name = "Đèn bàn học"
    result = read(f"id,name\n{unicodedata.normalize('NFD', name)},{name}\n")
    assert result.ids == [name]


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("Handle,Title,Body (HTML),Type,Variant Price", "Shopify"),
        ("ID,Name,Description,Categories,Regular price", "WooCommerce"),
        ("sku,name,description,categories,price", "Magento"),
        ("Product ID,Name *,Description,Categories (x;y;z...),Price tax excluded", "PrestaShop"),
        ("g:id,g:title,g:description,g:product_type,g:price", "Google"),
        ("asin,title,description,main_category,list_price", "Amazon"),
        ("uniq_id,Product Name,About Product,Category,Selling Price", "Amazon"),
    ],
)
def test_columns_of_real_exports(read: Reader, header: str, found: str) -> None:
    result = read(f"{header}\nx,{found},text,shoes,$5\n")
    assert as_dicts(result) == [
        {"id": "x", "name": found, "description": "text", "category": "shoes", "price": 5.0}
    ]


def test_a_type_is_no_category_where_there_are_categories(read: Reader) -> None:
    result = read("sku,product_type,categories,name\nx,simple,Shoes,Boot\n")
    assert as_dicts(result) == [
        {"id": "x", "product_type": "simple", "category": "Shoes", "name": "Boot"}
    ]


def test_mapping_goes_over_recognition(read: Reader) -> None:
    text = "id,code,name,label\n1,x,Lampe,Lamp\n"
    result = read(text, mapping={"id": "code", "name": "label"})
    assert as_dicts(result) == [
        {"id": "x", "id (column)": "1", "name (column)": "Lampe", "name": "Lamp"}
    ]
    with pytest.raises(UsageError, match="the feed has only 'id', 'code'"):
        read(text, mapping={"id": "sku"})


def test_no_id_column_names_the_columns(read: Reader) -> None:
    with pytest.raises(FeedError, match="'colour', 'name'") as error:
        read("colour,name\nred,Lamp\n")
    assert error.value.hint == "--map id=COLUMN"


def test_html_becomes_text(read: Reader) -> None:
    markup = "<p>Soft &amp; <b>wa</b>rm</p><ul><li>wool</li><li>silk</li></ul><script>x()</script>"
    result = read(json.dumps([{"id": 1, "name": "a < b", "description": markup}]))
    assert result.rows[0].fields["description"] == "Soft & warm wool silk"
    assert result.rows[0].fields["name"] == "a < b"


def test_lines_are_where_rows_begin(read: Reader) -> None:
    result = read('id,name,price\na,"two\nlines",1\n,x,1\n\nb,"more\n\nlines",cheap\nc,ok,1\n')
    assert [row.line for row in result.rows] == [2, 9]
    assert result.reasons == [(4, "no id"), (6, "price is not a number: 'cheap'")]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (",Lamp,1", "no id"),
        ("a,,1", "no text"),
        ("a,Lamp,NaN", "price is not a number"),
        ("a,Lamp,inf", "price is not a number"),
        ("a,Lamp,-5", "price is not a number"),
        (f"{'x' * 513},Lamp,1", "the id is 513 bytes long"),
        ("a,Lamp,1,extra", "4 cells where the header has 3"),
        (f"a,{'x' * 1_000_001},1", "longer than|bytes long"),
    ],
)
def test_a_row_that_is_no_product_is_rejected_and_the_others_land(
    read: Reader, row: str, reason: str
) -> None:
    result = read(f"id,name,price\nfirst,Lamp,1\n{row}\nlast,Lamp,1\n")
    assert result.ids == ["first", "last"]
    ((line, said),) = result.reasons
    assert line == 3
    assert any(part in said for part in reason.split("|"))


def test_a_truncated_gzip_keeps_what_came_before(read: Reader) -> None:
    text = "id,name\n" + "".join(f"p{n},Lamp number {n * 7919}\n" for n in range(20_000))
    packed = gzip.compress(text.encode())
    result = read(packed[: len(packed) // 2])
    assert len(result.rows) > 1000
    assert "gzip data is cut off" in result.rejected[-1].reason


def test_shopify_rows_that_continue_a_product_are_folded(read: Reader) -> None:
    result = read(
        "Handle,Title,Body (HTML),Option1 Value,Image Src\n"
        "shirt,Shirt,Blue,S,\nshirt,,,M,second.jpg\nshirt,,,L,\nhat,Hat,,,\n"
    )
    assert result.ids == ["shirt", "hat"]
    assert result.folded == 2
    assert result.rejected == []
    assert result.rows[0].fields["Image Src"] == "second.jpg"
    assert result.rows[0].fields["Option1 Value"] == "S"


def test_of_repeated_columns_the_first_counts_when_rows_are_folded(read: Reader) -> None:
    result = read("Handle,Title,Color,Color\nshirt,Shirt,,\nshirt,,red,blue\n")
    assert result.rows[0].fields["Color"] == "red"


def test_an_empty_file_is_no_error(read: Reader) -> None:
    for content in ("", "\n\n", "id,name\n", b"\xef\xbb\xbf", "[]", gzip.compress(b"")):
        result = read(content)
        assert (result.rows, result.rejected) == ([], [])


@pytest.mark.parametrize(
    "content",
    [
        bytes(range(256)) * 20,
        b"\x89PNG\r\n\x1a\n" + bytes(2000),
        b"PAR1 but not really",
        b"\0" * 99,
    ],
    ids=["all bytes", "png", "parquet", "nulls"],
)
def test_what_is_no_feed_is_one_sentence(read: Reader, content: bytes) -> None:
    with pytest.raises(FeedError):
        read(content)


def test_a_missing_file_or_a_folder_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(FeedError, match="there is no file"):
        read_path(tmp_path / "absent")
    with pytest.raises(FeedError, match="is a folder"):
        read_path(tmp_path)


def test_an_unclosed_quote_swallows_one_row_only(read: Reader) -> None:
    result = read('id,name\na,"Lamp\nb,Desk\nc,Chair\n')
    assert result.ids == ["b", "c"]
    assert [line for line, _ in result.reasons] == [2]


def test_odd_quotes_within_a_line_are_taken_as_they_are(read: Reader) -> None:
    result = read(
        'id,name\na,"Lamp" 19"\nb,19" Desk\nc,"two\nlines"\nd,"odd"est\ne,"open\nf,"x"y\n'
    )
    assert [(row.line, row.fields["name"]) for row in result.rows] == [
        (2, 'Lamp 19"'),
        (3, '19" Desk'),
        (4, "two lines"),
        (6, "oddest"),
        (8, "xy"),
    ]
    assert [line for line, _ in result.reasons] == [7]


def test_a_row_may_begin_in_one_block_and_end_in_another(read: Reader) -> None:
    text = "a line of text\n" * 20_000
    result = read("id,name,description\n" + "".join(f'{n},Lamp,"{text}"\n' for n in range(7)))
    assert [(row.product_id, row.line) for row in result.rows] == [
        (str(n), 2 + n * 20_001) for n in range(7)
    ]
    assert {row.fields["description"] for row in result.rows} == {text.strip()}


def test_rows_of_many_lengths_keep_their_order(read: Reader) -> None:
    result = read("id,name,brand\na,Lamp\nb,Desk,x\nc,Chair,y,,\nd\ne,Bed,z,?\nf,Sofa\n")
    assert as_dicts(result) == [
        {"id": "a", "name": "Lamp"},
        {"id": "b", "name": "Desk", "brand": "x"},
        {"id": "c", "name": "Chair", "brand": "y"},
        {"id": "f", "name": "Sofa"},
    ]
    assert [(row.line, row.product_id) for row in result.rejected] == [(5, "d"), (6, None)]
    assert result.rejected[1].raw == {
        "id": "e",
        "name": "Bed",
        "brand": "z",
        "extra cells": ["?"],
    }


def test_ten_megabytes_in_a_cell(read: Reader) -> None:
    result = read(f'id,name\na,Lamp\nb,"{"x" * 10_000_000}"\nc,Chair\n')
    assert result.ids == ["a", "c"]
    assert [line for line, _ in result.reasons] == [3]


def test_repeated_columns_are_told(read: Reader) -> None:
    result = read("id,name,name\na,Lamp,Other\n")
    assert result.rows[0].fields == {"name": "Lamp"}
    assert "repeated columns" in result.notices[0]


def test_nulls_and_mixed_line_ends(read: Reader) -> None:
    result = read("id,name\r\na,La\0mp\rb,Desk\nc,Chair\r\n")
    assert result.ids == ["a", "b", "c"]
    assert result.rows[0].fields["name"] == "Lamp"


def test_a_wrong_format_is_told_not_crashed(read: Reader) -> None:
    assert read(CSV, format=FeedFormat.JSONL).rows == []
    with pytest.raises(FeedError):
        read(CSV, format=FeedFormat.PARQUET)


def test_an_unknown_encoding_is_a_usage_error(read: Reader) -> None:
    with pytest.raises(UsageError, match="klingon"):
        read(CSV, encoding="klingon")


def test_rejects_can_be_mended_and_read_again(read: Reader, tmp_path: Path) -> None:
    result = read('{"id": "a", "title": "Lamp", "price": "cheap"}\n{"id": "b", "title": "De\n')
    path = tmp_path / "rejects"
    with RejectsFile(str(path)) as rejects:
        for row in result.rejected:
            rejects.write(row)
    mended = path.read_text().replace("cheap", "$1,299.00").replace('"De', '"Desk"}')
    path.write_text(mended)
    again = read_path(path)
    assert as_dicts(again) == [
        {"id": "a", "name": "Lamp", "price": 1299.0},
        {"id": "b", "name": "Desk"},
    ]


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("file", "accepted", "rejected"),
    [
        ("abt_buy/abt.csv", 1076, 0),
        ("abt_buy/buy.csv", 1076, 0),
        ("sigmod2022/X2.csv", 1993, 0),
        ("ikea/ikea.csv", 3694, 0),
        ("feeds/magento.csv", 1994, 0),
        ("feeds/woocommerce.csv", 24, 0),
        ("feeds/woocommerce_importer_test.csv", 3, 4),
        ("feeds/prestashop.csv", 7, 0),
        ("feeds/leipzig_buy_raw.csv", 1092, 0),
        ("feeds/shopify_apparel.csv", 20, 0),
        ("feeds/shopify_home-and-garden.csv", 20, 0),
        ("feeds/shopify_jewelery.csv", 20, 0),
    ],
)
def test_real_catalogues(real_data: Path, file: str, accepted: int, rejected: int) -> None:
    result = read_path(real_data / file)
    assert (len(result.rows), len(result.rejected)) == (accepted, rejected)
    assert all(row.fields.get("name") for row in result.rows)
