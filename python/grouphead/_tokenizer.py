"""Tokenizers of Hugging Face's `tokenizers`, with the same ids and texts."""

from __future__ import annotations

import os
from collections.abc import Iterable

from ._core import models as _core


class Tokenizer:
    """A tokenizer.json, or a folder with one or with vocab.txt or vocab.json and merges.txt."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = os.fspath(path)
        self._tokenizer = _core.load_tokenizer(self._path)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Tokenizer:
        """Raises IoError that names the file."""
        return cls(path)

    from_pretrained = from_file

    def encode(
        self, sequence: str, pair: str | None = None, add_special_tokens: bool = True
    ) -> _core.Encoding:
        """An encoding: `ids`, `type_ids`, `attention_mask`, `special_tokens_mask`."""
        if pair is None:
            return self._tokenizer.encode(sequence, add_special_tokens)
        return self._tokenizer.encode_pair(sequence, pair, add_special_tokens)

    def encode_batch(
        self, input: Iterable[str], add_special_tokens: bool = True
    ) -> list[_core.Encoding]:
        """One for each text, on all threads; padded together where the file pads."""
        return self._tokenizer.encode_batch(list(input), add_special_tokens)

    def decode(self, ids: Iterable[int], skip_special_tokens: bool = True) -> str:
        """Text; ids that are not known are left out."""
        return self._tokenizer.decode([int(one) for one in ids], skip_special_tokens)

    def decode_batch(
        self, sequences: Iterable[Iterable[int]], skip_special_tokens: bool = True
    ) -> list[str]:
        return [self.decode(ids, skip_special_tokens) for ids in sequences]

    def decode_stream(self, skip_special_tokens: bool = True) -> _core.StreamDecoder:
        """Text from ids that come one by one: `push(id)` and `finish()` give pieces of it, in which
        no character is split."""
        return _core.StreamDecoder(self._tokenizer, skip_special_tokens)

    def token_to_id(self, token: str) -> int | None:
        """None for a token that is not known."""
        return self._tokenizer.token_to_id(token)

    def id_to_token(self, id: int) -> str | None:
        return self._tokenizer.id_to_token(id)

    def get_vocab_size(self) -> int:
        return self._tokenizer.vocabulary_size()

    def __reduce__(self):
        return type(self), (self._path,)

    def __repr__(self):
        return f"<Tokenizer {self._path}>"
