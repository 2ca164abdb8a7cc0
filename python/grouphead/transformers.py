"""Attention for the models of transformers: `attn_implementation="grouphead"` after `register()`."""

from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from . import torch as grouphead_torch

__all__ = ["register"]


def register(name="grouphead"):
    """Makes the kernels an attention implementation of transformers, for training and generation.

    Then `from_pretrained(..., attn_implementation="grouphead")`, or
    `model.set_attn_implementation("grouphead")`, for every model that uses transformers' attention
    interface: causal attention, sliding windows, padding, softcaps, attention sinks, position
    biases, grouped heads. Tensors that are not in the CPU's memory, or of float16, run on PyTorch's
    own attention. As with `sdpa`, no attention maps are returned.

    Args:
        name: of the implementation.
    """
    AttentionInterface.register(name, _attention)
    AttentionMaskInterface.register(name, sdpa_mask)


def _attention(
    module,
    query,
    key,
    value,
    attention_mask,
    dropout=0.0,
    scaling=None,
    is_causal=None,
    softcap=None,
    s_aux=None,
    position_bias=None,
    **rest,
):
    """([B, T, Hq, Dv], None) from query [B, Hq, T, D], key and value [B, Hkv, S, ...]."""
    if not grouphead_torch.takes(query):
        # It refuses what it has not: softcap and sinks.
        extra = {"softcap": softcap, "s_aux": s_aux, "position_bias": position_bias}
        rest.update((key, x) for key, x in extra.items() if x is not None)
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout, scaling, is_causal, **rest
        )
    options = {"layout": "BHTD", "out_layout": "BTHD"}
    if attention_mask is None:
        # Without a mask a single query sees all keys, and others those up to their own: the keys
        # behind the queries are a static cache's empty places.
        causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
        options["causal"] = bool(causal) and query.shape[2] > 1
    elif attention_mask.is_floating_point():
        position_bias = attention_mask if position_bias is None else position_bias + attention_mask
    else:
        options["mask"] = attention_mask
    if position_bias is not None:
        options["bias"] = position_bias.to(query.dtype)
    if s_aux is not None:
        options["sinks"] = s_aux.to(query.dtype)
    for name, number in (("scale", scaling), ("softcap", softcap), ("dropout_rate", dropout)):
        if number:
            options[name] = number
    return grouphead_torch.attention(query, key, value, **options), None
