"""Keras's layers on JAX, compiled by XLA."""
import keras_layers


def ways(case):
    version, layer, x, values = keras_layers.make_layer(case, "jax")
    import jax
    import jax.numpy as jnp
    import numpy as np
    itself = values is case["x"]
    variables = [v.value for v in layer.trainable_variables]
    kernel = [v.path for v in layer.trainable_variables].index(
        next(v.path for v in layer.trainable_variables if v.path.endswith("query/kernel")))
    x = jnp.asarray(x)
    values = x if itself else jnp.asarray(values)

    def call(variables, x, values, training):
        return layer.stateless_call(variables, [], x, x if itself else values,
                                    use_causal_mask=case.causal, training=training)[0]

    def forward():
        run = jax.jit(lambda w, x, v: call(w, x, v, False))
        return (lambda: run(variables, x, values).block_until_ready(),
                lambda y: {"y": np.asarray(y)})

    def train():
        d_y = jnp.asarray(case["d_y"])

        @jax.jit
        def run(variables, x, values):
            y, pull = jax.vjp(lambda w, x, v: call(w, x, v, True), variables, x, values)
            return y, *pull(d_y)

        def results(found):
            y, d_variables, d_x, d_values = found
            named = {"y": y, "d_x": d_x, "d_query/kernel": d_variables[kernel]}
            if not itself:
                named["d_value"] = d_values
            return {name: np.asarray(value) for name, value in named.items()}
        return lambda: jax.block_until_ready(run(variables, x, values)), results
    return version, {"on JAX": train if case.operation.endswith("train") else forward}
