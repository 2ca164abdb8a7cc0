import keras
import numpy as np
from keras import layers as L

# Slow waves are of class 0, fast ones of class 1.
rng = np.random.default_rng(1)
y = np.arange(64, dtype="int32") % 2
speed = np.where(y == 0, 0.4, 0.8)[:, None] + rng.normal(0, 0.05, (64, 1))
x = np.sin(speed * np.arange(24) + rng.uniform(0, 6, (64, 1))) + rng.normal(0, 0.2, (64, 24))
x = x[:, :, None].astype("float32")


def encoder(x):
    h = L.MultiHeadAttention(num_heads=2, key_dim=4)(x, x)
    h = L.LayerNormalization(epsilon=1e-6)(h) + x
    f = L.Conv1D(8, kernel_size=1, activation="relu")(h)
    f = L.Conv1D(h.shape[-1], kernel_size=1)(f)
    return L.LayerNormalization(epsilon=1e-6)(f) + h


series = keras.Input((24, 1), name="series")
h = L.Conv1D(8, kernel_size=5, padding="same", activation="relu")(series)
h = encoder(encoder(h))
h = L.Dense(16, activation="relu")(L.GlobalAveragePooling1D()(h))
model = keras.Model(series, L.Dense(2, activation="softmax")(h))
model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(x, y, batch_size=16, epochs=3, verbose=0)
model.save("time_series.keras")
