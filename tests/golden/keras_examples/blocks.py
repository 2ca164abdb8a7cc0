import keras
from keras import layers as L
from keras import ops

own = keras.saving.register_keras_serializable(package="examples")


class Configured(L.Layer):
    """A layer that keeps its options."""

    options = ()

    def get_config(self):
        return {**super().get_config(), **{name: getattr(self, name) for name in self.options}}


@own
class PositionEmbedding(Configured):
    options = ("length", "width")

    def __init__(self, length, width, **more):
        super().__init__(**more)
        self.length, self.width = length, width
        self.positions = L.Embedding(length, width)

    def call(self, x):
        return x + self.positions(ops.arange(0, x.shape[-2]))


@own
class TransformerBlock(Configured):
    options = ("width", "num_heads", "inner_width")

    def __init__(self, width, num_heads, inner_width, **more):
        super().__init__(**more)
        self.width, self.num_heads, self.inner_width = width, num_heads, inner_width
        self.attention = L.MultiHeadAttention(num_heads, key_dim=width)
        self.dense = keras.Sequential([L.Dense(inner_width, activation="relu"), L.Dense(width)])
        self.norm_1, self.norm_2 = (L.LayerNormalization(epsilon=1e-6) for _ in range(2))

    def call(self, x):
        h = self.norm_1(x + self.attention(x, x))
        return self.norm_2(h + self.dense(h))


@own
class TransformerDecoder(Configured):
    options = ("width", "num_heads", "inner_width")

    def __init__(self, width, num_heads, inner_width, **more):
        super().__init__(**more)
        self.width, self.num_heads, self.inner_width = width, num_heads, inner_width
        self.attention_1 = L.MultiHeadAttention(num_heads, key_dim=width)
        self.attention_2 = L.MultiHeadAttention(num_heads, key_dim=width)
        self.dense = keras.Sequential([L.Dense(inner_width, activation="relu"), L.Dense(width)])
        self.norm_1, self.norm_2, self.norm_3 = (L.LayerNormalization() for _ in range(3))

    def call(self, inputs):
        x, encoded = inputs
        h = self.norm_1(x + self.attention_1(x, x, use_causal_mask=True))
        h = self.norm_2(h + self.attention_2(h, encoded))
        return self.norm_3(h + self.dense(h))
