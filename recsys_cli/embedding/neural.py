"""A pretrained sentence encoder, such as all-MiniLM-L6-v2, from a folder on this machine.

The folder is as the model's publisher has it: ``model.onnx`` (or ``onnx/model.onnx``) and
``tokenizer.json``. Nothing is ever downloaded. A text's embedding is the mean of its tokens' last
hidden states, of unit length (Reimers & Gurevych 2019, arXiv:1908.10084).

Rows may differ in their last bits between machines: each processor multiplies in its own way.
"""

from __future__ import annotations

import hashlib
import threading
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from recsys_cli.domain import ModelInfo, Product
from recsys_cli.embedding import artifact
from recsys_cli.embedding.text import digest, texts_of
from recsys_cli.errors import InvalidModel, MissingDependency, SettingsError, UsageError
from recsys_cli.ports import Matrix

try:
    import onnxruntime
    from tokenizers import Encoding, Tokenizer
except ImportError as error:
    raise MissingDependency(
        f"EMBEDDING_MODEL=neural needs the package {error.name}",
        hint="pip install 'recsys-cli[neural]'",
    ) from error

KIND = "neural"
RECIPE = 1
"""Goes up whenever the same folder gives other vectors."""

MAX_TOKENS = 256
"""What comes later in a text does not count; all-MiniLM-L6-v2 was trained on no more."""

_TEXTS_AT_ONCE = 32


class Encoder:
    """The files of a folder, opened when the first text is encoded."""

    def __init__(self, folder: str) -> None:
        """Raises SettingsError naming the folder, or the file that it lacks."""
        self._model = _found(folder, "model.onnx", "onnx/model.onnx")
        self._tokenizer = _found(folder, "tokenizer.json")
        self._lock = threading.Lock()

    @cached_property
    def fingerprint(self) -> bytes:
        """The SHA-256 of the SHA-256 of each file: what the model is, wherever it lies."""
        digests = []
        for path in (self._model, self._tokenizer):
            with path.open("rb") as file:
                digests.append(hashlib.file_digest(file, "sha256").digest())
        return hashlib.sha256(b"".join(digests)).digest()

    def encode(self, texts: Sequence[str]) -> Matrix:
        """Return the mean hidden state of each text, of unit length: shape (n, dimension).

        Only texts of the same number of tokens go together, so no row depends on padding.
        """
        tokenizer, session = self._opened
        by_length: dict[int, list[tuple[int, Encoding]]] = defaultdict(list)
        for place, encoding in enumerate(tokenizer.encode_batch_fast(list(texts))):
            by_length[len(encoding.ids)].append((place, encoding))
        rows: dict[int, Any] = {}
        for alike in by_length.values():
            for start in range(0, len(alike), _TEXTS_AT_ONCE):
                batch = alike[start : start + _TEXTS_AT_ONCE]
                means = _run(session, [encoding for _, encoding in batch]).mean(axis=1)
                rows.update(zip((place for place, _ in batch), means, strict=True))
        matrix = np.stack([rows[place] for place in range(len(texts))])
        unit: Matrix = (matrix / np.linalg.norm(matrix, axis=1, keepdims=True)).astype(np.float32)
        return unit

    @property
    def _opened(self) -> tuple[Tokenizer, Any]:
        with self._lock:
            return self._files

    @cached_property
    def _files(self) -> tuple[Tokenizer, Any]:
        onnxruntime.disable_telemetry_events()
        try:
            tokenizer = Tokenizer.from_file(str(self._tokenizer))
            session = onnxruntime.InferenceSession(
                str(self._model), providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # both libraries raise bare Exceptions
            raise InvalidModel(
                f"the neural model in {self._tokenizer.parent} is unusable: {error}"
            ) from error
        tokenizer.no_padding()
        tokenizer.enable_truncation(MAX_TOKENS)
        return tokenizer, session


class NeuralModel:
    """Embeds products by a pretrained encoder. Any number of threads may use it."""

    def __init__(self, encoder: Encoder, dimension: int) -> None:
        self._encoder = encoder
        self._dimension = dimension
        self._artifact = artifact.pack(
            KIND,
            {"recipe": RECIPE, "dimension": dimension},
            {"fingerprint": np.frombuffer(encoder.fingerprint, np.uint8)},
        )

    @property
    def version(self) -> str:
        return artifact.digest(self._artifact)[:12]

    @property
    def dimension(self) -> int:
        return self._dimension

    @property
    def info(self) -> ModelInfo:
        return ModelInfo(
            kind=KIND,
            version=self.version,
            dimension=self._dimension,
            products=0,
            size_bytes=len(self._artifact),
            options=["pretrained"],
        )

    def embed(self, products: Sequence[Product]) -> Matrix:
        """Return one row per product: float32, shape (n, dimension), of unit length or zero."""
        rows = np.zeros((len(products), self._dimension), np.float32)
        texts = [". ".join(filter(None, texts_of(product))) for product in products]
        worded = [place for place, text in enumerate(texts) if text.strip()]
        if worded:
            encoded = self._encoder.encode([texts[place] for place in worded])
            if encoded.shape[1] != self._dimension:
                raise InvalidModel(
                    f"the neural model has {encoded.shape[1]} dimensions, not {self._dimension}",
                    hint=f"set VECTOR_DIMENSION={encoded.shape[1]}",
                )
            rows[worded] = encoded
        return rows

    def explain(self, one: Product, other: Product) -> NoReturn:
        """Raise UsageError: the network has no words that could be summed up."""
        raise UsageError(
            f"a neural model cannot say which words make {one.id!r} and {other.id!r} alike",
            hint="EMBEDDING_MODEL=tfidf can",
        )

    def unknown_words(self, products: Sequence[Product]) -> tuple[float, int]:
        """Return that no word is unknown."""
        return 0.0, sum(len(set(" ".join(texts_of(product)).split())) for product in products)

    def text_digest(self, product: Product) -> str:
        return digest(texts_of(product))

    def to_bytes(self) -> bytes:
        """Return what names the model; the encoder itself stays in its folder."""
        return self._artifact


class NeuralFactory:
    """Opens the encoder of one folder. There is nothing to fit."""

    def __init__(self, folder: str | None, dimension: int = 384) -> None:
        if not folder:
            raise SettingsError(
                "EMBEDDING_MODEL=neural needs EMBEDDING_MODEL_PATH: the folder of the model"
            )
        self._encoder = Encoder(folder)
        self._dimension = dimension

    @property
    def dimension(self) -> int:
        return self._dimension

    def fit(self, products: Iterable[Product]) -> NeuralModel:  # noqa: ARG002 - it is pretrained
        """Return the pretrained model."""
        return NeuralModel(self._encoder, self._dimension)

    def merge(self, artifacts: Sequence[bytes]) -> NeuralModel:
        """Return the model that all of them are. Raises InvalidModel where they are not one."""
        if not artifacts:
            raise InvalidModel("there is no model to merge")
        for raw in artifacts:
            self.load(raw)
        return NeuralModel(self._encoder, self._dimension)

    def load(self, artifact_: bytes) -> NeuralModel:
        """Open the model that the artifact names. Raises InvalidModel if the folder has another."""
        opened = artifact.unpack(artifact_)
        artifact.check_kind(opened, KIND, RECIPE)
        model = NeuralModel(self._encoder, self._dimension)
        if model.to_bytes() != artifact_:
            raise InvalidModel(
                "the folder of EMBEDDING_MODEL_PATH does not hold the embedding model in use",
                hint="set it to the folder of that model, or fit a new one: recsys reembed",
            )
        return model


def _run(session: Any, encodings: list[Encoding]) -> Any:
    """Return the last hidden states: shape (n, tokens, dimension)."""
    inputs = {
        "input_ids": [encoding.ids for encoding in encodings],
        "attention_mask": [encoding.attention_mask for encoding in encodings],
        "token_type_ids": [encoding.type_ids for encoding in encodings],
    }
    wanted = {found.name for found in session.get_inputs()}
    fed = {name: np.array(rows, np.int64) for name, rows in inputs.items() if name in wanted}
    return session.run(None, fed)[0]


def _found(folder: str, *names: str) -> Path:
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise SettingsError(f"EMBEDDING_MODEL_PATH is {folder!r}: no such folder")
    for name in names:
        if (root / name).is_file():
            return root / name
    raise SettingsError(
        f"EMBEDDING_MODEL_PATH: the folder {folder!r} has no {' and no '.join(names)}"
    )
