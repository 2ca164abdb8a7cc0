"""Keras's layers on PyTorch."""
import keras_layers


def ways(case):
    version, layer, x, values = keras_layers.make_layer(case, "torch")
    import torch
    torch.set_num_threads(case.threads)
    itself = values is case["x"]
    x = torch.from_numpy(x)
    values = x if itself else torch.from_numpy(values)

    def call(training):
        return layer(x, values, use_causal_mask=case.causal, training=training)

    def forward():
        def run():
            with torch.inference_mode():
                return call(False)
        return run, lambda y: {"y": y.numpy()}

    def train():
        d_y = torch.from_numpy(case["d_y"])
        operands = {"d_x": x} if itself else {"d_x": x, "d_value": values}
        for operand in operands.values():
            operand.requires_grad_()

        def run():
            layer.zero_grad()
            for operand in operands.values():
                operand.grad = None
            y = call(True)
            y.backward(d_y)
            return y
        return run, lambda y: {"y": y.detach().numpy(),
                               **{name: v.grad.numpy() for name, v in operands.items()}}
    return version, {"on PyTorch": train if case.operation.endswith("train") else forward}
