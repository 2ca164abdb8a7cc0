"""Trains a model with attention, saves it as Keras does, loads it, and trains on."""

import tempfile
from pathlib import Path

import numpy as np

import grouphead
from grouphead import callbacks, layers

# Of eight numbers one is marked: which one is it?
rng = np.random.default_rng(1)
samples = 400
marked = rng.integers(0, 8, samples)
x = np.zeros((samples, 8, 2), np.float32)
x[..., 0] = rng.random((samples, 8))
x[np.arange(samples), marked, 1] = 1
y = x[np.arange(samples), marked, :1]

inputs = grouphead.Input((8, 2))
hidden = layers.Dense(16, "relu")(inputs)
attention = layers.GroupQueryAttention(head_dim=8, num_query_heads=2, num_key_value_heads=1)
pooled = layers.GlobalAveragePooling1D()(attention(hidden, hidden))
model = grouphead.Model(inputs, layers.Dense(1)(pooled))

model.compile(grouphead.optimizers.Adam(0.01), "mse", metrics=["mae"])
stopping = callbacks.EarlyStopping(patience=5, restore_best_weights=True)
history = model.fit(x, y, epochs=15, validation_split=0.25, verbose=2, callbacks=[stopping])

with tempfile.TemporaryDirectory() as folder:
    file = Path(folder) / "marked.keras"
    model.save(file)
    again = grouphead.load_model(file)
assert np.array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))

# The optimizer's state is in the file: training goes on where it stopped.
more = again.fit(x, y, epochs=5, verbose=0)
assert more.history["loss"][-1] < history.history["loss"][0]
