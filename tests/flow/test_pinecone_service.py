"""The main job on the real Pinecone: ``python -m pytest -m pinecone_service``, never by itself.

Needs PINECONE_API_KEY and PINECONE_HOST of an index of 384 dimensions for cosine. Writes six
vectors into a namespace of its own, and removes it again.
"""

from __future__ import annotations

import os
from pathlib import Path
from uuid import uuid4

import pytest

from tests.commands import Recsys
from tests.flow.test_main_job import CATALOGUE

NEEDED = ("PINECONE_API_KEY", "PINECONE_HOST")
GIVEN = {name: os.environ[name] for name in NEEDED if os.environ.get(name)}

pytestmark = pytest.mark.pinecone_service


@pytest.mark.timeout(600)
def test_from_a_file_to_neighbors(
    recsys_embedded: Recsys, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if absent := [name for name in NEEDED if name not in GIVEN]:
        pytest.fail(f"set {' and '.join(absent)} to test against the real service")
    recsys = recsys_embedded
    for name, value in GIVEN.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("VECTOR_STORE_TYPE", "pinecone")
    monkeypatch.setenv("VECTOR_INDEX_NAME", f"recsys-test-{uuid4().hex}")
    feed = tmp_path / "catalogue.csv"
    feed.write_text(CATALOGUE)
    recsys("import", feed)
    try:
        recsys("consume", "--drain", "--wait-visible")
        (nearest,) = recsys("similar", "kettle-1", "-n", 1, "--json").json["neighbors"]
        assert nearest["product_id"] == "kettle-2"
        assert recsys("product", "update", "lamp-1", "--price", "69").exit_code == 0
        recsys("consume", "--drain", "--wait-visible")
        (lamp,) = recsys("similar", "--text", "desk lamp", "-n", 1, "--json").json["neighbors"]
        assert (lamp["product_id"], lamp["price"]) == ("lamp-1", 69.0)
    finally:
        recsys("index", "drop", "--embeddings", "--yes")
