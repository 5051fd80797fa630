"""What every vector store refuses."""

from __future__ import annotations

import numpy as np
import pytest

from recsys_cli.vectors.checks import checked


@pytest.mark.parametrize("bad", [[1.0], [[1.0, 0.0]], [1.0, float("nan")], [1.0, float("inf")]])
def test_a_vector_of_another_shape_or_not_finite_is_refused(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="the vector of 'p'"):
        checked(np.asarray(bad, np.float32), 2, "the vector of 'p'")
