"""Models that files.py passes back and forth: each optimizer, and layers drawn at random."""
import keras
import numpy as np

L, O = keras.layers, keras.optimizers


# ---- Optimizers --------------------------------------------------------------------------------
OPTIMIZERS = {
    "adadelta": lambda: O.Adadelta(0.5), "adafactor": lambda: O.Adafactor(0.01), "adagrad": lambda: O.Adagrad(0.05),
    "adam": lambda: O.Adam(5e-3, weight_decay=0.01), "adamax": lambda: O.Adamax(5e-3),
    "ftrl": lambda: O.Ftrl(0.05, l2_regularization_strength=0.01), "lamb": lambda: O.Lamb(5e-3),
    "lion": lambda: O.Lion(1e-3), "muon": lambda: O.Muon(5e-3, adam_lr_ratio=0.5),
    "nadam": lambda: O.Nadam(5e-3, use_ema=True, ema_momentum=0.8),
    "rmsprop": lambda: O.RMSprop(2e-3, momentum=0.5, centered=True),
    "schedule_free": lambda: O.ScheduleFreeAdamW(5e-3, warmup_steps=3),
    "sgd": lambda: O.SGD(0.05, momentum=0.9, gradient_accumulation_steps=2),
    "loss_scale": lambda: O.LossScaleOptimizer(O.Adam(5e-3), initial_scale=1024.0, dynamic_growth_steps=5),
}


def optimizer(name):
    def make(r):
        x = keras.Input((6,), name="x")
        h = L.Dense(8, activation="tanh", name="wide")(x)
        model = keras.Model(x, L.Dense(3, name="out")(L.Add()([h, L.Dense(8, activation="gelu", name="deep")(h)])))
        model.compile(optimizer=OPTIMIZERS[name](), loss="mse")
        return model, [r.normal(size=(7, 6)).astype("f4")], [r.normal(size=(7, 3)).astype("f4")]

    return make


# ---- Layers at random --------------------------------------------------------------------------
class Draw:
    """Layers over [batch, steps, width], one after the other; `at` is where the model stands."""

    def __init__(self, r, at, source, tokens=None):
        self.r, self.at, self.source, self.tokens, self.count = r, at, source, tokens, 0
        self.steps = int(at.shape[1])
        self.draws = False  # whether training takes random numbers

    def name(self, kind):
        self.count += 1
        return "%s_%d" % (kind, self.count)

    def width(self):
        return int(self.at.shape[-1])

    def choose(self, *options):
        return options[int(self.r.integers(0, len(options)))]

    def activation(self):
        return self.choose("tanh", "gelu", "sigmoid", "silu", "softplus", None)

    def dense(self):
        return L.Dense(int(self.r.integers(3, 8)), activation=self.activation(), name=self.name("dense"))(self.at)

    def einsum(self):
        return L.EinsumDense("abc,cd->abd", output_shape=(None, int(self.r.integers(3, 8))), bias_axes="d",
                             activation=self.activation(), name=self.name("einsum"))(self.at)

    def attention(self):
        if self.r.random() < 0.5:
            h = L.MultiHeadAttention(2, int(self.r.integers(2, 5)), name=self.name("mha"))(
                self.at, self.at, use_causal_mask=bool(self.r.random() < 0.5))
        else:
            h = L.GroupQueryAttention(3, 4, 2, name=self.name("gqa"))(self.at, self.at)
        return L.Add(name=self.name("add"))([self.at, h])

    def scored(self):
        kind = self.choose(L.Attention, L.AdditiveAttention)
        return L.Add(name=self.name("add"))([self.at, kind(name=self.name("scored"))([self.at, self.at])])

    def recurrent(self):
        kind = self.choose(L.LSTM, L.GRU, L.SimpleRNN)
        layer = kind(int(self.r.integers(3, 6)), return_sequences=True, go_backwards=False, name=self.name("rnn"))
        if self.r.random() < 0.4:
            layer = L.Bidirectional(layer, merge_mode=self.choose("concat", "sum", "ave"), name=self.name("both"))
        return layer(self.at)

    def convolution(self):
        if self.r.random() < 0.4:
            options = {"padding": "same", "depth_multiplier": int(self.r.integers(1, 3)), "activation": self.activation()}
            if self.r.random() < 0.5:
                return L.DepthwiseConv1D(3, name=self.name("depthwise"), **options)(self.at)
            return L.SeparableConv1D(5, 3, name=self.name("separable"), **options)(self.at)
        return L.Conv1D(int(self.r.integers(3, 7)), int(self.r.integers(1, 4)), padding=self.choose("same", "causal"),
                        dilation_rate=self.choose(1, 2), activation=self.activation(), name=self.name("conv"))(self.at)

    def pooling(self):
        kind = self.choose(L.MaxPooling1D, L.AveragePooling1D)
        return kind(int(self.r.integers(2, 4)), strides=1, padding="same", name=self.name("pool"))(self.at)

    def padding(self):
        return L.Cropping1D((1, 0), name=self.name("crop"))(L.ZeroPadding1D((0, 1), name=self.name("pad"))(self.at))

    def normalization(self):
        kind = self.choose(L.LayerNormalization, L.RMSNormalization, L.BatchNormalization, L.UnitNormalization)
        return kind(name=self.name("norm"))(self.at)

    def activations(self):
        return self.choose(L.LeakyReLU, L.ELU, L.PReLU)(name=self.name("act"))(self.at)

    def merging(self):
        other = L.Dense(self.width(), activation="tanh", name=self.name("dense"))(self.at)
        kind = self.choose(L.Add, L.Average, L.Multiply, L.Maximum, L.Subtract, L.Concatenate)
        return kind(name=self.name("merge"))([self.at, other])

    def reuse(self):
        """A layer, or a model of two, that is called twice."""
        w = self.width()
        layer = L.Dense(w, activation="tanh", name=self.name("shared"))
        if self.r.random() < 0.5:
            layer = keras.Sequential([keras.Input((None, w)), L.Dense(w + 1, activation="gelu"), L.Dense(w)],
                                     name=self.name("nested"))
        return L.Add(name=self.name("add"))([layer(self.at), layer(self.at * 0.5)])

    def distributed(self):
        return L.TimeDistributed(L.Dense(int(self.r.integers(3, 7)), activation="tanh"), name=self.name("each"))(self.at)

    def operations(self):
        x = self.at
        y = self.choose(lambda: keras.ops.tanh(x) * 2.0 + 0.1, lambda: x - keras.ops.mean(x, axis=-1, keepdims=True),
                        lambda: keras.ops.concatenate([x, keras.ops.square(x)], axis=-1),
                        lambda: keras.ops.softmax(x, axis=-1), lambda: keras.ops.flip(x, axis=-1) / 2.0)
        return y()

    def cross(self):
        """Attention to other steps, which have a mask of their own."""
        if self.source is None:
            return self.attention()
        if self.r.random() < 0.5:
            layer = L.MultiHeadAttention(2, 3, use_gate=bool(self.r.random() < 0.3), name=self.name("cross"))
            return layer(self.at, self.source, attention_mask=self.pairs())
        layer = L.GroupQueryAttention(3, 2, 1, use_gate=bool(self.r.random() < 0.5), name=self.name("cross"))
        h = layer(self.at, L.Dense(self.width(), name=self.name("dense"))(self.source))
        return L.Concatenate(name=self.name("merge"))([self.at, h])

    def pairs(self):
        """A mask of queries and keys that is computed in the model, or none."""
        if self.r.random() < 0.5:
            return None
        sums = keras.ops.sum(self.at, axis=-1, keepdims=True) + keras.ops.sum(self.source, axis=-1)[:, None, :]
        return keras.ops.logical_or(keras.ops.greater(sums, -0.5), keras.ops.equal(keras.ops.argmax(sums, axis=-1), 1)[..., None])

    def scored_with_options(self):
        if self.r.random() < 0.5:
            layer = L.Attention(use_scale=True, score_mode=self.choose("dot", "concat"), name=self.name("scored"))
        else:
            layer = L.AdditiveAttention(use_scale=bool(self.r.random() < 0.5), name=self.name("scored"))
        h, scores = layer([self.at, self.at], return_attention_scores=True, use_causal_mask=bool(self.r.random() < 0.5))
        return L.Concatenate(name=self.name("merge"))([h, scores])

    def noise(self):
        kind = self.choose(L.Dropout, L.SpatialDropout1D, L.GaussianNoise, L.GaussianDropout, L.AlphaDropout)
        self.draws = True
        return kind(0.2, seed=int(self.r.integers(1, 1000)), name=self.name("noise"))(self.at)

    def states(self):
        """A layer's last state begins another one."""
        units = int(self.r.integers(3, 6))
        if self.r.random() < 0.5:
            h, *states = L.LSTM(units, return_sequences=True, return_state=True, name=self.name("rnn"))(self.at)
            return L.LSTM(units, return_sequences=True, go_backwards=bool(self.r.random() < 0.5), name=self.name("rnn"))(
                h, initial_state=states)
        h, state = L.GRU(units, return_sequences=True, return_state=True, reset_after=bool(self.r.random() < 0.5),
                         name=self.name("rnn"))(self.at)
        return L.SimpleRNN(units, return_sequences=True, name=self.name("rnn"))(h, initial_state=state)

    def cells(self):
        cells = [self.choose(L.LSTMCell, L.GRUCell, L.SimpleRNNCell)(int(self.r.integers(2, 5))) for _ in range(2)]
        return L.RNN(cells, return_sequences=True, name=self.name("cells"))(self.at)

    def nested(self):
        """A model of two inputs, called twice; layers that take masks are inside."""
        w = self.width()
        a, b = keras.Input((None, w)), keras.Input((None, w))
        h = L.MultiHeadAttention(2, 2, name="inner")(a, b)
        h = L.LayerNormalization()(L.Add()([a, h]))
        inner = keras.Model([a, b], [h, L.GlobalAveragePooling1D()(L.Dense(w)(b))], name=self.name("nested"))
        h, pooled = inner([self.at, self.at])
        k, _ = inner([h, self.at])
        return k + L.RepeatVector(1, name=self.name("repeat"))(pooled)

    def image(self):
        """Steps and features as an image of one channel."""
        w = self.width()
        h = L.Reshape((self.steps, w, 1), name=self.name("image"))(self.at)
        h = L.Conv2D(2, (3, 2), padding="same", activation="relu", name=self.name("conv"))(h)
        h = self.choose(L.MaxPooling2D, L.AveragePooling2D)((1, 2), strides=(1, 1), padding="same", name=self.name("pool"))(h)
        return L.Reshape((self.steps, 2 * w), name=self.name("steps"))(h)

    def channels(self):
        """Steps and features as an image, by layers of images that keep its size."""
        w = self.width()
        h = L.Reshape((self.steps, w, 1), name=self.name("image"))(self.at)
        h = L.ZeroPadding2D(((0, 1), (1, 0)), name=self.name("pad"))(h)
        kind = self.choose(lambda n: L.DepthwiseConv2D((2, 2), depth_multiplier=2, padding="same", name=n),
                           lambda n: L.SeparableConv2D(2, (2, 3), padding="same", activation="tanh", name=n))
        h = L.Cropping2D(((1, 0), (0, 1)), name=self.name("crop"))(kind(self.name("conv"))(h))
        if self.r.random() < 0.3:
            self.draws = True
            h = L.SpatialDropout2D(0.3, seed=int(self.r.integers(1, 1000)), name=self.name("noise"))(h)
        pooled = self.choose(L.GlobalAveragePooling2D, L.GlobalMaxPooling2D)(keepdims=True, name=self.name("pool"))(h)
        h = L.UpSampling2D((1, 2), name=self.name("up"))(h * pooled)
        h = L.AveragePooling2D((1, 2), name=self.name("down"))(h)
        return L.Reshape((self.steps, 2 * w), name=self.name("steps"))(h)

    def upsampling(self):
        h = L.UpSampling1D(2, name=self.name("up"))(self.at)
        return self.choose(L.MaxPooling1D, L.AveragePooling1D)(2, name=self.name("down"))(h)

    def products(self):
        """The products of all pairs of steps, as weights."""
        h = L.Dot(axes=2, name=self.name("dot"))([self.at, L.Dense(self.width())(self.at)])
        return L.Dot(axes=(2, 1), name=self.name("dot"))([L.Softmax(name=self.name("weights"))(h), self.at])

    def preprocessing(self):
        """What needs no TensorFlow in Keras."""
        if self.tokens is not None and self.r.random() < 0.5:
            h = L.CategoryEncoding(9, output_mode="one_hot", name=self.name("categories"))(self.tokens)
            return L.Concatenate(name=self.name("merge"))([self.at, L.Dense(3, name=self.name("dense"))(h)])
        numbers = {"mean": self.r.normal(size=self.width()), "variance": self.r.uniform(0.5, 2, self.width())}
        return L.Normalization(axis=-1, invert=bool(self.r.random() < 0.3), name=self.name("scaled"), **numbers)(self.at)

    def norms(self):
        if self.r.random() < 0.5:
            return L.GroupNormalization(1, name=self.name("norm"))(self.at)
        return L.BatchNormalization(momentum=0.7, center=bool(self.r.random() < 0.5), name=self.name("norm"))(self.at)

    def more_operations(self):
        x, ops = self.at, keras.ops
        y = self.choose(lambda: ops.where(ops.greater(x, 0.1), x, x * 0.3), lambda: ops.einsum("btd,bsd->bts", x, x),
                        lambda: ops.cumsum(x, axis=1), lambda: ops.roll(x, 1, axis=1), lambda: x[:, ::-1, :] + x,
                        lambda: ops.matmul(ops.softmax(ops.matmul(x, ops.transpose(x, (0, 2, 1)))), x),
                        lambda: ops.sort(x, axis=1),
                        lambda: ops.logsumexp(x, axis=-1, keepdims=True) - x, lambda: ops.repeat(x, 2, axis=-1),
                        lambda: ops.stack([x, x * 2.0], axis=-1)[..., 1], lambda: ops.split(x, [1], axis=1)[0] * x)
        return y()

    def regularized(self):
        rules = keras.regularizers
        return L.Dense(int(self.r.integers(3, 8)), activation=self.activation(), kernel_regularizer=rules.L2(0.01),
                       activity_regularizer=rules.L1(0.003), kernel_constraint=self.choose(None, keras.constraints.MaxNorm(1.5)),
                       name=self.name("dense"))(self.at)

    def step(self):
        kinds = (self.dense, self.einsum, self.attention, self.scored, self.recurrent, self.convolution, self.pooling,
                 self.padding, self.normalization, self.activations, self.merging, self.reuse, self.distributed,
                 self.operations, self.cross, self.cross, self.scored_with_options, self.noise, self.states, self.cells,
                 self.nested, self.image, self.norms, self.more_operations, self.regularized, self.channels,
                 self.upsampling, self.products, self.preprocessing)
        self.at = self.choose(*kinds)()
        if self.width() > 12:
            self.at = L.Dense(5, name=self.name("narrow"))(self.at)


def padded(r, batch, steps):
    """Tokens with padding behind, in front, or between."""
    data = r.integers(1, 9, (batch, steps)).astype("i4")
    for row in data:
        kind, at = r.integers(0, 3), int(r.integers(2, steps + 1))
        if kind == 0:
            row[at:] = 0
        elif kind == 1:
            row[:steps - at] = 0
        else:
            row[at % steps] = 0
    return data


def layers_at_random(r):
    """Tokens with padding, or numbers, beside others to attend to; layers at random; two or three outputs."""
    steps, batch = int(r.integers(4, 8)), 6
    if r.random() < 0.6:
        x = keras.Input((steps,), dtype="int32", name="tokens")
        h = L.Embedding(9, int(r.integers(3, 7)), mask_zero=bool(r.random() < 0.7), name="embedding")(x)
        data = padded(r, batch, steps)
    else:
        x = keras.Input((steps, int(r.integers(2, 6))), name="x")
        h = L.Masking(name="masking")(x) if r.random() < 0.4 else x
        data = r.normal(size=(batch,) + x.shape[1:]).astype("f4")
        data[0, -1] = 0
    inputs, data, source = [x], [data], None
    if r.random() < 0.5:
        other = int(r.integers(3, 7))
        inputs.append(keras.Input((other,), dtype="int32", name="source"))
        data.append(padded(r, batch, other))
        source = L.Embedding(9, int(r.integers(3, 7)), mask_zero=True, name="others")(inputs[1])
    draw = Draw(r, h, source, tokens=x if x.dtype == "int32" else None)
    for _ in range(int(r.integers(3, 8))):
        draw.step()
    first = L.Dense(2, name="first")(draw.at)
    draw.step()
    pooled = draw.choose(L.GlobalAveragePooling1D, L.GlobalMaxPooling1D)(name="pooled")(draw.at)
    outputs = [first, L.Dense(3, name="second")(L.LayerNormalization(name="last")(pooled))]
    loss = ["mse", keras.losses.SparseCategoricalCrossentropy(from_logits=True)]
    y = [r.normal(size=(batch, steps, 2)).astype("f4"), r.integers(0, 3, (batch,)).astype("i4")]
    if source is not None:
        outputs.append(L.Dense(1, name="third")(source))
        loss.append("mae")
        y.append(r.normal(size=(batch, other, 1)).astype("f4"))
    model = keras.Model(inputs, outputs)
    model.compile(optimizer=draw.choose(O.Adam(2e-3), O.SGD(0.02, momentum=0.8), O.AdamW(1e-3, clipnorm=1.0), O.RMSprop(1e-3)),
                  loss=loss, loss_weights=[0.7, 1.3, 0.4][:len(loss)])
    model.draws_numbers = draw.draws
    return model, data, y


MODELS = {"random": layers_at_random, **{"optimizer_" + name: optimizer(name) for name in OPTIMIZERS}}
