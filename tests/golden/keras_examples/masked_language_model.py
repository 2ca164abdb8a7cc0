import keras
import numpy as np
from keras import layers as L

from blocks import PositionEmbedding, TransformerBlock

# Texts that count up from some word, in which [MASK], word 1, hides two of ten words.
rng = np.random.default_rng(1)
y = (2 + (rng.integers(0, 12, (32, 1)) + np.arange(10)) % 12).astype("int32")
hidden = np.argsort(rng.uniform(size=(32, 10)), axis=1) < 2
x = np.where(hidden, 1, y).astype("int32")
sample_weight = hidden.astype("float32")

tokens = keras.Input((10,), dtype="int32", name="tokens")
h = PositionEmbedding(10, 8)(L.Embedding(14, 8)(tokens))
h = TransformerBlock(8, num_heads=2, inner_width=16)(h)
model = keras.Model(tokens, L.Dense(14, activation="softmax")(h))
model.compile(keras.optimizers.Adam(2e-2), "sparse_categorical_crossentropy",
              weighted_metrics=["accuracy"])
model.fit(x, y, sample_weight=sample_weight, batch_size=16, epochs=3, verbose=0)
model.save("masked_language_model.keras")
