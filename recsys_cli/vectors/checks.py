"""What every vector store refuses, in the same words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from recsys_cli.domain import IndexSpec
from recsys_cli.errors import IndexMismatch
from recsys_cli.ports import Vector


def checked(vector: Vector, dimension: int, whose: str) -> Vector:
    """Return the vector as little-endian float32.

    Raises ValueError for another size than ``dimension``, or a number that is not finite.
    """
    import numpy as np  # noqa: PLC0415 - who has a vector has loaded it

    numbers = np.asarray(vector, dtype="<f4")
    if numbers.shape != (dimension,):
        raise ValueError(f"{whose} has the shape {numbers.shape}; the index holds ({dimension},)")
    if not np.isfinite(numbers).all():
        raise ValueError(f"{whose} has a value that is not finite")
    return numbers


def compare_hnsw(
    name: str, parameters: Mapping[str, int], attributes: Sequence[str], spec: IndexSpec
) -> None:
    """Raise IndexMismatch where the index is another than ``spec``.

    ``parameters``: what is known of it, by the names of the spec.
    """
    wanted = {
        "dimension": spec.dimension,
        "m": spec.m,
        "ef_construction": spec.ef_construction,
        "ef_runtime": spec.ef_runtime,
    }
    others = {n: value for n, value in wanted.items() if parameters.get(n, value) != value}
    differences = [f"{what} {parameters[what]}, not {value}" for what, value in others.items()]
    flags = [f"--{what.replace('_', '-')} {value}" for what, value in others.items()]
    has_others = list(attributes) != list(spec.attributes)
    if has_others:
        have, want = (", ".join(names) or "none" for names in (attributes, spec.attributes))
        differences.append(f"attributes {have}, not {want}")
        flags += [f"--attribute {attribute}" for attribute in spec.attributes]
    if differences:
        hint = "recsys index drop, then create it anew"
        # A re-embed keeps to the dimension, and to the attributes where none is named.
        if "dimension" not in others and (spec.attributes or not has_others):
            hint = f"recsys reembed {' '.join(flags)}, while this one serves; or {hint}"
        raise IndexMismatch(f"the index {name!r} exists with {'; '.join(differences)}", hint=hint)
