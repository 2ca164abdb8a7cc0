"""Models in folders that transformers writes."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from . import _arrays, _described, _seeds
from ._core import models as _core
from ._generation import beam_search, generate


class PretrainedModel:
    """A model of the Hugging Face Hub: `load_pretrained(folder)`."""

    def __init__(self, pretrained):
        self._pretrained = pretrained

    @classmethod
    def from_pretrained(
        cls, folder: str | os.PathLike[str], dtype: str = "float32"
    ) -> PretrainedModel:
        """The model of a folder that transformers' save_pretrained() wrote.

        Raises IoError that names the file, for a family or setting that is not supported too.
        """
        return cls(_core.load_pretrained(os.fspath(folder), dtype))

    @classmethod
    def from_config(cls, config: dict[str, Any], seed: int | None = None) -> PretrainedModel:
        """A new model of a config.json's contents, with weights from `seed`."""
        seed = _seeds.next_seed() if seed is None else seed
        return cls(_core.make_pretrained(_described.plain(config), seed))

    @property
    def model_type(self) -> str:
        """`llama`, `bert`, ..."""
        return self._pretrained.family

    @property
    def config(self) -> dict[str, Any]:
        """What config.json holds."""
        return self._pretrained.config

    @property
    def unused(self) -> list[str]:
        """Tensors of the files that the model does not have."""
        return self._pretrained.unused

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of the weights by the names that the family has."""
        return self._pretrained.tensors()

    def num_parameters(self) -> int:
        return sum(array.size for array in self.state_dict().values())

    def __call__(self, input_ids, attention_mask=None, token_type_ids=None) -> np.ndarray:
        """Logits [B, T, V] of a decoder, the last hidden state [B, T, M] of an encoder.

        `input_ids` [B, T] or [T]; `attention_mask` of the same shape: which tokens are real.
        """
        return self._pretrained.run(*self._inputs(input_ids, attention_mask, token_type_ids))

    def attention_scores(
        self, input_ids, attention_mask=None, token_type_ids=None
    ) -> list[np.ndarray]:
        """What each layer's heads attend to: an array [B, H, T, T] for each layer."""
        inputs = self._inputs(input_ids, attention_mask, token_type_ids)
        return self._pretrained.attention_scores(*inputs)

    @staticmethod
    def _inputs(input_ids, attention_mask, token_type_ids):
        tokens = np.atleast_2d(np.asarray(_arrays.array(input_ids)))
        if tokens.dtype.kind not in "iu":
            raise TypeError(f"input_ids: expected integers, got {tokens.dtype}")
        mask = None if attention_mask is None else np.atleast_2d(np.asarray(attention_mask)) != 0
        types = None if token_type_ids is None else np.atleast_2d(np.asarray(token_type_ids))
        return (
            tokens.astype(np.int32),
            mask,
            None if types is None else types.astype(np.int32),
        )

    def generate(
        self,
        input_ids,
        attention_mask=None,
        *,
        max_new_tokens=20,
        do_sample=False,
        num_beams=1,
        temperature=1.0,
        top_k=50,
        top_p=1.0,
        min_p=0.0,
        repetition_penalty=1.0,
        length_penalty=1.0,
        early_stopping=False,
        eos_token_id=None,
        pad_token_id=None,
        logits_processor=(),
        assistant_model=None,
        streamer=None,
        seed: int | None = None,
    ) -> np.ndarray:
        """Continues each row of `input_ids` [B, T]; returns prompts and texts [B, T + new], filled
        up with `pad_token_id`. Names and defaults are transformers'; where `eos_token_id` is not
        given it is config.json's. A streamer has put() and end(), as TextStreamer.
        """
        tokens, mask, _ = self._inputs(input_ids, attention_mask, None)
        ends = self.config.get("eos_token_id") if eos_token_id is None else eos_token_id
        ends = [] if ends is None else list(ends) if isinstance(ends, (list, tuple)) else [ends]
        if streamer is not None and len(tokens) > 1:
            raise ValueError("generate: a streamer takes one text at a time")
        if streamer is not None:
            streamer.put(tokens)
        rows = []
        for row, real in zip(tokens, np.ones_like(tokens, bool) if mask is None else mask):
            prompt = row[real]
            if num_beams > 1:
                if do_sample:
                    raise ValueError("generate: beams are searched without do_sample")
                beams = beam_search(
                    self,
                    prompt,
                    max_new_tokens=max_new_tokens,
                    num_beams=num_beams,
                    length_penalty=length_penalty,
                    early_stopping=early_stopping,
                    stop_tokens=ends,
                    logits_processors=logits_processor,
                )
                rows.append(beams[0][0])
                continue
            rows.append(
                generate(
                    self,
                    prompt,
                    max_new_tokens=max_new_tokens,
                    temperature=temperature if do_sample else 0.0,
                    top_k=top_k if do_sample else 0,
                    top_p=top_p if do_sample else 1.0,
                    min_p=(min_p or 0.0) if do_sample else 0.0,
                    repetition_penalty=repetition_penalty,
                    stop_tokens=ends,
                    logits_processors=logits_processor,
                    draft=assistant_model,
                    seed=seed,
                    on_token=None if streamer is None else _putting(streamer),
                )
            )
        if streamer is not None:
            streamer.end()
        pad = pad_token_id if pad_token_id is not None else ends[0] if ends else 0
        longest = max(map(len, rows))
        added = [list(row) + [pad] * (longest - len(row)) for row in rows]
        return np.concatenate([tokens, np.array(added, np.int32).reshape(len(rows), -1)], axis=1)

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Writes config.json and model.safetensors, for transformers too."""
        self._pretrained.save(os.fspath(folder))

    def __repr__(self):
        return f"<PretrainedModel {self.model_type}>"


def _putting(streamer):
    def put(token):
        streamer.put(np.array([token]))

    return put


def load_pretrained(
    folder: str | os.PathLike[str], dtype: str = "float32"
) -> PretrainedModel:
    """`PretrainedModel.from_pretrained(folder)`."""
    return PretrainedModel.from_pretrained(folder, dtype)


def save_pretrained(model: PretrainedModel, folder: str | os.PathLike[str]) -> None:
    """`model.save_pretrained(folder)`."""
    model.save_pretrained(folder)
