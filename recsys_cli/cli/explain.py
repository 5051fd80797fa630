"""recsys explain: why two products are close."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from recsys_cli.cli import options, render

if TYPE_CHECKING:
    from recsys_cli.domain import Explanation, SharedWord
    from recsys_cli.pipeline.explain import Explained

COLUMNS = (
    render.Column("words", whole=True),
    render.Column("share", "right", whole=True),
    render.Column("in the first"),
    render.Column("in the second"),
)
BRIEFLY = 3
"""Words that are named under a neighbor."""


def explain(
    one: Annotated[str, typer.Argument(metavar="ID", help="A product's id.")],
    other: Annotated[str, typer.Argument(metavar="ID", help="Another's.")],
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, help="Words to show.")] = 10,
    json: options.Json = False,
    redis: options.RedisUrl = None,
) -> None:
    """Show which words make two products alike, and how much each adds to the score."""
    from recsys_cli.pipeline.explain import Explainer

    with options.backends(redis) as opened:
        explainer = Explainer(
            opened.get_catalog(), opened.get_generations(), opened.get_model_factory()
        )
        explained = explainer.pair(one, other, opened.get_vector_store())
    if json:
        ids = {"product_id": explained.one.id, "other_product_id": explained.other.id}
        render.json_line(
            {**ids, "stored_score": explained.stored_score, "explanation": explained.explanation}
        )
    else:
        _show(explained, limit)
    if explained.stored_score is None:
        render.warning(
            "not both of them are embedded: recsys consume --drain, or recsys doctor --fix"
        )
    elif not explained.is_current:
        render.warning(
            f"the index still has them at {explained.stored_score:.4f}, by an older text or "
            "model: recsys consume --drain"
        )


def _show(explained: Explained, limit: int) -> None:
    found = explained.explanation
    rows = [
        render.Row(
            [pair(word), share(word.share), " ".join(word.fields), " ".join(word.other_fields)]
        )
        for word in found.words[:limit]
    ]
    rest = [(name, value) for name, value in remainders(found, limit) if round(value, 4)]
    rows += [render.Row([name, share(value), "", ""], is_dim=True) for name, value in rest]
    rows.append(render.Row(["score", share(found.score), "", ""]))
    title = f"{explained.one.id} and {explained.other.id}"
    render.table(COLUMNS, rows, title=title)


def briefly(found: Explanation | None, score: float) -> str:
    """Return the explanation in a line; its numbers sum up to the score."""
    from recsys_cli.pipeline.explain import agrees

    if found is None:
        return "deleted meanwhile"
    if not agrees(found, score):
        return f"its text has changed: now {found.score:.4f}, once consumed"
    named = [
        f"{pair(word)} {word.share:.2f} {'+'.join(dict.fromkeys(word.other_fields))}"
        for word in found.words[:BRIEFLY]
    ]
    rest = [f"{name} {value:.2f}" for name, value in remainders(found, BRIEFLY) if round(value, 2)]
    return "; ".join(named + rest)


def remainders(found: Explanation, shown: int) -> list[tuple[str, float]]:
    """Return what the shown words leave of the score, by what it is."""
    return [
        ("more words", sum(word.share for word in found.words[shown:])),
        ("pieces", found.pieces),
        ("hash collisions", found.collisions),
    ]


def pair(word: SharedWord) -> str:
    """Return the word, or both where they differ."""
    return word.word if word.word == word.other_word else f"{word.word} ~ {word.other_word}"


def share(value: float) -> str:
    return f"{value:.4f}"
