import keras
import numpy as np
from keras import layers as L

# Texts of 4 to 12 words and then zeros; the label is whether word 1 comes before word 2.
rng = np.random.default_rng(1)
y = (np.arange(64) % 2).astype("float32")[:, None]
x = np.zeros((64, 12), "int32")
for text, label in zip(x, y[:, 0]):
    length = rng.integers(4, 13)
    text[:length] = rng.integers(3, 20, length)
    places = np.sort(rng.permutation(length)[:2])
    text[places] = [1, 2] if label else [2, 1]

tokens = keras.Input((12,), dtype="int32", name="tokens")
h = L.Embedding(20, 8, mask_zero=True)(tokens)
h = L.Bidirectional(L.LSTM(8, return_sequences=True))(h)
h = L.Bidirectional(L.LSTM(8))(h)
model = keras.Model(tokens, L.Dense(1, activation="sigmoid")(h))
model.compile(keras.optimizers.Adam(1e-2), "binary_crossentropy", metrics=["accuracy"])
model.fit(x, y, batch_size=16, epochs=3, verbose=0)
model.save("bidirectional_lstm.keras")
