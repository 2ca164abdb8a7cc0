"""PyTorch: scaled_dot_product_attention, grouped products, plain modules, torch.compile."""
import numpy as np
import torch
import torch.nn.functional as F

import torch_models
from case import CannotDo, Rotation

_TYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16, "f64": torch.float64}


def to_numpy(tensor):
    return tensor.detach().float().numpy()


def heads_first(case, *names, dtype):
    return [torch.from_numpy(case.heads_first(name)).to(dtype) for name in names]


def mask_of(case, dtype):
    """attn_mask and is_causal."""
    if case.is_plain():
        return None, case.causal
    mask = case.mask()
    mask = None if mask is None else torch.from_numpy(np.ascontiguousarray(mask))
    if "bias" in case.tensors:
        bias = torch.from_numpy(case["bias"]).to(dtype)
        mask = bias if mask is None else bias.masked_fill(~mask, float("-inf"))
    return mask, False


def attention(case):
    case.require_dtype(*_TYPES)
    dtype = _TYPES[case.dtype]
    q, k, v = heads_first(case, "q", "k", "v", dtype=dtype)
    mask, causal = mask_of(case, dtype)
    grouped = q.shape[1] != k.shape[1]

    def sdpa():
        def run():
            return F.scaled_dot_product_attention(q, k, v, mask, is_causal=causal,
                                                  enable_gqa=grouped)
        return run, lambda out: {"out": to_numpy(out.transpose(1, 2))}

    def flex():
        from torch.nn.attention.flex_attention import create_block_mask, flex_attention
        if not case.is_plain() or case.dtype != "f32":
            raise CannotDo("only plain or causal problems in f32 are tried")
        compiled = torch.compile(flex_attention)
        block_mask = None
        if causal:
            block_mask = create_block_mask(lambda b, h, i, j: j <= i, None, None, q.shape[2],
                                           k.shape[2], device="cpu")

        def run():
            return compiled(q, k, v, block_mask=block_mask, enable_gqa=grouped)
        return run, lambda out: {"out": to_numpy(out.transpose(1, 2))}

    def with_backward():
        if "bias" in case.tensors:
            raise CannotDo("gradients of a bias are not compared")
        operands = [x.requires_grad_() for x in (q, k, v)]
        d_out, = heads_first(case, "d_out", dtype=dtype)

        def run():
            for x in operands:
                x.grad = None
            out = F.scaled_dot_product_attention(*operands, mask, is_causal=causal,
                                                 enable_gqa=grouped)
            out.backward(d_out)
            return out

        def results(out):
            found = {"out": out, "d_q": q.grad, "d_k": k.grad, "d_v": v.grad}
            return {name: to_numpy(x.transpose(1, 2)) for name, x in found.items()}
        return run, results

    if case.operation == "attention.fwdbwd":
        return {"sdpa": with_backward}
    return {"sdpa": without_gradients(sdpa), "flex compiled": without_gradients(flex)}


def without_gradients(make):
    def made():
        run, results = make()

        def quiet():
            with torch.inference_mode():
                return run()
        return quiet, results
    return made


def decode(case):
    if case.cache not in _TYPES:
        raise CannotDo("cache=" + case.cache)
    dtype = _TYPES[case.cache]
    q, k, v = heads_first(case, "q", "k", "v", dtype=dtype)
    sets = [(k, v)] + [(k.clone(), v.clone()) for _ in range(case.num_caches(k.element_size()) - 1)]
    b, hq, hkv, d = case.size("b", "hq", "hkv", "d")
    results = lambda out: {"out": to_numpy(out.reshape(b, hq, 1, -1).transpose(1, 2))}

    def sdpa():
        def call(k, v):
            return lambda: F.scaled_dot_product_attention(q, k, v, enable_gqa=hq != hkv)
        return Rotation([call(*each) for each in sets]), results

    def grouped():
        rows = q.view(b, hkv, hq // hkv, d)

        def call(k, v):
            def run():
                logits = torch.matmul(rows, k.transpose(-1, -2)) * d**-0.5
                return torch.matmul(torch.softmax(logits, -1), v)
            return run
        return Rotation([call(*each) for each in sets]), results
    return {"sdpa": without_gradients(sdpa), "grouped matmul": without_gradients(grouped)}


def gemm(case):
    case.require_dtype(*_TYPES)
    a, b = (torch.from_numpy(case[name]).to(_TYPES[case.dtype]) for name in "ab")
    c = torch.empty(a.shape[0], b.shape[1], dtype=a.dtype)

    def mm():
        return lambda: torch.mm(a, b, out=c), lambda out: {"c": to_numpy(out)}
    return {"mm": without_gradients(mm)}


def ways(case):
    torch.set_num_threads(case.threads)
    torch.set_num_interop_threads(1)
    makers = {"attention.fwd": attention, "attention.fwdbwd": attention, "decode": decode,
              "gemm": gemm, "layer.gqa.fwd": torch_models.layer, "layer.mha.fwd": torch_models.layer,
              "layer.gqa.train": torch_models.layer, "layer.mha.train": torch_models.layer,
              "lm.train": torch_models.lm_train, "lm.generate": torch_models.lm_generate}
    return torch.__version__.split("+")[0], makers[case.operation](case)
