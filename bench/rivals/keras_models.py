"""Models as Keras's users build them, and the same as plain PyTorch modules, for bench/rivals/keras.

Keras must run on PyTorch: KERAS_BACKEND=torch.
"""
import keras
import numpy as np
import torch
import torch.nn.functional as F
from keras import layers
from torch import nn

WORDS, TOKENS, WIDTH, HEADS, BLOCKS = 30522, 12, 384, 12, 6  # MiniLM's, for a short sentence
BATCHES = {"encoder": (1, 8), "lstm": (1, 32), "conv1d": (1, 32)}


def encoder():
    tokens = keras.Input((TOKENS,), dtype="int32")
    x = layers.Embedding(WORDS, WIDTH)(tokens)
    for _ in range(BLOCKS):
        attended = layers.MultiHeadAttention(HEADS, WIDTH // HEADS)(x, x)
        x = layers.LayerNormalization()(layers.Add()([x, attended]))
        inner = layers.Dense(4 * WIDTH, activation="gelu")(x)
        x = layers.LayerNormalization()(layers.Add()([x, layers.Dense(WIDTH)(inner)]))
    return keras.Model(tokens, layers.GlobalAveragePooling1D()(x))


def lstm():
    series = keras.Input((100, 64))
    x = layers.LSTM(128, return_sequences=True)(series)
    return keras.Model(series, layers.Dense(10)(layers.LSTM(128)(x)))


def conv1d():
    series = keras.Input((256, 32))
    x = layers.Conv1D(64, 5, padding="same", activation="relu")(series)
    x = layers.Conv1D(128, 3, activation="relu")(layers.MaxPooling1D(2)(x))
    return keras.Model(series, layers.Dense(10)(layers.GlobalAveragePooling1D()(x)))


BUILDERS = {"encoder": encoder, "lstm": lstm, "conv1d": conv1d}


def make(name, file, inputs):
    """Writes the model, with random weights, and a batch of inputs of each size."""
    from safetensors.numpy import save_file
    keras.utils.set_random_seed(1)
    model = BUILDERS[name]()
    model.save(file)
    draw = np.random.default_rng(1)
    shape = model.inputs[0].shape[1:]
    batch = (lambda b: draw.integers(0, WORDS, (b, *shape), dtype=np.int32)) if name == "encoder" \
        else lambda b: draw.standard_normal((b, *shape), dtype=np.float32)
    save_file({f"{name}-{b}": batch(b) for b in BATCHES[name]}, inputs)


def numbers(layer):
    """A layer's weights, in Keras's order."""
    return [torch.tensor(weight) for weight in layer.get_weights()]


def filled(module, **values):
    with torch.no_grad():
        for name, value in values.items():
            getattr(module, name).copy_(value)
    return module


def linear(kernel, bias):
    return filled(nn.Linear(*kernel.shape), weight=kernel.T, bias=bias)


def norm(layer):
    gamma, beta = numbers(layer)
    return filled(nn.LayerNorm(len(gamma), eps=layer.epsilon), weight=gamma, bias=beta)


class Block(nn.Module):
    def __init__(self, attention, first_norm, inner, outer, second_norm):
        super().__init__()
        q, bq, k, bk, v, bv, o, bo = numbers(attention)
        flat = lambda kernel: kernel.reshape(WIDTH, WIDTH)
        self.qkv = linear(torch.cat([flat(q), flat(k), flat(v)], 1),
                          torch.cat([bq.flatten(), bk.flatten(), bv.flatten()]))
        self.output = linear(flat(o), bo)
        self.first_norm, self.second_norm = norm(first_norm), norm(second_norm)
        self.inner, self.outer = linear(*numbers(inner)), linear(*numbers(outer))

    def forward(self, x):
        q, k, v = self.qkv(x).unflatten(2, (3, HEADS, -1)).permute(2, 0, 3, 1, 4).unbind()
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = self.first_norm(x + self.output(attended))
        return self.second_norm(x + self.outer(F.gelu(self.inner(x))))


class Encoder(nn.Module):
    def __init__(self, model):
        super().__init__()
        of = lambda kind: [layer for layer in model.layers if isinstance(layer, kind)]
        norms, dense = of(layers.LayerNormalization), of(layers.Dense)
        self.embedding = nn.Embedding.from_pretrained(*numbers(model.layers[1]))
        self.blocks = nn.Sequential(*map(Block, of(layers.MultiHeadAttention), norms[::2],
                                         dense[::2], dense[1::2], norms[1::2]))

    def forward(self, tokens):
        return self.blocks(self.embedding(tokens)).mean(1)


class Lstm(nn.Module):
    def __init__(self, model):
        super().__init__()
        first, second, dense = (numbers(layer) for layer in model.layers[1:])
        self.first, self.second = self.recurrent(*first), self.recurrent(*second)
        self.dense = linear(*dense)

    @staticmethod
    def recurrent(kernel, recurrent_kernel, bias):
        made = nn.LSTM(kernel.shape[0], recurrent_kernel.shape[0], batch_first=True)
        return filled(made, weight_ih_l0=kernel.T, weight_hh_l0=recurrent_kernel.T, bias_ih_l0=bias,
                      bias_hh_l0=torch.zeros_like(bias))

    def forward(self, x):
        return self.dense(self.second(self.first(x)[0])[0][:, -1])


class Convolutions(nn.Module):
    def __init__(self, model):
        super().__init__()
        first, _, second, _, dense = (numbers(layer) for layer in model.layers[1:])
        self.first, self.second = self.convolution(*first, padding=2), self.convolution(*second)
        self.dense = linear(*dense)

    @staticmethod
    def convolution(kernel, bias, **settings):
        size, channels, filters = kernel.shape
        return filled(nn.Conv1d(channels, filters, size, **settings), weight=kernel.permute(2, 1, 0),
                      bias=bias)

    def forward(self, x):
        y = F.max_pool1d(F.relu(self.first(x.transpose(1, 2))), 2)
        return self.dense(F.relu(self.second(y)).mean(2))


MODULES = {"encoder": Encoder, "lstm": Lstm, "conv1d": Convolutions}


def module(name, file):
    """The model of a file as a PyTorch module."""
    return MODULES[name](keras.saving.load_model(file)).eval()
