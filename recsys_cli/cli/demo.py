"""recsys demo: the main job on a small catalogue, in a folder of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recsys_cli.cli import render
from recsys_cli.errors import FeedError, NotFound, UsageError

QUERIED = "prod-123"


def demo(
    home: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER",
            help="Where the demo's embedded file goes; a folder beside the real one unless given.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Import, consume and query a small catalogue on an embedded file of its own."""
    from recsys_cli.cli.consume import run_consume
    from recsys_cli.cli.import_feed import run_import, show_import
    from recsys_cli.cli.similar import show_similar
    from recsys_cli.feeds.reader import FeedOptions
    from recsys_cli.pipeline.consume import ConsumeOptions
    from recsys_cli.pipeline.import_feeds import ImportOptions
    from recsys_cli.pipeline.similar import Query, SimilarProducts
    from recsys_cli.settings import Settings, default_home
    from recsys_cli.wiring import Backends

    folder = Path(home) if home else Path(default_home()) / "demo"
    settings = Settings(recsys_home=str(folder))
    render.notice(settings.describe())
    _begin_anew(folder)
    with Backends(settings) as opened:
        feed = sample_feed()
        render.success(f"$ recsys import {feed.name}")
        how = ImportOptions()
        show_import(run_import(opened, [str(feed)], FeedOptions(), how, None), how)
        render.success("$ recsys consume --drain")
        run_consume(
            opened, ConsumeOptions(consumer=settings.consumer_id, batch_size=50, drain=True)
        )
        render.success(f"$ recsys similar {QUERIED}")
        query = Query(limit=5)
        products = SimilarProducts(
            opened.get_event_processor(), opened.get_catalog(), opened.get_generations()
        )
        for answer in products.of([QUERIED], query):
            if isinstance(answer, NotFound):
                raise answer
            show_similar(answer, query)
    render.notice(f"go on with: RECSYS_HOME={folder} recsys similar --text 'trail running shoes'")


def sample_feed() -> Path:
    """Return the sample catalogue: inside the wheel, or at the top of a checkout."""
    package = Path(__file__).parents[1]
    for folder in (package / "sample_data", package.parent / "sample_data"):
        if (folder / "products.csv").is_file():
            return folder / "products.csv"
    raise FeedError("the sample catalogue is not installed")


def _begin_anew(folder: Path) -> None:
    """Throw away the file of an earlier demo, and none that is not of a demo."""
    marker = folder / "made-by-recsys-demo"
    old = list(folder.glob("recsys.db*"))
    if old and not marker.exists():
        raise UsageError(f"{old[0]} is not of a demo", hint="recsys demo --home ANOTHER_FOLDER")
    for file in old:
        file.unlink()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    marker.touch()
