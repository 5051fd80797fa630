"""recsys index: create, inspect and drop the index of embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from recsys_cli.cli import options, render
from recsys_cli.cli.reembed import Filling, reembedding
from recsys_cli.cli.signals import exiting_on_signals
from recsys_cli.errors import IndexMissing

if TYPE_CHECKING:
    from recsys_cli.pipeline.index_check import IndexCheck

app = typer.Typer(
    name="index", help="The index of embeddings, and its generations.", no_args_is_help=True
)

GENERATION_COLUMNS = (
    render.Column("generation", "right", whole=True),
    render.Column("state", whole=True),
    render.Column("model", whole=True),
    render.Column("documents", "right", whole=True),
    render.Column("parameters", wraps=True),
    render.Column("since", whole=True),
)


@app.command()
def create(
    m: Annotated[int, typer.Option("--m", min=2, max=512, help="HNSW links per node.")] = 16,
    ef_construction: Annotated[
        int, typer.Option(min=1, max=4096, help="Candidates kept while building.")
    ] = 200,
    ef_runtime: Annotated[
        int, typer.Option(min=1, max=4096, help="Candidates kept while searching.")
    ] = 200,
    attribute: options.Attributes = None,
    redis: options.RedisUrl = None,
) -> None:
    """Create the index; again with the same parameters is fine.

    The embedded file searches exactly, so there the parameters change nothing.
    """
    from recsys_cli.domain import IndexSpec
    from recsys_cli.pipeline.reembed import declared

    with options.backends(redis) as opened:
        spec = IndexSpec(
            dimension=opened.settings.vector_dimension,
            m=m,
            ef_construction=ef_construction,
            ef_runtime=ef_runtime,
            attributes=declared(attribute or []),
        )
        vectors = opened.get_vector_store()
        is_new = vectors.create_index(spec)
        settings = opened.settings
        name = settings.vector_index_name
        in_cloud = settings.vector_store_type == "pinecone" and settings.pinecone_host is None
        host = vectors.health().address if in_cloud else ""
    render.success(f"index {name} {'created' if is_new else 'exists already, as asked'}")
    if host:
        render.warning(f"it is made in the cloud; the other commands need PINECONE_HOST={host}")


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
            ("attributes", ", ".join(found.attributes) or "none"),
            ("model version", ", ".join(found.model_versions) or "none yet"),
        ],
    )


@app.command()
def check(
    sample: Annotated[
        int, typer.Option(min=1, max=100_000, help="Products to look for, drawn evenly.")
    ] = 500,
    k: Annotated[int, typer.Option("-k", min=1, max=1000, help="Neighbors that count.")] = 10,
    min_recall: Annotated[
        float,
        typer.Option(
            min=0, max=1, callback=options.a_number, help="Exit with 3 where less is found."
        ),
    ] = 0.95,
    tune: Annotated[
        bool, typer.Option("--tune", help="Search with the smallest ef that finds enough.")
    ] = False,
    json: options.Json = False,
    redis: options.RedisUrl = None,
) -> None:
    """Compare what the index finds with exact search, and name the ef_runtime that finds enough.

    --tune holds for recsys, at once. Other programs that search the index itself keep the value it
    was made with, until the next recsys reembed.
    """
    from recsys_cli.pipeline.index_check import check_index
    from recsys_cli.pipeline.recall import Sample

    with options.backends(redis) as opened, exiting_on_signals(), render.progress("check") as bar:
        found = check_index(
            opened.get_generations(),
            Sample(products=sample, k=k),
            min_recall,
            tune=tune,
            progress=bar.say,
        )
    if json:
        render.json_line(found)
    else:
        _show_check(found)
    _judge(found, tune=tune)
    raise typer.Exit(0 if found.is_enough else 3)


def _show_check(found: IndexCheck) -> None:
    pairs: list[tuple[str, object]] = [
        ("generation", found.generation),
        ("queries", render.number(found.queries)),
        (f"recall@{found.k}", f"{found.recall:.4f}"),
    ]
    if found.is_exact:
        pairs.append(("ef_runtime", "none: it is exact"))
    elif found.ef_runtime is None:
        pairs.append(("ef_runtime", "none: the backend searches in its own way"))
    else:
        pairs.append(("ef_runtime", found.ef_runtime))
        pairs.append(("ef_runtime that suffices", found.ef_that_suffices or "none"))
    render.facts("index check", pairs)
    if found.worst:
        columns = [render.Column("recall", whole=True), render.Column("queries", "right")]
        rows = [render.Row([name, count]) for name, count in found.histogram if count]
        render.table(columns, rows, title="how much was found")
        columns = [render.Column("found least", whole=True), render.Column("recall", "right")]
        rows = [render.Row([name, f"{value:.2f}"]) for name, value in found.worst]
        render.table(columns, rows)


def _judge(found: IndexCheck, *, tune: bool) -> None:
    goal = f"{found.min_recall:g}"
    if found.ef_that_suffices is not None and tune:
        render.success(f"searches keep {found.ef_that_suffices} candidates from now on")
    if found.is_enough:
        return
    if found.ef_runtime is None:
        remedy = "and nothing can be set"
    elif found.ef_that_suffices is None:
        remedy = (
            "no ef_runtime finds enough in this graph: recsys reembed --m 32 --ef-construction 400"
        )
    else:
        remedy = f"ef_runtime {found.ef_that_suffices} would find enough: recsys index check --tune"
    render.warning(f"recall@{found.k} is {found.recall:.4f}, below {goal}; {remedy}")


@app.command()
def generations(json: options.Json = False, redis: options.RedisUrl = None) -> None:
    """List the generations of embeddings: which one serves, and which could serve again."""
    from recsys_cli.pipeline.reembed import list_generations

    with options.backends(redis) as opened:
        found = list_generations(opened.get_catalog(), opened.get_generations())
    if json:
        for generation in found:
            render.json_line(generation)
        return
    render.table(
        GENERATION_COLUMNS,
        [
            render.Row(
                [
                    g.generation,
                    g.state,
                    g.model_version or "none",
                    "no index" if g.documents is None else render.number(g.documents),
                    ", ".join(f"{name} {value}" for name, value in g.parameters.items()),
                    render.ago(g.since) if g.since else "unknown",
                ]
            )
            for g in found
        ],
    )


@app.command()
def rollback(
    to: Annotated[
        int | None,
        typer.Option(
            metavar="NUMBER", help="This one; without it, the newest kept.", show_default=False
        ),
    ] = None,
    redis: options.RedisUrl = None,
) -> None:
    """Let an earlier generation serve again, with its own model.

    It is first brought up to the catalog, which takes seconds; meanwhile queries are answered as
    before. The one that serves now is kept, so that rolling back once more undoes it.
    """
    from recsys_cli.pipeline.fill import Pace

    with (
        options.backends(redis, wait_visible=True) as opened,
        exiting_on_signals(),
        render.progress("roll back") as bar,
    ):
        before, after = reembedding(opened).roll_back(to, Pace(), Filling(bar, "roll back"))
    render.success(
        f"generation {after.number} serves again, model {after.model_version}; "
        f"generation {before.number} is kept"
    )


@app.command()
def prune(
    keep: Annotated[
        int, typer.Option(min=0, max=100, help="Keep so many of the newest, for a rollback.")
    ] = 0,
    yes: options.Yes = False,
    redis: options.RedisUrl = None,
) -> None:
    """Drop kept generations and what interrupted runs have left; never the one that serves."""
    with options.backends(redis) as opened:
        options.confirm("drop", "kept and unfinished generations", yes=yes)
        dropped = reembedding(opened).prune(keep)
    names = ", ".join(str(generation.number) for generation in dropped)
    render.success(f"dropped generation {names}" if dropped else "there was nothing to drop")


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
