"""recsys config: the settings in force."""

from __future__ import annotations

import typer

from recsys_cli.cli import options, render

app = typer.Typer(name="config", help="Show the settings in force.", no_args_is_help=True)


@app.callback()
def config() -> None:
    """Show the settings in force."""


@app.command()
def show(json: options.Json = False, redis: options.RedisUrl = None) -> None:
    """Show every setting, its value and where it comes from; secrets are masked."""
    settings = options.settings_for(redis)
    if json:
        shown = {name: {"value": v, "from": origin} for name, v, origin in settings.shown()}
        render.json_line(shown)
        return
    columns = [render.Column(name, whole=True) for name in ("setting", "value", "from")]
    render.table(columns, [render.Row(row) for row in settings.shown()], title="settings")
