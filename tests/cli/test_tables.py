"""What a person sees: tables at 80 and 160 columns, plain lines in a pipe."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from rich.cells import cell_len

from tests.cli.terminal import ESCAPE, in_terminal, plain
from tests.commands import Recsys

LONG = "Wireless over-ear headphones with active noise cancelling and a very long marketing name"
ROWS = [
    {"id": f"head phones/{i}", "name": f"{LONG} {i}", "category": "Audio & Hi-Fi", "price": 1299.5}
    for i in range(4)
] + [
    {
        "id": "束",
        "name": "日本の緑茶 煎茶 ティーバッグ 五十個入り 業務用",
        "category": "Tea [bold]",
    },
    {"id": "evil", "name": "Head\u001b[31mphones\u0007", "category": "Audio", "price": 1},
]


@pytest.fixture
def shop(recsys_embedded: Recsys, tmp_path: Path) -> Recsys:
    feed = tmp_path / "feed.jsonl"
    feed.write_text("\n".join(map(json.dumps, ROWS)))
    return recsys_embedded.stock(feed)


@pytest.mark.parametrize("columns", [80, 160])
@pytest.mark.parametrize(
    "command",
    [
        ("similar", "head phones/0"),
        ("lag",),
        ("pending",),
        ("health",),
        ("index", "info"),
        ("config", "show"),
        ("product", "show", "束"),
    ],
    ids=lambda command: " ".join(command) if isinstance(command, tuple) else str(command),
)
@pytest.mark.usefixtures("shop")
def test_tables_fit_the_terminal(columns: int, command: tuple[str, ...]) -> None:
    lines = plain(in_terminal(columns, *command))
    assert any(line.startswith("╭") for line in lines)
    # The first line names the backend, and wraps wherever the terminal does.
    table = [line for line in lines if line[:1] in "╭│├╰"]
    assert max(map(cell_len, table)) <= columns


@pytest.mark.usefixtures("shop")
def test_ids_and_prices_are_never_cut() -> None:
    lines = plain(in_terminal(80, "similar", "head phones/0"))
    for number in (1, 2, 3):
        (row,) = (line for line in lines if f"head phones/{number}" in line)
        assert "1,299.50" in row
    assert sum("marketing" in line for line in lines) == 3, "a long name goes on below"


@pytest.mark.usefixtures("shop")
def test_on_a_terminal_many_products_have_a_table_each() -> None:
    screen = plain(in_terminal(80, "similar", "head phones/0", "束"))
    assert sum(line.startswith("╭") for line in screen) == 2
    assert "similar to 束" in " ".join(screen)
    assert "similar_to" not in " ".join(screen)


def test_a_huge_price_is_short(recsys_embedded: Recsys) -> None:
    for price, shown in ((1e308, "1e+308"), (999_999_999_999, "999,999,999,999.00")):
        recsys_embedded("product", "put", "a", "--name", "Lamp", "--price", price)
        assert f"price\t{shown}\n" in recsys_embedded("product", "show", "a").out


@pytest.mark.usefixtures("shop")
def test_no_color_means_none() -> None:
    coloured = in_terminal(80, "similar", "head phones/0")
    plain_screen = in_terminal(80, "similar", "head phones/0", env={"NO_COLOR": "1"})
    assert "\x1b[1;36m" in coloured
    assert "\x1b[1;36m" not in plain_screen
    assert not any(code in plain_screen for code in ("\x1b[31", "\x1b[32", "\x1b[36"))


@pytest.mark.usefixtures("shop")
def test_a_name_cannot_steer_the_terminal() -> None:
    screen = in_terminal(160, "similar", "--text", "headphones", "-n", "10")
    assert "\x1b[31m" not in screen
    assert "\x07" not in screen
    assert "Tea [bold]" in ESCAPE.sub("", in_terminal(160, "similar", "--text", "煎茶"))


def test_a_pipe_gets_whole_lines_without_boxes(shop: Recsys) -> None:
    result = shop("similar", "head phones/0", "-n", 3)
    header, *rows = result.out.splitlines()
    assert header.split("\t") == [
        "#",
        "product_id",
        "score",
        "match",
        "name",
        "category",
        "price",
    ]
    assert len(rows) == 3
    assert all(len(row.split("\t")) == 7 for row in rows)
    assert f"{LONG} 1" in result.out
    assert not set("│╭─…") & set(result.out)
    assert "\x1b" not in result.out + result.err
    assert "embedded file" in result.err
    assert "embedded file" not in result.out


@pytest.mark.parametrize(
    "command",
    [
        ("similar", "head phones/0"),
        ("lag",),
        ("health",),
        ("index", "info"),
        ("config", "show"),
        ("product", "show", "束"),
    ],
    ids=" ".join,
)
def test_json_parses(shop: Recsys, command: tuple[str, ...]) -> None:
    assert shop(*command, "--json").json_lines


def test_an_import_shows_a_bar_and_then_its_table(tmp_path: Path) -> None:
    feed = tmp_path / "feed.csv"
    feed.write_text("id,name\n" + "".join(f"p{n},Lamp {n}\n" for n in range(60_000)))
    screen = in_terminal(80, "import", str(feed), "--dry-run")
    assert re.search(r"feed.csv ━+ \d+,000 rows, \d+,000 events", ESCAPE.sub("", screen))
    assert "━" in screen
    assert "import (dry run)" in ESCAPE.sub("", screen)
