"""recsys product: one product at a time."""

from __future__ import annotations

from typing import Annotated

import typer

from recsys_cli.cli import options, render
from recsys_cli.errors import UsageError

app = typer.Typer(
    name="product", help="Put, update, remove or show one product.", no_args_is_help=True
)

Id = Annotated[str, typer.Argument(metavar="ID", help="The product's id.")]
Name = Annotated[str | None, typer.Option(show_default=False)]
Description = Annotated[str | None, typer.Option(show_default=False)]
Category = Annotated[str | None, typer.Option(show_default=False)]
Price = Annotated[
    str | None, typer.Option(help="As in a feed: 19.99 or '$1,299.00'.", show_default=False)
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Any other attribute; repeatable."),
]
Unset = Annotated[
    list[str] | None,
    typer.Option("--unset", metavar="NAME", help="Empty this field; repeatable."),
]


@app.command()
def put(
    product_id: Id,
    name: Name = None,
    description: Description = None,
    category: Category = None,
    price: Price = None,
    attributes: Set = None,
    redis: options.RedisUrl = None,
) -> None:
    """Publish a whole product, replacing what was there under its id."""
    from recsys_cli.pipeline.products import put_product

    fields = _fields(name, description, category, price, attributes)
    with options.backends(redis) as opened:
        position = put_product(
            opened.get_event_processor(), opened.get_catalog(), product_id, fields
        )
    render.success(f"published create of {product_id} as event {position}")


@app.command()
def update(
    product_id: Id,
    name: Name = None,
    description: Description = None,
    category: Category = None,
    price: Price = None,
    attributes: Set = None,
    unset: Unset = None,
    redis: options.RedisUrl = None,
) -> None:
    """Publish the changed fields of a product that the catalog has."""
    from recsys_cli.pipeline.products import update_product

    changes = _fields(name, description, category, price, attributes)
    changes |= dict.fromkeys(unset or [])
    if not changes:
        raise UsageError("nothing to change", hint=f"recsys product update {product_id} --price 12")
    with options.backends(redis) as opened:
        position = update_product(
            opened.get_event_processor(), opened.get_catalog(), product_id, changes
        )
    if position is None:
        render.notice(f"{product_id} has these values already; nothing was published")
    else:
        render.success(f"published update of {product_id} as event {position}")


@app.command()
def rm(product_id: Id, redis: options.RedisUrl = None) -> None:
    """Publish the removal of a product."""
    from recsys_cli.pipeline.products import remove_product

    with options.backends(redis) as opened:
        position = remove_product(opened.get_event_processor(), opened.get_catalog(), product_id)
    render.success(f"published delete of {product_id} as event {position}")


@app.command()
def show(product_id: Id, json: options.Json = False, redis: options.RedisUrl = None) -> None:
    """Show a product as the catalog has it."""
    from recsys_cli.pipeline.show import show_product

    with options.backends(redis) as opened:
        product = show_product(opened.get_catalog(), product_id)
    if json:
        render.json_line(product)
        return
    pairs: list[tuple[str, object]] = [
        ("id", product.id),
        ("name", product.name),
        ("description", product.description),
        ("category", product.category),
        ("price", render.price(product.price)),
    ]
    render.facts("product", pairs + sorted(product.attributes.items()))


def _fields(
    name: str | None,
    description: str | None,
    category: str | None,
    price: str | None,
    attributes: list[str] | None,
) -> dict[str, object]:
    from recsys_cli.feeds.prices import parse_price
    from recsys_cli.pipeline.given import arguments

    with arguments():
        amount = None if price is None else parse_price(price)
    fields: dict[str, object] = {
        "name": name,
        "description": description,
        "category": category,
        "price": amount,
    }
    fields = {field: value for field, value in fields.items() if value is not None}
    for pair in attributes or []:
        attribute, separator, value = pair.partition("=")
        if not separator or not attribute.strip():
            raise UsageError(f"--set {pair!r} is not NAME=VALUE", hint="--set brand=Sony")
        fields[attribute.strip()] = value
    return fields
