"""The attention layer and the language model of our problems in plain JAX, compiled by XLA."""
import jax
import jax.numpy as jnp
import numpy as np

from case import CannotDo, PROJECTIONS, rotation_angles

_NORM_EPSILON = 1e-5
_RATE, _DECAY, _BETAS, _ADAM_EPSILON = 1e-3, 0.1, (0.9, 0.999), 1e-8


def dense(weights, path, x):
    """A projection whose kernel has the axes in, out, or either of them as heads and width."""
    kernel, bias = weights[path + "/kernel"], weights[path + "/bias"].ravel()
    return x @ kernel.reshape(x.shape[-1], bias.size) + bias


def norm(weights, path, x):
    centered = x - x.mean(-1, keepdims=True)
    scale = jax.lax.rsqrt(jnp.square(centered).mean(-1, keepdims=True) + _NORM_EPSILON)
    return centered * scale * weights[path + "/gamma"] + weights[path + "/beta"]


def project(weights, prefix, head_dim, x, values):
    split = lambda y: y.reshape(*y.shape[:2], -1, head_dim)
    return [split(dense(weights, prefix + name, operand))
            for name, operand in zip(PROJECTIONS, (x, values, values))]


def finish(weights, prefix, q, k, v, **options):
    out = jax.nn.dot_product_attention(q, k, v, **options)
    return dense(weights, prefix + PROJECTIONS[-1], out.reshape(*out.shape[:2], -1))


def layer(case):
    case.require_dtype("f32")
    weights = {f"{name}/{part}": jnp.asarray(case[f"{name}/{part}"])
               for name in PROJECTIONS for part in ("kernel", "bias")}
    operands = {"d_x": jnp.asarray(case["x"])}
    if "value" in case.tensors:
        operands["d_value"] = jnp.asarray(case["value"])

    def call(weights, operands):
        x = operands["d_x"]
        q, k, v = project(weights, "", case.sizes["d"], x, operands.get("d_value", x))
        return finish(weights, "", q, k, v, is_causal=case.causal)

    def forward():
        run = jax.jit(call)
        return (lambda: run(weights, operands).block_until_ready(),
                lambda y: {"y": np.asarray(y)})

    def train():
        d_y = jnp.asarray(case["d_y"])

        @jax.jit
        def run(weights, operands):
            y, pull = jax.vjp(call, weights, operands)
            return y, *pull(d_y)

        def results(found):
            y, d_weights, d_operands = found
            kernel = d_weights["query/kernel"].reshape(y.shape[-1], -1)
            named = {"y": y, "d_query/kernel": kernel, **d_operands}
            return {name: np.asarray(value) for name, value in named.items()}
        return lambda: jax.block_until_ready(run(weights, operands)), results
    return {"plain layer": train if case.operation.endswith("train") else forward}


class Model:
    def __init__(self, case, positions):
        hidden, heads, self.kv_heads, self.layers = case.size("m", "hq", "hkv", "l")
        self.head_dim = hidden // heads
        angles = rotation_angles(positions, self.head_dim)
        self.cos, self.sin = (jnp.asarray(f(angles)[:, None], jnp.float32)
                              for f in (np.cos, np.sin))
        self.weights = {name: jnp.asarray(x) for name, x in case.tensors.items()
                        if "/" in name}

    def rotate(self, x, position):
        """Halves of a head turned against each other."""
        cos, sin = (jax.lax.dynamic_slice_in_dim(table, position, x.shape[1])
                    for table in (self.cos, self.sin))
        first, second = jnp.split(x, 2, -1)
        return jnp.concatenate((first * cos - second * sin, second * cos + first * sin), -1)

    def block(self, weights, prefix, x, cache, position):
        n = norm(weights, prefix + "attn_norm", x)
        q, k, v = project(weights, prefix + "attn/", self.head_dim, n, n)
        q, k = (self.rotate(y, position) for y in (q, k))
        options = {"is_causal": True}
        if cache is not None:
            cache = k, v = [jax.lax.dynamic_update_slice_in_dim(stored, new, position, 1)
                            for stored, new in zip(cache, (k, v))]
            seen = jnp.arange(k.shape[1]) <= position + jnp.arange(x.shape[1])[:, None]
            options = {"mask": seen[None, None]}
        x = x + finish(weights, prefix + "attn/", q, k, v, **options)
        up = dense(weights, prefix + "ffn_up", norm(weights, prefix + "ffn_norm", x))
        return x + dense(weights, prefix + "ffn_down", jax.nn.gelu(up, approximate=False)), cache

    def __call__(self, weights, tokens, caches=None, position=0):
        """Logits, with caches those of the last position alone, and the caches."""
        x, new = weights["embedding/embeddings"][tokens], []
        for i in range(self.layers):
            cache = None if caches is None else caches[i]
            x, cache = self.block(weights, f"gqa_block_{i + 1}/", x, cache, position)
            new.append(cache)
        x = norm(weights, "final_norm", x if caches is None else x[:, -1:])
        return dense(weights, "head", x), new


def adamw(weights, gradients, moments, step):
    """After clipping the gradients' norm to 1."""
    squares = sum(jnp.sum(jnp.square(g)) for g in gradients.values())
    clip = jnp.minimum(1.0, jax.lax.rsqrt(squares))
    bias = [1 - beta ** step for beta in _BETAS]

    def one(w, g, m, v):
        g = g * clip
        m = _BETAS[0] * m + (1 - _BETAS[0]) * g
        v = _BETAS[1] * v + (1 - _BETAS[1]) * g * g
        change = m / bias[0] / (jnp.sqrt(v / bias[1]) + _ADAM_EPSILON)
        return w - _RATE * (change + _DECAY * w), (m, v)
    changed = {name: one(w, gradients[name], *moments[name]) for name, w in weights.items()}
    return ({name: w for name, (w, _) in changed.items()},
            {name: m for name, (_, m) in changed.items()})


def lm_train(case):
    case.require_dtype("f32")
    tokens, labels = (jnp.asarray(case[name], jnp.int32) for name in ("tokens", "labels"))
    model = Model(case, case.sizes["t"])

    def loss_of(weights):
        logs = jax.nn.log_softmax(model(weights, tokens)[0])
        return -jnp.take_along_axis(logs, labels[..., None], -1).mean()

    def make():
        @jax.jit
        def train(weights, moments, step):
            loss, gradients = jax.value_and_grad(loss_of)(weights)
            return loss, *adamw(weights, gradients, moments, step)
        moments = {name: (jnp.zeros_like(w), jnp.zeros_like(w))
                   for name, w in model.weights.items()}
        state = [model.weights, moments, 1.0]

        def run():
            loss, *state[:2] = jax.block_until_ready(train(*state))
            state[2] += 1.0
            return loss
        return run, lambda loss: {"loss": np.asarray(loss)}
    return {"plain model": make}


def lm_generate(case):
    """The whole loop over the tokens compiled, or a step at a time."""
    case.require_dtype("f32")
    prompt = jnp.asarray(case["prompt"], jnp.int32)
    batch, count, length = case.size("b", "t", "s")
    if length < 2:
        raise CannotDo("a prompt of one token")
    model = Model(case, length + count)
    shape = batch, length + count, model.kv_heads, model.head_dim
    empty = [(jnp.zeros(shape), jnp.zeros(shape)) for _ in range(model.layers)]
    first, filled = jax.jit(model)(model.weights, prompt, empty)

    def step(weights, logits, caches, position):
        return model(weights, logits[:, -1].argmax(-1)[:, None], caches, position)
    results = lambda logits: {"logits": np.asarray(logits)[:, -1]}

    def loop():
        @jax.jit
        def generate(weights, logits, caches):
            body = lambda i, state: step(weights, *state, length + i)
            return jax.lax.fori_loop(0, count, body, (logits, caches))[0]
        return lambda: generate(model.weights, first, filled).block_until_ready(), results

    def steps():
        one = jax.jit(step)

        def run():
            logits, caches = first, filled
            for i in range(count):
                logits, caches = one(model.weights, logits, caches, length + i)
            return logits.block_until_ready()
        return run, results
    return {"loop": loop, "steps": steps}
