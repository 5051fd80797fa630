"""recsys index: create, inspect and drop the index of embeddings."""

from __future__ import annotations

from typing import Annotated

import typer

from recsys_cli.cli import options, render
from recsys_cli.errors import IndexMissing

app = typer.Typer(name="index", help="Create, inspect or drop the index.", no_args_is_help=True)


@app.command()
def create(
    m: Annotated[int, typer.Option("--m", min=2, max=512, help="HNSW links per node.")] = 16,
    ef_construction: Annotated[
        int, typer.Option(min=1, max=4096, help="Candidates kept while building.")
    ] = 200,
    ef_runtime: Annotated[
        int, typer.Option(min=1, max=4096, help="Candidates kept while searching.")
    ] = 200,
    redis: options.RedisUrl = None,
) -> None:
    """Create the index; again with the same parameters is fine.

    The embedded file searches exactly, so there the parameters change nothing.
    """
    from recsys_cli.domain import IndexSpec

    with options.backends(redis) as opened:
        spec = IndexSpec(
            dimension=opened.settings.vector_dimension,
            m=m,
            ef_construction=ef_construction,
            ef_runtime=ef_runtime,
        )
        is_new = opened.get_vector_store().create_index(spec)
        name = opened.settings.vector_index_name
    render.success(f"index {name} {'created' if is_new else 'exists already, as asked'}")


@app.command()
def info(json: options.Json = False, redis: options.RedisUrl = None) -> None:
    """Show what the index holds."""
    with options.backends(redis) as opened:
        found = opened.get_vector_store().info()
        name = opened.settings.vector_index_name
    if found is None:
        raise IndexMissing(f"there is no index {name}", hint="recsys index create")
    if json:
        import msgspec

        extra = {"bytes_per_product": found.bytes_per_product}
        render.json_line(msgspec.structs.asdict(found) | extra)
        return
    render.facts(
        "index",
        [
            ("name", found.name),
            ("algorithm", found.algorithm),
            ("dimension", found.dimension),
            ("documents", render.number(found.documents)),
            ("indexed", render.number(found.indexed)),
            ("failures", render.number(found.failures)),
            ("memory", render.size(found.memory_bytes)),
            ("bytes per product", render.number(found.bytes_per_product)),
            *found.parameters.items(),
            ("model version", ", ".join(found.model_versions) or "none yet"),
        ],
    )


@app.command()
def drop(
    embeddings: Annotated[
        bool, typer.Option("--embeddings", help="Delete the embeddings as well.")
    ] = False,
    yes: options.Yes = False,
    redis: options.RedisUrl = None,
) -> None:
    """Drop the index, so that nothing can be searched until it is created again."""
    with options.backends(redis) as opened:
        name = opened.settings.vector_index_name
        what = f"the index {name}" + (" and all embeddings" if embeddings else "")
        options.confirm("drop", what, yes=yes)
        existed = opened.get_vector_store().drop_index(embeddings=embeddings)
    render.success(f"dropped {what}" if existed else f"there was no index {name}")
