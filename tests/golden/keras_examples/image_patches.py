import keras
import numpy as np
from keras import layers as L

from blocks import PositionEmbedding, TransformerBlock

# A bright square in one of the image's four corners: which?
rng = np.random.default_rng(1)
y = np.arange(64, dtype="int32") % 4
x = rng.normal(0, 0.3, (64, 12, 12, 1)).astype("float32")
for image, corner in zip(x, y):
    down, right = 6 * (corner // 2) + rng.integers(3), 6 * (corner % 2) + rng.integers(3)
    image[down : down + 4, right : right + 4] += 1

images = keras.Input((12, 12, 1), name="images")
h = L.Rescaling(2.0, offset=-0.1)(images)
h = L.Conv2D(8, kernel_size=4, strides=4)(h)  # 9 patches
h = PositionEmbedding(9, 8)(L.Reshape((9, 8))(h))
for _ in range(2):
    h = TransformerBlock(8, num_heads=2, inner_width=16)(h)
h = L.Flatten()(L.LayerNormalization(epsilon=1e-6)(h))
model = keras.Model(images, L.Dense(4)(h))
model.compile(keras.optimizers.AdamW(3e-3, weight_decay=1e-4),
              keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
model.fit(x, y, batch_size=16, epochs=3, verbose=0)
model.save("image_patches.keras")
