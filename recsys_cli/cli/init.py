"""recsys init: make what is missing on the configured backends."""

from __future__ import annotations

from typing import Annotated

import typer

from recsys_cli.cli import options, render


def init(
    print_sql: Annotated[
        bool,
        typer.Option(
            "--print-sql",
            help="Make nothing; print the SQL for Postgres, for a role that may run it.",
        ),
    ] = False,
    redis: options.RedisUrl = None,
) -> None:
    """Make what is missing on the backends: schema, group and index."""
    from recsys_cli.domain import IndexSpec

    with options.backends(redis) as opened:
        if print_sql:
            typer.echo(opened.setup_sql())
            return
        is_new = opened.get_event_processor().create_group()
        opened.get_catalog().model_checksum()
        store = opened.get_vector_store()
        has_index = store.dimension() is not None
        if not has_index:
            store.create_index(IndexSpec(dimension=opened.settings.vector_dimension))
        group, index = opened.settings.product_stream_group, opened.settings.vector_index_name
    render.success(f"group {group} {'created' if is_new else 'exists already'}")
    render.success(f"index {index} {'exists already' if has_index else 'created'}")
