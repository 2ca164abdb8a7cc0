"""A Llama of transformers as a graph for ONNX Runtime, as its own exporters build it: one product for
queries, keys and values, GroupQueryAttention with rotation and caches in place."""
import json
import pathlib

import numpy as np
from case import rotation_angles
from onnx_graph import Graph, lengths, value_of
from safetensors.numpy import load_file


class Llama:
    def __init__(self, folder, longest, threads):
        folder = pathlib.Path(folder)
        self.config = json.loads((folder / "config.json").read_text())
        self.weights = load_file(folder / "model.safetensors")
        self.layers = self.config["num_hidden_layers"]
        flexible = {"tokens": (0, 1), "lengths": (0,)}
        flexible |= {name: (0, 2) for name in self.caches(1, 1)}
        operands = {"tokens": np.zeros((1, 1), np.int64), **lengths(1, 1), **self.caches(1, 1)}
        self.graph = Graph(threads, operands, flexible=flexible)
        angles = rotation_angles(longest, self.config["head_dim"])
        for name, values in (("cos", np.cos(angles)), ("sin", np.sin(angles))):
            self.graph.constant(name, values.astype(np.float32))
        self.graph.compile(self.logits())

    def caches(self, batch, positions):
        shape = batch, self.config["num_key_value_heads"], positions, self.config["head_dim"]
        return {f"past_{name}_{i}": np.zeros(shape, np.float32)
                for i in range(self.layers) for name in "kv"}

    def product(self, x, *names):
        kernel = np.concatenate([self.weights[name + ".weight"] for name in names]).T
        return self.graph.node("MatMul", [x, self.graph.constant("+".join(names), kernel)])

    def norm(self, x, name):
        gamma = self.graph.constant(name, self.weights[name + ".weight"])
        return self.graph.node("SimplifiedLayerNormalization", [x, gamma], axis=-1,
                               epsilon=self.config["rms_norm_eps"])

    def block(self, i, x):
        graph, prefix = self.graph, f"model.layers.{i}."
        n = self.norm(x, prefix + "input_layernorm")
        qkv = self.product(n, *(f"{prefix}self_attn.{name}_proj" for name in "qkv"))
        caches = [f"past_k_{i}", f"past_v_{i}"]
        out, *new = graph.node("GroupQueryAttention",
                               [qkv, "", "", *caches, "lengths", "total", "cos", "sin"], 3,
                               num_heads=self.config["num_attention_heads"],
                               kv_num_heads=self.config["num_key_value_heads"], do_rotary=1)
        for name, cache in zip(new, caches):
            graph.share(name, cache)
        x = graph.node("Add", [x, self.product(out, prefix + "self_attn.o_proj")])
        n = self.norm(x, prefix + "post_attention_layernorm")
        gate = graph.node("QuickGelu", [self.product(n, prefix + "mlp.gate_proj")], alpha=1.0)
        inner = graph.node("Mul", [gate, self.product(n, prefix + "mlp.up_proj")])
        return graph.node("Add", [x, self.product(inner, prefix + "mlp.down_proj")])

    def logits(self):
        """Of the last position."""
        graph = self.graph
        table = graph.constant("table", self.weights["model.embed_tokens.weight"])
        x = graph.node("Gather", [table, "tokens"])
        for i in range(self.layers):
            x = self.block(i, x)
        ends = [graph.constant(name, np.array([value]))
                for name, value in (("from", -1), ("to", np.iinfo(np.int64).max), ("axis", 1))]
        return self.product(self.norm(graph.node("Slice", [x, *ends]), "model.norm"), "lm_head")

    def run(self, prompt, following):
        """The logits behind the prompt and the tokens that follow it one by one."""
        batch, length = prompt.shape
        caches = {name: value_of(x)
                  for name, x in self.caches(batch, length + following.shape[1]).items()}
        values = {name: value_of(x)
                  for name, x in ({"tokens": prompt} | lengths(batch, length)).items()}
        logits = self.graph.bind(values | caches)().numpy()
        values["tokens"] = value_of(prompt[:, :1].copy())
        step = self.graph.bind(values | caches)
        for i in range(following.shape[1]):
            logits[:, -1].argmax(-1)  # all libraries choose the likeliest, and take the given ones
            values["tokens"].update_inplace(following[:, i : i + 1].copy())
            for name, numbers in lengths(batch, length + i + 1).items():
                values[name].update_inplace(numbers)
            logits = step().numpy()
        return logits[:, -1]


def ways(folder, inputs, threads):
    given = {name: array.astype(np.int64) for name, array in load_file(inputs).items()}
    longest = max(given["prompt"].shape[1], given["prompt_1"].shape[1] + given["next_1"].shape[1])
    llama = Llama(folder, longest, threads)
    nothing = given["prompt"][:, :0]
    return {"prefill": lambda: llama.run(given["prompt"], nothing),
            "generate-1": lambda: llama.run(given["prompt_1"], given["next_1"]),
            "generate-8": lambda: llama.run(given["prompt_8"], given["next_8"])}
