#!/usr/bin/env python3
"""Twenty training steps of a tiny language model in plain NumPy float64.

Embedding; blocks of LayerNorm, causal grouped-query attention with half-split rotary positions,
residual, LayerNorm, GELU (erf) feed-forward, residual; LayerNorm; projection; mean cross-entropy;
the backward pass by hand; clipping by the joint norm; AdamW and CosineDecay as Keras has them.

    python3 generate.py steps.safetensors    # needs NumPy; checks its gradients by differences first
"""

import json
import math
import struct
import sys

import numpy as np

V, M, F, LAYERS, HQ, HKV, D = 16, 16, 32, 2, 4, 2, 4
B, T, STEPS = 3, 12, 20
EPSILON = 1e-5
ADAMW = {"weight_decay": 0.05, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7, "clipnorm": 1.25}
SCHEDULE = {"initial": 1e-3, "target": 2e-2, "warmup_steps": 5, "decay_steps": 15, "alpha": 0.1}


def initial_weights(rng):
    shapes = {"embedding/embeddings": (V, M)}
    for i in range(1, LAYERS + 1):
        block = f"gqa_block_{i}/"
        for norm in ("attn_norm", "ffn_norm"):
            shapes[block + norm + "/gamma"] = (M,)
            shapes[block + norm + "/beta"] = (M,)
        for name, heads in (("query", HQ), ("key", HKV), ("value", HKV)):
            shapes[f"{block}attn/{name}/kernel"] = (M, heads, D)
            shapes[f"{block}attn/{name}/bias"] = (heads, D)
        shapes[block + "attn/attention_output/kernel"] = (HQ, D, M)
        shapes[block + "attn/attention_output/bias"] = (M,)
        shapes[block + "ffn_up/kernel"] = (M, F)
        shapes[block + "ffn_up/bias"] = (F,)
        shapes[block + "ffn_down/kernel"] = (F, M)
        shapes[block + "ffn_down/bias"] = (M,)
    shapes["final_norm/gamma"] = (M,)
    shapes["final_norm/beta"] = (M,)
    shapes["head/kernel"] = (M, V)
    shapes["head/bias"] = (V,)
    weights = {}
    for name, shape in shapes.items():
        value = rng.standard_normal(shape) * (0.1 if len(shape) == 1 else 0.3)
        if name.endswith("gamma"):
            value += 1
        weights[name] = value.astype(np.float32).astype(np.float64)
    return weights


def layer_norm(x, gamma, beta):
    mean = x.mean(-1, keepdims=True)
    rstd = 1 / np.sqrt(((x - mean) ** 2).mean(-1, keepdims=True) + EPSILON)
    x_hat = (x - mean) * rstd
    return gamma * x_hat + beta, (x_hat, rstd)


def layer_norm_backward(d_y, gamma, kept):
    x_hat, rstd = kept
    rows = tuple(range(d_y.ndim - 1))
    d_hat = d_y * gamma
    mean = d_hat.mean(-1, keepdims=True)
    projection = (d_hat * x_hat).mean(-1, keepdims=True)
    return rstd * (d_hat - mean - x_hat * projection), (d_y * x_hat).sum(rows), d_y.sum(rows)


ERF = np.vectorize(math.erf)


def phi(x):
    return 0.5 * (1 + ERF(x / math.sqrt(2)))


def gelu_backward(x, d_y):
    return d_y * (phi(x) + x * np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi))


def rope(x, sign):
    """Rotates x [B, T, H, D]: component i with i + D/2, by position * 10000^(-2i/D)."""
    half = D // 2
    angle = np.arange(T)[:, None] * 10000.0 ** (-2 * np.arange(half) / D)
    cos, sin = np.cos(angle)[:, None, :], sign * np.sin(angle)[:, None, :]
    a, b = x[..., :half], x[..., half:]
    return np.concatenate([a * cos - b * sin, a * sin + b * cos], -1)


def attention(n, w, prefix):
    q = rope(np.einsum("btm,mhd->bthd", n, w[prefix + "query/kernel"]) + w[prefix + "query/bias"], 1)
    k = rope(np.einsum("btm,mhd->bthd", n, w[prefix + "key/kernel"]) + w[prefix + "key/bias"], 1)
    v = np.einsum("btm,mhd->bthd", n, w[prefix + "value/kernel"]) + w[prefix + "value/bias"]
    group = HQ // HKV
    k_all, v_all = np.repeat(k, group, axis=2), np.repeat(v, group, axis=2)
    logits = np.einsum("bthd,bshd->bhts", q, k_all) / math.sqrt(D)
    logits = np.where(np.tril(np.ones((T, T), bool)), logits, -np.inf)
    p = np.exp(logits - logits.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    context = np.einsum("bhts,bshd->bthd", p, v_all)
    kernel = w[prefix + "attention_output/kernel"]
    y = np.einsum("bthd,hdm->btm", context, kernel) + w[prefix + "attention_output/bias"]
    return y, (n, q, k_all, v_all, p, context)


def attention_backward(d_y, w, prefix, kept, g):
    n, q, k_all, v_all, p, context = kept
    g[prefix + "attention_output/kernel"] = np.einsum("bthd,btm->hdm", context, d_y)
    g[prefix + "attention_output/bias"] = d_y.sum((0, 1))
    d_context = np.einsum("btm,hdm->bthd", d_y, w[prefix + "attention_output/kernel"])
    d_p = np.einsum("bthd,bshd->bhts", d_context, v_all)
    d_logits = p * (d_p - (d_p * p).sum(-1, keepdims=True)) / math.sqrt(D)
    shared = (B, T, HKV, HQ // HKV, D)
    d_heads = {
        "query": rope(np.einsum("bhts,bshd->bthd", d_logits, k_all), -1),
        "key": rope(np.einsum("bhts,bthd->bshd", d_logits, q).reshape(shared).sum(3), -1),
        "value": np.einsum("bhts,bthd->bshd", p, d_context).reshape(shared).sum(3),
    }
    d_n = np.zeros_like(n)
    for name, d in d_heads.items():
        g[f"{prefix}{name}/kernel"] = np.einsum("btm,bthd->mhd", n, d)
        g[f"{prefix}{name}/bias"] = d.sum((0, 1))
        d_n += np.einsum("bthd,mhd->btm", d, w[f"{prefix}{name}/kernel"])
    return d_n


def loss_and_gradients(w, tokens, labels):
    x = w["embedding/embeddings"][tokens]
    kept = []
    for i in range(1, LAYERS + 1):
        block = f"gqa_block_{i}/"
        n, norm1 = layer_norm(x, w[block + "attn_norm/gamma"], w[block + "attn_norm/beta"])
        y, attn = attention(n, w, block + "attn/")
        x = x + y
        n, norm2 = layer_norm(x, w[block + "ffn_norm/gamma"], w[block + "ffn_norm/beta"])
        up = n @ w[block + "ffn_up/kernel"] + w[block + "ffn_up/bias"]
        x = x + (up * phi(up)) @ w[block + "ffn_down/kernel"] + w[block + "ffn_down/bias"]
        kept.append((norm1, attn, n, norm2, up))
    h, norm = layer_norm(x, w["final_norm/gamma"], w["final_norm/beta"])
    logits = h @ w["head/kernel"] + w["head/bias"]
    largest = logits.max(-1, keepdims=True)
    lse = largest + np.log(np.exp(logits - largest).sum(-1, keepdims=True))
    rows = np.arange(B)[:, None], np.arange(T)[None, :]
    loss = (lse[..., 0] - logits[rows + (labels,)]).mean()

    g = {}
    d = np.exp(logits - lse)
    d[rows + (labels,)] -= 1
    d /= B * T
    g["head/kernel"] = np.einsum("btm,btv->mv", h, d)
    g["head/bias"] = d.sum((0, 1))
    d, g["final_norm/gamma"], g["final_norm/beta"] = layer_norm_backward(
        d @ w["head/kernel"].T, w["final_norm/gamma"], norm)
    for i in range(LAYERS, 0, -1):
        block = f"gqa_block_{i}/"
        norm1, attn, n, norm2, up = kept[i - 1]
        g[block + "ffn_down/kernel"] = np.einsum("btf,btm->fm", up * phi(up), d)
        g[block + "ffn_down/bias"] = d.sum((0, 1))
        d_up = gelu_backward(up, d @ w[block + "ffn_down/kernel"].T)
        g[block + "ffn_up/kernel"] = np.einsum("btm,btf->mf", n, d_up)
        g[block + "ffn_up/bias"] = d_up.sum((0, 1))
        d_x, g[block + "ffn_norm/gamma"], g[block + "ffn_norm/beta"] = layer_norm_backward(
            d_up @ w[block + "ffn_up/kernel"].T, w[block + "ffn_norm/gamma"], norm2)
        d = d + d_x
        d_n = attention_backward(d, w, block + "attn/", attn, g)
        d_x, g[block + "attn_norm/gamma"], g[block + "attn_norm/beta"] = layer_norm_backward(
            d_n, w[block + "attn_norm/gamma"], norm1)
        d = d + d_x
    g["embedding/embeddings"] = np.zeros((V, M))
    np.add.at(g["embedding/embeddings"], tokens, d)
    return loss, g


def learning_rate(step):
    """keras.optimizers.schedules.CosineDecay with warm-up."""
    s = SCHEDULE
    if step < s["warmup_steps"]:
        return s["initial"] + (s["target"] - s["initial"]) * step / s["warmup_steps"]
    fraction = min(step - s["warmup_steps"], s["decay_steps"]) / s["decay_steps"]
    cosine = 0.5 * (1 + math.cos(math.pi * fraction))
    return s["target"] * ((1 - s["alpha"]) * cosine + s["alpha"])


def adamw(w, g, m, v, t, lr):
    """keras.optimizers.AdamW with global_clipnorm; t counts from 1. Returns the norm."""
    a = ADAMW
    norm = math.sqrt(sum((value**2).sum() for value in g.values()))
    scale = a["clipnorm"] * min(1 / norm, 1 / a["clipnorm"])
    alpha = lr * math.sqrt(1 - a["beta_2"] ** t) / (1 - a["beta_1"] ** t)
    for name in w:
        gradient = scale * g[name]
        w[name] -= w[name] * a["weight_decay"] * lr
        m[name] += (gradient - m[name]) * (1 - a["beta_1"])
        v[name] += (gradient**2 - v[name]) * (1 - a["beta_2"])
        w[name] -= alpha * m[name] / (np.sqrt(v[name]) + a["epsilon"])
    return norm


def check_gradients(w, tokens, labels):
    _, g = loss_and_gradients(w, tokens, labels)
    rng = np.random.default_rng(7)
    step = 1e-6
    for name, value in w.items():
        direction = rng.standard_normal(value.shape)
        ends = []
        for sign in (1, -1):
            moved = dict(w)
            moved[name] = value + sign * step * direction
            ends.append(loss_and_gradients(moved, tokens, labels)[0])
        numeric = (ends[0] - ends[1]) / (2 * step)
        exact = (g[name] * direction).sum()
        assert abs(numeric - exact) < 1e-7, (name, numeric, exact)


def write_safetensors(path, tensors, metadata):
    names = {np.dtype(np.float64): "F64", np.dtype(np.float32): "F32", np.dtype(np.int32): "I32"}
    header, data = {"__metadata__": metadata}, b""
    for name, value in sorted(tensors.items(), key=lambda item: (-item[1].itemsize, item[0])):
        raw = np.ascontiguousarray(value).tobytes()
        header[name] = {"dtype": names[value.dtype], "shape": list(value.shape),
                        "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


def main():
    rng = np.random.default_rng(20261121)
    w = initial_weights(rng)
    # A text with structure, so that the loss falls: mostly the next token after the last one.
    jumps = rng.integers(0, V, (STEPS, B, T + 1)) * (rng.random((STEPS, B, T + 1)) < 0.3)
    text = ((np.cumsum(1 + jumps, axis=2)) % V).astype(np.int32)
    tokens, labels = text[..., :-1], text[..., 1:]
    check_gradients(w, tokens[0], labels[0])

    out = {"tokens": tokens, "labels": labels}
    out |= {"initial/" + name: value.astype(np.float32) for name, value in w.items()}
    m = {name: np.zeros_like(value) for name, value in w.items()}
    v = {name: np.zeros_like(value) for name, value in w.items()}
    rows = []
    for step in range(STEPS):
        loss, g = loss_and_gradients(w, tokens[step], labels[step])
        lr = learning_rate(step)
        rows.append((loss, adamw(w, g, m, v, step + 1, lr), lr))
    out |= {"final/" + name: value for name, value in w.items()}
    out["steps"] = np.array(rows)  # loss before the step, gradients' norm, learning rate
    write_safetensors(sys.argv[1], out, {"numpy": np.__version__})
    for step, row in enumerate(rows):
        print(step, *row)


main()
