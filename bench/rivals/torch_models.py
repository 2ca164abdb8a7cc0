"""The attention layer and the language model of our problems as plain PyTorch modules."""
import torch
import torch.nn.functional as F
from torch import nn

from case import CannotDo, PROJECTIONS, rotation_angles


def dense(case, path):
    """nn.Linear with the numbers of a projection whose kernel has the axes in, out."""
    kernel = torch.from_numpy(case[path + "/kernel"])
    bias = torch.from_numpy(case[path + "/bias"]).flatten()
    linear = nn.Linear(kernel.numel() // bias.numel(), bias.numel())
    with torch.no_grad():
        linear.weight.copy_(kernel.reshape(-1, bias.numel()).T)
        linear.bias.copy_(bias)
    return linear


def norm(case, path):
    gamma = torch.from_numpy(case[path + "/gamma"])
    layer = nn.LayerNorm(gamma.numel(), eps=1e-5)
    with torch.no_grad():
        layer.weight.copy_(gamma)
        layer.bias.copy_(torch.from_numpy(case[path + "/beta"]))
    return layer


class Attention(nn.Module):
    def __init__(self, case, prefix, head_dim):
        super().__init__()
        self.query, self.key, self.value, self.output = (
            dense(case, prefix + name) for name in PROJECTIONS)
        self.head_dim = head_dim

    def project(self, x, values):
        split = lambda y: y.view(*y.shape[:2], -1, self.head_dim).transpose(1, 2)
        return (split(linear(v)) for linear, v in
                ((self.query, x), (self.key, values), (self.value, values)))

    def forward(self, x, values, causal):
        q, k, v = self.project(x, values)
        return self.finish(q, k, v, causal)

    def finish(self, q, k, v, causal):
        out = F.scaled_dot_product_attention(q, k, v, is_causal=causal,
                                             enable_gqa=q.shape[1] != k.shape[1])
        return self.output(out.transpose(1, 2).flatten(2))


def layer(case):
    case.require_dtype("f32")
    x = torch.from_numpy(case["x"])
    values = torch.from_numpy(case["value"]) if "value" in case.tensors else x
    operands = {"d_x": x} if values is x else {"d_x": x, "d_value": values}
    module = Attention(case, "", case.sizes["d"])

    def make(call):
        if case.operation.endswith("fwd"):
            def run():
                with torch.inference_mode():
                    return call(x, values, case.causal)
            return run, lambda y: {"y": y.numpy()}
        d_y = torch.from_numpy(case["d_y"])
        for operand in operands.values():
            operand.requires_grad_()

        def run():
            module.zero_grad()
            for operand in operands.values():
                operand.grad = None
            y = call(x, values, case.causal)
            y.backward(d_y)
            return y

        def results(y):
            found = {name: operand.grad.numpy() for name, operand in operands.items()}
            kernel = module.query.weight.grad.T.numpy()
            return {"y": y.detach().numpy(), "d_query/kernel": kernel, **found}
        return run, results
    return {"modules": lambda: make(module), "compiled": lambda: make(torch.compile(module))}


class Block(nn.Module):
    def __init__(self, case, prefix, head_dim):
        super().__init__()
        self.attn_norm, self.ffn_norm = (norm(case, prefix + n) for n in ("attn_norm", "ffn_norm"))
        self.attn = Attention(case, prefix + "attn/", head_dim)
        self.up, self.down = (dense(case, prefix + n) for n in ("ffn_up", "ffn_down"))

    def forward(self, x, cos, sin, cache=None, position=0):
        n = self.attn_norm(x)
        q, k, v = self.attn.project(n, n)
        q, k = (rotate(y, cos, sin) for y in (q, k))
        length = k.shape[2]
        if cache is not None:
            for stored, new in zip(cache, (k, v)):
                stored[:, :, position : position + length] = new
            k, v = (stored[:, :, : position + length] for stored in cache)
        x = x + self.attn.finish(q, k, v, length > 1)
        return x + self.down(F.gelu(self.up(self.ffn_norm(x))))


def rotate(x, cos, sin):
    """Halves of a head turned against each other."""
    first, second = x.chunk(2, -1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), -1)


class Model(nn.Module):
    def __init__(self, case, positions):
        super().__init__()
        hidden, heads, self.kv_heads, layers = case.size("m", "hq", "hkv", "l")
        self.head_dim = hidden // heads
        self.embedding = nn.Embedding.from_pretrained(
            torch.from_numpy(case["embedding/embeddings"]).clone(), freeze=False)
        self.blocks = nn.ModuleList(Block(case, f"gqa_block_{i + 1}/", self.head_dim)
                                    for i in range(layers))
        self.norm, self.head = norm(case, "final_norm"), dense(case, "head")
        angles = torch.from_numpy(rotation_angles(positions, self.head_dim))
        self.register_buffer("cos", angles.cos().float())
        self.register_buffer("sin", angles.sin().float())

    def forward(self, tokens, caches=None, position=0):
        x = self.embedding(tokens)
        here = slice(position, position + tokens.shape[1])
        for i, block in enumerate(self.blocks):
            cache = None if caches is None else caches[i]
            x = block(x, self.cos[here], self.sin[here], cache, position)
        return self.head(self.norm(x if caches is None else x[:, -1:]))


def lm_train(case):
    case.require_dtype("f32")
    tokens, labels = (torch.from_numpy(case[name]).long() for name in ("tokens", "labels"))

    def make(compiled):
        module = Model(case, case.sizes["t"])
        model = torch.compile(module) if compiled else module
        optimizer = torch.optim.AdamW(module.parameters(), lr=1e-3, weight_decay=0.1)

        def run():
            optimizer.zero_grad(set_to_none=True)
            loss = F.cross_entropy(model(tokens).flatten(0, 1), labels.flatten())
            loss.backward()
            nn.utils.clip_grad_norm_(module.parameters(), 1.0)
            optimizer.step()
            return loss
        return run, lambda loss: {"loss": loss.detach().numpy()}
    return {"modules": lambda: make(False), "compiled": lambda: make(True)}


def lm_generate(case):
    case.require_dtype("f32")
    prompt = torch.from_numpy(case["prompt"]).long()
    batch, count, length = case.size("b", "t", "s")
    if length < 2:
        raise CannotDo("a prompt of one token")

    def make():
        model = Model(case, length + count)
        shape = (batch, model.kv_heads, length + count, model.head_dim)
        caches = [(torch.empty(shape), torch.empty(shape)) for _ in model.blocks]
        with torch.inference_mode():
            first = model(prompt, caches, 0)

        def run():
            with torch.inference_mode():
                logits = first
                for i in range(count):
                    logits = model(logits[:, -1].argmax(-1, keepdim=True), caches, length + i)
            return logits
        return run, lambda logits: {"logits": logits[:, -1].numpy()}
    return {"modules": make}
