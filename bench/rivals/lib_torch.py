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
    if case.bias() is not None:
        bias = torch.from_numpy(case.bias()).to(dtype)
        mask = bias if mask is None else bias.masked_fill(~mask, float("-inf"))
    return mask, False


def score_mod(case):
    """What flex_attention does to a logit; None: nothing."""
    cap = case.softcap
    slopes = torch.from_numpy(case["slopes"]) if "slopes" in case.tensors else None
    if not cap and slopes is None:
        return None

    def bend(score, b, h, i, j):
        if cap:
            score = cap * torch.tanh(score / cap)
        return score if slopes is None else score - slopes[h] * (i - j).abs()
    return bend


def mask_mod(case):
    """What flex_attention sees; None: all."""
    causal, window = case.causal, case.window
    packed = torch.from_numpy(case["segments"]) if "segments" in case.tensors else None
    lengths = torch.from_numpy(case["lengths"]) if "lengths" in case.tensors else None
    if not causal and not window and packed is None and lengths is None:
        return None
    if packed is not None:
        document = torch.bucketize(torch.arange(case.sizes["t"]), packed[1:], right=True)

    def seen(b, h, i, j):
        found = j >= 0
        if causal:
            found = found & (j <= i)
        if window:
            found = found & ((i - j).abs() < window)
        if packed is not None:
            found = found & (document[i] == document[j])
        if lengths is not None:
            found = found & (j < lengths[b])
        return found
    return seen


def flex_call(case, q, k, grouped):
    """flex_attention of q, k, v, compiled."""
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention
    if {"offset", "mask", "bias", "sinks"} & case.options.keys():
        raise CannotDo("what is no function of a logit and its place, and sinks")
    seen, bend = mask_mod(case), score_mod(case)
    block_mask = None
    if seen is not None:
        block_mask = create_block_mask(seen, q.shape[0] if "lengths" in case.tensors else None,
                                       None, q.shape[2], k.shape[2], device="cpu")
    compiled = torch.compile(flex_attention)
    return lambda q, k, v: compiled(q, k, v, score_mod=bend, block_mask=block_mask,
                                    enable_gqa=grouped)


def sdpa_call(case, dtype, grouped):
    """scaled_dot_product_attention of q, k, v. A sink is a key of zeros with a bias."""
    case.require_options("alibi", "bias", "sinks")
    mask, causal = mask_of(case, dtype)
    if "sinks" not in case.tensors:
        return lambda q, k, v: F.scaled_dot_product_attention(q, k, v, mask, is_causal=causal,
                                                              enable_gqa=grouped)
    hq, t, s = case.size("hq", "t", "s")
    seen = case.mask()
    wide = torch.zeros(1, hq, t, s + 1, dtype=dtype)
    if case.bias() is not None:
        wide[..., :s] = torch.from_numpy(case.bias())
    if seen is not None:
        wide[..., :s].masked_fill_(~torch.from_numpy(np.ascontiguousarray(seen)), float("-inf"))
    wide[..., s] = torch.from_numpy(case["sinks"])[None, :, None]
    longer = lambda x: F.pad(x, (0, 0, 0, 1))
    return lambda q, k, v: F.scaled_dot_product_attention(q, longer(k), longer(v), wide,
                                                          enable_gqa=grouped)


def padded_call(case, grouped):
    """Packed sequences of one length as a batch."""
    if case.options.keys() - {"causal", "packed"} or "packed" not in case.options:
        raise CannotDo("packed sequences only")
    count = int(case.options["packed"])

    def apart(x):
        b, h, t, d = x.shape
        return x.view(h, count, t // count, d).transpose(0, 1)

    def call(q, k, v):
        out = F.scaled_dot_product_attention(apart(q), apart(k), apart(v), is_causal=case.causal,
                                             enable_gqa=grouped)
        return out.transpose(0, 1).reshape(1, q.shape[1], q.shape[2], -1)
    return call


def attention(case):
    case.require_dtype(*_TYPES)
    dtype = _TYPES[case.dtype]
    q, k, v = heads_first(case, "q", "k", "v", dtype=dtype)
    grouped = q.shape[1] != k.shape[1]
    makers = {"sdpa": lambda: sdpa_call(case, dtype, grouped),
              "sdpa padded": lambda: padded_call(case, grouped),
              "flex compiled": lambda: flex_call(case, q, k, grouped)}

    def forward(make):
        def made():
            call = make()
            return (lambda: call(q, k, v)), lambda out: {"out": to_numpy(out.transpose(1, 2))}
        return without_gradients(made)

    def with_backward(make):
        def made():
            if "bias" in case.tensors or "sinks" in case.tensors:
                raise CannotDo("gradients of a bias and of sinks are not compared")
            call = make()
            operands = [x.requires_grad_() for x in (q, k, v)]
            d_out, = heads_first(case, "d_out", dtype=dtype)

            def run():
                for x in operands:
                    x.grad = None
                out = call(*operands)
                out.backward(d_out)
                return out

            def results(out):
                found = {"out": out, "d_q": q.grad, "d_k": k.grad, "d_v": v.grad}
                return {name: to_numpy(x.transpose(1, 2)) for name, x in found.items()}
            return run, results
        return made

    way = with_backward if case.operation == "attention.fwdbwd" else forward
    return {name: way(make) for name, make in makers.items()}


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
