"""JAX: dot_product_attention, matmul, plain layers and models; all compiled by XLA."""
import jax
import jax.numpy as jnp
import numpy as np

import jax_models
from case import CannotDo, Rotation

_TYPES = {"f32": jnp.float32, "bf16": jnp.bfloat16, "f16": jnp.float16}


def to_numpy(x):
    return np.asarray(x.astype(jnp.float32))


def attention(case):
    case.require_dtype("f32", "bf16")
    q, k, v = (jnp.asarray(case[name], _TYPES[case.dtype]) for name in "qkv")
    case.require_options("alibi", "bias")
    options = {"is_causal": case.causal and case.is_plain()}
    if not case.is_plain():
        mask, bias = case.mask(), case.bias()
        options["mask"] = None if mask is None else jnp.asarray(mask)
        options["bias"] = None if bias is None else jnp.asarray(bias)

    def attend(q, k, v):
        return jax.nn.dot_product_attention(q, k, v, **options)

    def forward():
        call = jax.jit(attend)
        return (lambda: call(q, k, v).block_until_ready(), lambda out: {"out": to_numpy(out)})

    def with_backward():
        if "bias" in case.tensors:
            raise CannotDo("gradients of a bias are not compared")
        d_out = jnp.asarray(case["d_out"], q.dtype)

        @jax.jit
        def call(q, k, v, d_out):
            out, pull = jax.vjp(attend, q, k, v)
            return out, *pull(d_out)

        def results(found):
            return {name: to_numpy(x) for name, x in zip(("out", "d_q", "d_k", "d_v"), found)}
        return lambda: jax.block_until_ready(call(q, k, v, d_out)), results
    if case.operation == "attention.fwdbwd":
        return {"dot_product_attention": with_backward}
    return {"dot_product_attention": forward}


def decode(case):
    if case.cache not in _TYPES:
        raise CannotDo("cache=" + case.cache)
    q, k, v = (jnp.asarray(case[name], _TYPES[case.cache]) for name in "qkv")

    def make():
        call = jax.jit(jax.nn.dot_product_attention)
        sets = [(k, v)] + [(k.copy(), v.copy())
                           for _ in range(case.num_caches(k.dtype.itemsize) - 1)]
        one = lambda k, v: lambda: call(q, k, v).block_until_ready()
        return Rotation([one(*each) for each in sets]), lambda out: {"out": to_numpy(out)}
    return {"dot_product_attention": make}


def gemm(case):
    case.require_dtype("f32", "bf16")
    a, b = (jnp.asarray(case[name], _TYPES[case.dtype]) for name in "ab")

    def make():
        call = jax.jit(jnp.matmul)
        return lambda: call(a, b).block_until_ready(), lambda c: {"c": to_numpy(c)}
    return {"matmul": make}


def ways(case):
    makers = {"attention.fwd": attention, "attention.fwdbwd": attention, "decode": decode,
              "gemm": gemm, "layer.gqa.fwd": jax_models.layer, "layer.mha.fwd": jax_models.layer,
              "layer.gqa.train": jax_models.layer, "layer.mha.train": jax_models.layer,
              "lm.train": jax_models.lm_train, "lm.generate": jax_models.lm_generate}
    return jax.__version__, makers[case.operation](case)
