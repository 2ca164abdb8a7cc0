import keras
import numpy as np
from keras import layers as L

from blocks import PositionEmbedding, TransformerBlock, TransformerDecoder

# The other language has word w + 1 for w, in the opposite order. 1 begins a text, 0 pads it.
rng = np.random.default_rng(1)
source = rng.integers(2, 10, (64, 5)).astype("int32")
target = np.concatenate([np.ones((64, 1)), source[:, ::-1] + 1], axis=1).astype("int32")
x, y = [source, target[:, :-1].copy()], target[:, 1:].copy()

encoder_inputs = keras.Input((5,), dtype="int32", name="source")
decoder_inputs = keras.Input((5,), dtype="int32", name="target")
encoded = PositionEmbedding(5, 8)(L.Embedding(12, 8)(encoder_inputs))
encoded = TransformerBlock(8, num_heads=2, inner_width=16)(encoded)
h = PositionEmbedding(5, 8)(L.Embedding(12, 8)(decoder_inputs))
h = TransformerDecoder(8, num_heads=2, inner_width=16)([h, encoded])
model = keras.Model([encoder_inputs, decoder_inputs], L.Dense(12, activation="softmax")(h))
model.compile(keras.optimizers.RMSprop(1e-2),
              keras.losses.SparseCategoricalCrossentropy(ignore_class=0), metrics=["accuracy"])
model.fit(x, y, batch_size=16, epochs=3, verbose=0)
model.save("translation.keras")
