"""The attention layer and the language model of our problems as graphs for ONNX Runtime."""
import numpy as np

from case import CannotDo, PROJECTIONS, rotation_angles
from onnx_graph import Graph, lengths, no_past, value_of


def dense(graph, case, path, x):
    kernel, bias = case[path + "/kernel"], case[path + "/bias"].ravel()
    product = graph.node("MatMul", [x, graph.constant(path + "/kernel",
                                                      kernel.reshape(-1, bias.size))])
    return graph.node("Add", [product, graph.constant(path + "/bias", bias)])


def norm(graph, case, path, x):
    names = [graph.constant(f"{path}/{part}", case[f"{path}/{part}"]) for part in ("gamma", "beta")]
    return graph.node("LayerNormalization", [x, *names], epsilon=1e-5)


def layer(case):
    case.require_dtype("f32")
    b, s, hq, d = case.size("b", "s", "hq", "d")
    hkv = case.sizes.get("hkv", hq)
    operands = {"x": case["x"]}
    if "value" in case.tensors:
        operands["value"] = case["value"]
    values = list(operands)[-1]

    def make(operands, opset, attend):
        graph = Graph(case.threads, operands, opset)
        q, k, v = (dense(graph, case, name, x)
                   for name, x in zip(PROJECTIONS, ("x", values, values)))
        y = dense(graph, case, PROJECTIONS[-1], attend(graph, [q, k, v]))
        return graph.compile(y).bind(), lambda y: {"y": y.numpy()}

    def group_query():
        if not case.causal or "value" in operands:
            raise CannotDo("causal self-attention only")
        more = no_past(b, hkv, d, s)
        return make(operands | more, 17, lambda graph, qkv: graph.node(
            "GroupQueryAttention", qkv + list(more), 3, num_heads=hq, kv_num_heads=hkv)[0])

    def standard():
        return make(operands, 24, lambda graph, qkv: graph.node(
            "Attention", qkv, q_num_heads=hq, kv_num_heads=hkv, is_causal=int(case.causal)))
    return {"graph with GroupQueryAttention": group_query, "graph with Attention": standard}


def model(graph, case):
    """The name of the logits of the last position."""
    hq, hkv, layers = case.size("hq", "hkv", "l")
    table = graph.constant("embeddings", case["embedding/embeddings"])
    x = graph.node("Gather", [table, "tokens"])
    for i in range(layers):
        prefix = f"gqa_block_{i + 1}/"
        n = norm(graph, case, prefix + "attn_norm", x)
        qkv = [dense(graph, case, prefix + "attn/" + name, n) for name in PROJECTIONS[:3]]
        caches = [f"past_k_{i}", f"past_v_{i}"]
        out, *new = graph.node("GroupQueryAttention",
                               qkv + caches + ["lengths", "total", "cos", "sin"], 3,
                               num_heads=hq, kv_num_heads=hkv, do_rotary=1)
        for name, cache in zip(new, caches):
            graph.share(name, cache)
        x = graph.node("Add", [x, dense(graph, case, prefix + "attn/" + PROJECTIONS[3], out)])
        n = norm(graph, case, prefix + "ffn_norm", x)
        up = graph.node("Gelu", [dense(graph, case, prefix + "ffn_up", n)])
        x = graph.node("Add", [x, dense(graph, case, prefix + "ffn_down", up)])
    last = graph.node("Slice", [x, graph.constant("from", np.array([-1])),
                                graph.constant("to", np.array([np.iinfo(np.int64).max])),
                                graph.constant("axis", np.array([1]))])
    return dense(graph, case, "head", norm(graph, case, "final_norm", last))


def lm_generate(case):
    case.require_dtype("f32")
    prompt = case["prompt"].astype(np.int64)
    b, count, length = case.size("b", "t", "s")
    hidden, hq, hkv, layers = case.size("m", "hq", "hkv", "l")
    d, positions = hidden // hq, length + count
    angles = rotation_angles(positions, d)

    def make():
        operands = {"tokens": prompt, **lengths(b, length)}
        operands |= {f"past_{name}_{i}": np.zeros((b, hkv, positions, d), np.float32)
                     for i in range(layers) for name in "kv"}
        graph = Graph(case.threads, operands, flexible={"tokens": (1,)})
        for name, values in (("cos", np.cos(angles)), ("sin", np.sin(angles))):
            graph.constant(name, values.astype(np.float32))
        graph.compile(model(graph, case))
        fill = graph.bind()
        first = fill().numpy()
        values = {**fill.keep, "tokens": value_of(prompt[:, :1].copy())}
        step = graph.bind(values)

        def run():
            logits = first
            for i in range(count):
                values["tokens"].update_inplace(logits[:, -1].argmax(-1)[:, None])
                for name, numbers in lengths(b, length + i + 1).items():
                    values[name].update_inplace(numbers)
                logits = step().numpy()
            return logits
        return run, lambda logits: {"logits": logits[:, -1]}
    return {"graph with GroupQueryAttention": make}
