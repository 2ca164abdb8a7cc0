"""One description of arguments: the table, the library's configurations, and Keras's signatures."""

import inspect

import numpy as np
import pytest

from grouphead import (
    _described,
    callbacks,
    constraints,
    initializers,
    layers,
    losses,
    metrics,
    optimizers,
    regularizers,
)
from grouphead._core import models as core

TABLE = _described.table()
NAMESPACES = {
    "layers": layers,
    "initializers": initializers,
    "regularizers": regularizers,
    "constraints": constraints,
    "losses": losses,
    "metrics": metrics,
    "optimizers": optimizers,
    "schedules": optimizers.schedules,
    "callbacks": callbacks,
}
CLASSES = [(kind, name) for kind, classes in TABLE.items() for name in classes]

# Values for arguments without a default, by their names.
REQUIRED = {
    "activation": "relu",
    "alpha": 0.5,
    "average": "macro",
    "axes": 1,
    "boundaries": [1],
    "cell": {"class_name": "LSTMCell", "config": {"units": 2}},
    "decay_rate": 0.5,
    "decay_steps": 4,
    "dims": [1],
    "equation": "ab,bc->ac",
    "filters": 2,
    "first_decay_steps": 4,
    "head_dim": 2,
    "initial_learning_rate": 0.5,
    "input_dim": 3,
    "inner_optimizer": {"class_name": "Adam", "config": {}},
    "kernel_size": 2,
    "key_dim": 2,
    "layer": {"class_name": "LSTM", "config": {"units": 2}},
    "learning_rate": 0.5,
    "n": 2,
    "num_bins": 3,
    "num_classes": 2,
    "num_heads": 2,
    "num_key_value_heads": 1,
    "num_query_heads": 2,
    "output_dim": 2,
    "output_shape": [2],
    "pool_size": 2,
    "precision": 0.5,
    "rate": 0.5,
    "recall": 0.5,
    "scale": 2.0,
    "sensitivity": 0.5,
    "specificity": 0.5,
    "stddev": 0.5,
    "target_class_ids": [0],
    "target_shape": [2],
    "threshold": 0.5,
    "units": 2,
    "value": 0,
    "values": [0.5, 0.25],
}
# Arguments whose default makes nothing.
NEEDED = {"FBetaScore": ("average",), "F1Score": ("average",), "CategoryEncoding": ()}


def required(kind, name):
    listed = {entry[0]: REQUIRED[entry[0]] for entry in TABLE[kind][name] if len(entry) == 1}
    listed.update({key: REQUIRED[key] for key in NEEDED.get(name, ())})
    if name == "CategoryEncoding":
        listed["num_tokens"] = 3
    if name == "Constant":
        listed["value"] = 0.0
    return listed


def made(kind, name):
    return getattr(NAMESPACES[kind], name)(**required(kind, name))


@pytest.mark.parametrize("kind, name", [entry for entry in CLASSES if entry[0] != "callbacks"])
def test_defaults_of_the_table_are_those_of_the_library(kind, name):
    """With all defaults given and with none, the library makes the same configuration."""
    bare = made(kind, name).get_config()
    defaults = {entry[0]: entry[1] for entry in TABLE[kind][name] if len(entry) > 1}
    given = {**defaults, **required(kind, name)}
    assert getattr(NAMESPACES[kind], name)(**given).get_config() == bare
    for key, default in defaults.items():
        if key in required(kind, name) or key not in bare or default is None:
            continue
        assert plain_form(bare[key], default) == plain_form(default, default), key


def plain_form(held, default):
    """What a configuration and an argument have in common."""
    if isinstance(held, dict) and "class_name" in held and isinstance(default, str):
        return held["class_name"].replace("_", "").lower()
    if isinstance(held, str) and isinstance(default, str):
        return {"uniform": "randomuniform"}.get(held, held.replace("_", "").lower())
    if isinstance(held, (int, float)) and not isinstance(held, bool):
        return float(np.float32(held))  # where Keras keeps f32
    if isinstance(held, (list, tuple)):  # one number for each axis, where the argument is one
        flat = np.unique(np.array(held, dtype=float))
        return float(flat[0]) if len(flat) == 1 else [list(np.ravel(held))]
    return held


def listed(value):
    """Tuples as lists, as JSON has them."""
    return [listed(entry) for entry in value] if isinstance(value, tuple) else value


@pytest.mark.parametrize("kind, name", CLASSES)
def test_signatures_are_kerass(kind, name):
    keras = pytest.importorskip("keras")
    home = keras.optimizers.schedules if kind == "schedules" else getattr(keras, kind)
    ours = inspect.signature(getattr(NAMESPACES[kind], name)).parameters.values()
    theirs = [
        one
        for one in inspect.signature(getattr(home, name).__init__).parameters.values()
        if one.name != "self" and one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)
    ]
    ours = [one for one in ours if one.kind is one.POSITIONAL_OR_KEYWORD]
    assert [one.name for one in ours] == [one.name for one in theirs]
    for our, their in zip(ours, theirs):
        assert our.default == listed(their.default) or our.default is their.default, our.name


def test_the_library_has_every_layer_of_the_table_and_no_other():
    assert sorted(TABLE["layers"]) == sorted(core.layer_class_names())


def test_unknown_arguments_are_refused():
    with pytest.raises(TypeError, match="Dense.*unitz"):
        layers.Dense(3, unitz=3)
    with pytest.raises(TypeError, match="missing a required argument: 'units'"):
        layers.Dense()
    with pytest.raises(ValueError, match="units"):
        layers.Dense(0)
    with pytest.raises(TypeError, match="no gradients"):
        layers.Dense(3, activation=abs)
