import keras
import numpy as np
from keras import layers as L

from blocks import PositionEmbedding, TransformerBlock

# Words 2 to 5 praise, words 6 to 9 do not; each text has three of one kind among 9 others.
rng = np.random.default_rng(1)
y = np.arange(64, dtype="int32") % 2
x = rng.integers(10, 30, (64, 12)).astype("int32")
for text, label in zip(x, y):
    text[rng.permutation(12)[:3]] = rng.integers(2, 6, 3) + 4 * label

tokens = keras.Input((12,), dtype="int32", name="tokens")
h = PositionEmbedding(12, 8)(L.Embedding(30, 8)(tokens))
h = TransformerBlock(8, num_heads=2, inner_width=16)(h)
h = L.Dense(8, activation="relu")(L.GlobalAveragePooling1D()(h))
model = keras.Model(tokens, L.Dense(2, activation="softmax")(h))
model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(x, y, batch_size=16, epochs=3, verbose=0)
model.save("text_classification.keras")
