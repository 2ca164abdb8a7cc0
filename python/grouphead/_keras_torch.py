"""Attention for Keras's layers under its PyTorch backend."""

import torch
from torch.autograd.function import once_differentiable

from . import _core
from .torch import attention



def is_here(x):
    """Whether the kernels can read it."""
    return x.device.type == "cpu"


def _options(arrays, settings):
    options = {**arrays, **settings}
    if "draw" in arrays:  # two words of 32 bits, as one integer of 63
        first, second = (int(word) & 0xFFFFFFFF for word in arrays["draw"].tolist())
        options["draw"] = (first & 0x7FFFFFFF) << 32 | second
    return options


class _AttentionWithScores(torch.autograd.Function):
    """(out, scores) with gradients of both."""

    @staticmethod
    def forward(ctx, q, k, v, options):
        out, statistics = _core.attention(q, k, v, return_statistics=True, **options)
        ctx.save_for_backward(q, k, v, out, statistics)
        ctx.options = options
        return out, _core.attention_scores(q, k, statistics, **options)

    @staticmethod
    @once_differentiable
    def backward(ctx, d_out, d_scores):
        q, k, v, out, statistics = ctx.saved_tensors
        gradients = _core.attention_backward(
            q,
            k,
            v,
            d_out.to(q.dtype).contiguous(),
            out=out,
            statistics=statistics,
            d_scores=d_scores.to(statistics.dtype).contiguous(),
            needs=["q", "k", "v"],
            **ctx.options,
        )
        return (*gradients[:3], None)


def attend(q, k, v, arrays, settings):
    return attention(q, k, v, **_options(arrays, settings))


def attend_with_scores(q, k, v, arrays, settings):
    return _AttentionWithScores.apply(q, k, v, _options(arrays, settings))
