"""recsys similar: which products are like this one."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from itertools import count
from typing import TYPE_CHECKING, Annotated

import typer

from recsys_cli.cli import options, render
from recsys_cli.errors import NotFound, UsageError

if TYPE_CHECKING:
    from recsys_cli.domain import Explanation
    from recsys_cli.pipeline.explain import Explainer
    from recsys_cli.pipeline.similar import Query, Similar
    from recsys_cli.wiring import Backends

COLUMNS = (
    render.Column("#", "right", whole=True),
    render.Column("product_id", whole=True),
    render.Column("score", "right", whole=True),
    render.Column("match", whole=True),
    render.Column("name", wraps=True),
    render.Column("category"),
    render.Column("price", "right", whole=True),
)

ASKED = render.Column("similar_to", whole=True)

EXPLAINED_COLUMNS = (
    *COLUMNS[:3],
    render.Column("name", wraps=True),
    render.Column("because", wraps=True),
)


def similar(
    product_ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="ID...", help="Product ids; - reads them from standard input."),
    ] = None,
    text: Annotated[
        str | None,
        typer.Option(help="Find products like this text instead.", show_default=False),
    ] = None,
    limit: Annotated[
        int, typer.Option("-n", "--limit", min=1, max=1000, help="Neighbors to show.")
    ] = 10,
    min_score: Annotated[
        float | None,
        typer.Option(
            min=-1.0,
            max=1.0,
            callback=options.a_number,
            help="Hide neighbors below this cosine.",
            show_default=False,
        ),
    ] = None,
    category: Annotated[
        str | None, typer.Option(help="Only this category, exactly.", show_default=False)
    ] = None,
    price_min: Annotated[
        float | None,
        typer.Option(
            callback=options.a_number, help="Only from this price on.", show_default=False
        ),
    ] = None,
    price_max: Annotated[
        float | None,
        typer.Option(callback=options.a_number, help="Only up to this price.", show_default=False),
    ] = None,
    exclude_category: Annotated[
        list[str] | None,
        typer.Option(help="Not this category; repeatable.", show_default=False),
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="Only with this value of an attribute that the index was made with; repeatable, "
            "and values of the same name are alternatives.",
            show_default=False,
        ),
    ] = None,
    distinct: Annotated[
        str | None,
        typer.Option(
            metavar="ATTRIBUTE",
            help="Of neighbors with the same value, such as variants, only the closest.",
            show_default=False,
        ),
    ] = None,
    diverse: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            callback=options.a_number,
            metavar="LAMBDA",
            help="Prefer neighbors unlike each other: 1 not at all, 0 whatever the score.",
            show_default=False,
        ),
    ] = None,
    ef: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=4096,
            help="Candidates to keep while searching the graph of an HNSW index.",
            show_default=False,
        ),
    ] = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="Compare with every product instead.")
    ] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say which words make each of them similar.")
    ] = False,
    json: options.Json = False,
    redis: options.RedisUrl = None,
) -> None:
    """Show the products closest to one, or to a text, by cosine similarity."""
    from recsys_cli.cleaning import clean_line
    from recsys_cli.domain import SearchFilter
    from recsys_cli.pipeline.similar import Query, parse_attributes
    from recsys_cli.settings import NEIGHBOR_IS_STRONG

    if bool(product_ids) == (text is not None):
        raise UsageError("give product ids, or a --text", hint="recsys similar prod-123")
    if exact and ef is not None:
        raise UsageError("--ef is for going through the graph, and --exact goes past it")
    if price_min is not None and price_max is not None and price_min > price_max:
        raise UsageError(f"--price-min {price_min:g} is above --price-max {price_max:g}")
    filter_ = SearchFilter(
        category=None if category is None else clean_line(category),
        price_min=price_min,
        price_max=price_max,
        exclude_categories=tuple(map(clean_line, exclude_category or ())),
        attributes=parse_attributes(where or []),
    )
    with options.backends(redis) as opened:
        if exact and not opened.get_vector_store().can_search_exactly:
            render.warning("this vector store has no exact search: --exact changes nothing")
        threshold = opened.settings.similarity_threshold
        query = Query(
            limit=limit,
            where=filter_ if filter_ != SearchFilter() else None,
            min_score=threshold if min_score is None else min_score,
            strong=NEIGHBOR_IS_STRONG,
            distinct=distinct,
            diverse=diverse,
            ef=ef,
            exact=exact,
        )
        found_all = True
        are_many = len(product_ids or []) > 1 or "-" in (product_ids or [])
        numbers = count()
        explainer = _explainer(opened) if explain else None
        for answer in _answers(opened, product_ids or [], text, query):
            if isinstance(answer, NotFound):
                found_all = False
                render.error(answer)
            else:
                reasons = explainer.answer(answer, text) if explainer else None
                number = next(numbers) if are_many else None
                show_similar(answer, query, text, reasons, number=number, json=json)
    raise typer.Exit(0 if found_all else NotFound.exit_code)


def _answers(
    opened: Backends, product_ids: list[str], text: str | None, query: Query
) -> Iterator[Similar | NotFound]:
    from recsys_cli.pipeline.similar import SimilarProducts, similar_to_text

    if text is not None:
        yield similar_to_text(
            text,
            opened.get_catalog(),
            opened.get_generations(),
            opened.get_model_factory(),
            query,
        )
        return
    products = SimilarProducts(
        opened.get_event_processor(), opened.get_catalog(), opened.get_generations()
    )
    yield from products.of(_ids(product_ids), query)


def _explainer(opened: Backends) -> Explainer:
    from recsys_cli.pipeline.explain import Explainer

    return Explainer(opened.get_catalog(), opened.get_generations(), opened.get_model_factory())


def _ids(arguments: list[str]) -> Iterator[str]:
    for argument in arguments:
        if argument == "-":
            yield from (line.strip() for line in sys.stdin if line.strip())
        else:
            yield argument


def show_similar(
    answer: Similar,
    query: Query,
    text: str | None = None,
    reasons: Mapping[str, Explanation] | None = None,
    *,
    number: int | None = None,
    json: bool = False,
) -> None:
    """Print one answer: a table, or one line of JSON.

    ``number``: which of several it is. In a pipe they are one table, whose rows say whose they are.
    """
    if json:
        line = {"product_id": None if text is not None else answer.product_id}
        if text is not None:
            line["text"] = text
        render.json_line({**line, "neighbors": _with_reasons(answer, reasons)})
        return
    rows = []
    for rank, n in enumerate(answer.neighbors, start=1):
        place = [rank, n.product_id, f"{n.similarity_score:.4f}"]
        if reasons is not None:
            cells = [*place, n.name, _because(reasons.get(n.product_id), n.similarity_score)]
        else:
            match = "strong" if n.strong else "weak"
            cells = [*place, match, n.name, n.category, render.price(n.price)]
        rows.append(render.Row(cells, is_dim=not n.strong))
    columns = COLUMNS if reasons is None else EXPLAINED_COLUMNS
    title = f"similar to {answer.product_id or repr(text)}"
    caption = _caption(answer, query, has_match=reasons is None)
    if number is not None and not render.is_terminal():
        columns = (ASKED, *columns)
        rows = [render.Row([answer.product_id, *row.cells]) for row in rows]
        caption = caption and f"{answer.product_id}: {caption}"
    render.table(columns, rows, title=title, caption=caption, goes_on=bool(number))


def _because(reason: Explanation | None, score: float) -> str:
    from recsys_cli.cli.explain import briefly

    return briefly(reason, score)


def _with_reasons(answer: Similar, reasons: Mapping[str, Explanation] | None) -> list[object]:
    import msgspec

    if reasons is None:
        return list(answer.neighbors)
    return [
        msgspec.structs.asdict(n) | {"explanation": reasons.get(n.product_id)}
        for n in answer.neighbors
    ]


def _caption(answer: Similar, query: Query, *, has_match: bool) -> str:
    if answer.hidden:
        return (
            f"{answer.hidden} more below {query.min_score:g} are hidden; --min-score 0 shows them"
        )
    if not answer.neighbors:
        return "no neighbors" + (" within these filters" if query.where else " yet")
    if has_match and any(not n.strong for n in answer.neighbors):
        return f"weak: below {query.strong:g}; --min-score {query.strong:g} hides them"
    return ""
