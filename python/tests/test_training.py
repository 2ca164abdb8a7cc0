"""compile(), fit(), evaluate(), predict(), callbacks, and what interrupts them."""

import os
import pickle
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import grouphead
from grouphead import callbacks, layers, losses, metrics, optimizers

RNG = np.random.default_rng(7)
X = RNG.standard_normal((48, 4)).astype(np.float32)
Y = (X @ np.array([[1.0], [-2.0], [0.5], [0.0]]) + 0.3).astype(np.float32)


def line(**settings):
    """A linear model, which SGD takes to Y."""
    model = grouphead.Sequential([layers.Input((4,)), layers.Dense(1, kernel_initializer="zeros")])
    model.compile(**{"optimizer": optimizers.SGD(0.1), "loss": "mse", **settings})
    return model


def descended(steps, rate, batches):
    """The same by its definition, in float64."""
    w, b = np.zeros((4, 1)), np.zeros(1)
    for step in range(steps):
        x, y = batches(step)
        error = x.astype(np.float64) @ w + b - y
        w -= rate * 2 * x.T.astype(np.float64) @ error / len(x)
        b -= rate * 2 * error.mean(0)
    return w, b


def test_steps_are_those_of_gradient_descent():
    model = line()
    history = model.fit(X, Y, batch_size=16, epochs=4, shuffle=False, verbose=0)
    w, b = descended(12, 0.1, lambda step: (X[step % 3 * 16 :][:16], Y[step % 3 * 16 :][:16]))
    np.testing.assert_allclose(model.get_weights()[0], w, atol=1e-5)
    np.testing.assert_allclose(model.get_weights()[1], b, atol=1e-5)
    assert history.epoch == [0, 1, 2, 3] and model.history is history
    assert history.history["loss"] == sorted(history.history["loss"], reverse=True)
    error = ((X @ w + b - Y) ** 2).mean()
    assert model.evaluate(X, Y) == pytest.approx(error, rel=1e-4)
    np.testing.assert_allclose(model.predict(X), X @ w + b, atol=1e-4)
    assert model.optimizer.iterations == 12


def test_batches_one_by_one():
    model = line(metrics=["mae"])
    for step in range(3):
        model.train_on_batch(X[step * 16 :][:16], Y[step * 16 :][:16])
    other = line()
    other.fit(X, Y, batch_size=16, shuffle=False, verbose=0)
    for ours, theirs in zip(model.get_weights(), other.get_weights()):
        np.testing.assert_array_equal(ours, theirs)
    model.reset_metrics()
    logs = model.test_on_batch(X, Y, return_dict=True)
    difference = model.predict_on_batch(X) - Y
    assert logs["mae"] == pytest.approx(np.abs(difference).mean(), rel=1e-5)
    assert logs["loss"] == pytest.approx((difference**2).mean(), rel=1e-5)


class Loader:
    """Batches by number, as keras.utils.PyDataset gives them."""

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return X[index * 16 :][:16], Y[index * 16 :][:16]


def generated():
    while True:
        for index in range(3):
            yield Loader()[index]


@pytest.mark.parametrize(
    "data, options",
    [(Loader(), {}), (generated(), {"steps_per_epoch": 3}), (range(0), None)],
)
def test_data_sets(data, options):
    model = line()
    if options is None:
        with pytest.raises(ValueError, match="1 sample or more"):
            model.fit(data, verbose=0)
        return
    model.fit(data, epochs=2, shuffle=False, verbose=0, validation_data=Loader(), **options)
    other = line()
    other.fit(X, Y, batch_size=16, epochs=2, shuffle=False, verbose=0)
    for ours, theirs in zip(model.get_weights(), other.get_weights()):
        np.testing.assert_array_equal(ours, theirs)
    assert model.evaluate(Loader()) == pytest.approx(model.evaluate(X, Y, batch_size=16), rel=1e-6)
    np.testing.assert_array_equal(model.predict(Loader()), model.predict(X))


def test_weights_of_samples_and_classes():
    weights = RNG.random(48).astype(np.float32)
    model = line()
    loss = model.evaluate(X, Y, sample_weight=weights, batch_size=48)
    assert loss == pytest.approx((weights * Y[:, 0] ** 2).mean(), rel=1e-5)
    labels = (Y > 0).astype(np.float32)
    by_class, by_sample = line(), line()
    by_class.fit(X, labels, class_weight={0: 3.0}, shuffle=False, verbose=0)
    each = np.where(labels[:, 0] == 0, 3.0, 1.0).astype(np.float32)
    by_sample.fit(X, labels, sample_weight=each, shuffle=False, verbose=0)
    np.testing.assert_array_equal(by_class.get_weights()[0], by_sample.get_weights()[0])


class Recorder(callbacks.Callback):
    def __init__(self):
        self.events = []

    def on_train_begin(self, logs=None):
        self.events.append("train")

    def on_epoch_begin(self, epoch, logs=None):
        self.events.append(f"epoch {epoch}")

    def on_train_batch_end(self, batch, logs=None):
        self.events.append(f"batch {batch} {sorted(logs)}")

    def on_test_end(self, logs=None):
        self.events.append("tested")

    def on_epoch_end(self, epoch, logs=None):
        self.events.append(sorted(logs))
        # Callbacks may use the model.
        assert self.model.predict(X).shape == (48, 1)

    def on_train_end(self, logs=None):
        self.events.append("end")


def test_callbacks_of_python():
    recorder = Recorder()
    model = line()
    seen = []
    as_function = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(epoch))
    model.fit(X, Y, batch_size=32, verbose=0, validation_split=0.25, epochs=2,
              callbacks=[recorder, as_function])
    epoch = ["batch 0 ['loss']", "batch 1 ['loss']", "tested", ["loss", "val_loss"]]
    assert recorder.events == ["train", "epoch 0", *epoch, "epoch 1", *epoch, "end"]
    assert seen == [0, 1]


def test_a_callback_ends_the_training():
    class Stop(callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = True

    model = line()
    model.fit(X, Y, batch_size=16, epochs=5, verbose=0, callbacks=[Stop()])
    assert model.optimizer.iterations == 1

    class Fail(callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        model.fit(X, Y, batch_size=16, epochs=5, verbose=0, callbacks=[Fail()])
    assert model.optimizer.iterations == 2
    with pytest.raises(grouphead.ConfigError, match=r"inside fit\(\)"):
        model.fit(X, Y, verbose=0, callbacks=[
            callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: model.fit(X, Y))])
    model.fit(X, Y, verbose=0)  # and goes on afterwards


def test_callbacks_of_the_library(tmp_path):
    model = line()
    early = callbacks.EarlyStopping("loss", min_delta=1e9, patience=2)
    model.fit(X, Y, epochs=9, verbose=0, callbacks=[
        early,
        callbacks.CSVLogger(tmp_path / "log.csv"),
        callbacks.ModelCheckpoint(tmp_path / "{epoch}.keras"),
        callbacks.ModelCheckpoint(tmp_path / "w.weights.h5", save_weights_only=True),
        callbacks.LearningRateScheduler(lambda epoch: 0.1 / (epoch + 1)),
        callbacks.TerminateOnNaN(),
    ])
    assert early.stopped_epoch == 2 and model.history.epoch == [0, 1, 2]
    assert model.optimizer.learning_rate == pytest.approx(0.1 / 3)
    assert (tmp_path / "log.csv").read_text().startswith("epoch,loss,val_loss\n0,")
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "1.keras", "2.keras", "3.keras", "log.csv", "w.weights.h5"]
    loaded = grouphead.load_model(tmp_path / "3.keras")
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    with pytest.raises(ValueError, match="histogram_freq"):
        callbacks.TensorBoard(histogram_freq=1)
    with pytest.raises(TypeError, match="patients"):
        callbacks.EarlyStopping(patients=3)
    with pytest.raises(TypeError, match="callbacks"):
        model.fit(X, Y, callbacks=[3])


def test_training_goes_on_after_saving_and_pickling(tmp_path):
    def trained():
        model = grouphead.Sequential([layers.Input((4,)), layers.Dense(1, "tanh")])
        model.compile(optimizers.Adam(0.05), losses.Huber(), metrics=[metrics.MeanAbsoluteError()])
        return model

    grouphead.utils.set_random_seed(3)
    whole = trained()
    start = whole.get_weights()
    whole.fit(X, Y, epochs=4, shuffle=False, verbose=0)

    def saved(model):
        model.save(tmp_path / "half.keras")
        return grouphead.load_model(tmp_path / "half.keras")

    for carried in (saved, lambda model: pickle.loads(pickle.dumps(model))):
        half = trained()
        half.set_weights(start)
        half.fit(X, Y, epochs=2, shuffle=False, verbose=0)
        half = carried(half)
        assert isinstance(half.optimizer, optimizers.Adam) and half.optimizer.iterations == 4
        half.fit(X, Y, epochs=2, shuffle=False, verbose=0)
        np.testing.assert_array_equal(half.get_weights()[0], whole.get_weights()[0])
        assert half.evaluate(X, Y) == whole.evaluate(X, Y)


def test_progress(capsys):
    line().fit(X, Y, epochs=2, verbose=2)
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "Epoch 1/2" and "2 steps" in out[1] and "loss: " in out[1]
    assert out[2] == "Epoch 2/2" and len(out) == 4
    line().fit(X, Y, verbose=1)
    assert "2/2 ━━━━━━━━━━━━━━━━━━━━" in capsys.readouterr().out
    line().fit(X, Y, verbose=0)
    assert capsys.readouterr().out == ""
    with pytest.raises(ValueError, match="verbose"):
        line().fit(X, Y, verbose="loud")


def test_ctrl_c_ends_a_training_after_the_step():
    model = line()
    events = []
    timer = threading.Timer(0.02, lambda: os.kill(os.getpid(), signal.SIGINT))
    watching = callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: timer.start() if epoch == 2 else None,
        on_train_end=lambda logs: events.append("end"),
    )
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, batch_size=16, epochs=10**7, verbose=0, callbacks=[watching])
    timer.join()
    steps, epochs = model.optimizer.iterations, len(model.history.epoch)
    assert events == ["end"]
    # Of the epoch that was cut short 0 to 3 steps are done.
    assert epochs >= 2 and 3 * epochs <= steps <= 3 * epochs + 3
    model.fit(X, Y, batch_size=16, verbose=0)  # goes on from there
    assert model.optimizer.iterations == steps + 3


def test_other_threads_use_models_meanwhile():
    model, other = line(), line()
    done = threading.Event()
    answers = []

    def predict():
        while not done.is_set():
            answers.append(other.predict(X).shape)
            model.predict(X)

    thread = threading.Thread(target=predict)
    thread.start()
    begin = time.monotonic()
    model.fit(X, Y, epochs=200, verbose=0)
    done.set()
    thread.join()
    assert answers and time.monotonic() - begin < 60


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_process_computes():
    code = """
import os, numpy as np, grouphead
from grouphead import layers
dense = layers.Dense(3)
x = np.ones((4, 2), np.float32)
want = dense(x)
child = os.fork()
if child == 0:
    os._exit(0 if np.array_equal(dense(x), want) else 1)
assert os.waitpid(child, 0)[1] == 0
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize(
    "call",
    [
        lambda: grouphead.Sequential([layers.Dense(1)]).fit(X, Y),
        lambda: line().fit(X, Y[:5], verbose=0),
        lambda: line().fit(X[:, :3], Y, verbose=0),
        lambda: line().fit(X, Y, batch_size=-1, verbose=0),
        lambda: line().fit(X, Y, epochs="two", verbose=0),
        lambda: line().fit(X, Y, validation_split=1.5, verbose=0),
        lambda: line().fit(X, Y, validation_data=(X,), verbose=0),
        lambda: line().fit(Loader(), Y, verbose=0),
        lambda: line().fit(3, Y, verbose=0),
        lambda: line().fit(verbose=0),
        lambda: line(loss="no_such_loss"),
        lambda: line(loss=lambda y_true, y_pred: y_pred),
        lambda: line(optimizer="no_such_optimizer"),
        lambda: line(metrics=["no_such_metric"]).fit(X, Y, verbose=0),
        lambda: line(loss={"other": "mse"}),
        lambda: line().predict({"nothing": X}),
        lambda: line().evaluate(X, np.array([None] * 48)),
        lambda: optimizers.Adam(learning_rate="fast"),
        lambda: optimizers.Adam(clipnorm=-1.0),
        lambda: optimizers.schedules.CosineDecay(0.1, 0),
    ],
)
def test_bad_input_is_an_exception(call):
    with pytest.raises((ValueError, TypeError)):
        call()
