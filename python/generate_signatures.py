"""Writes grouphead/signatures.json: Keras's arguments and defaults of the classes that the library
has. Run it with Keras and this package installed, after the library has got a class:

    KERAS_BACKEND=jax python python/generate_signatures.py
"""

import inspect
import json
from pathlib import Path

import keras

from grouphead._core import models as core

TARGET = Path(__file__).parent / "grouphead" / "signatures.json"

# Arguments without a default, or whose default makes nothing.
SAMPLES = {
    "inner_optimizer": {"class_name": "Adam", "config": {}},
    "average": "macro",
    "value": 0,
    "num_classes": 2,
    "target_class_ids": [0, 1],
    "boundaries": [1],
    "values": [0.5, 0.25],
    "decay_steps": 1,
    "first_decay_steps": 1,
}
CALLBACKS = (
    "BackupAndRestore CSVLogger EarlyStopping LambdaCallback LearningRateScheduler"
    " ModelCheckpoint ReduceLROnPlateau SwapEMAWeights TensorBoard TerminateOnNaN"
).split()


def classes_of(module, base):
    for name in sorted(dir(module)):
        member = getattr(module, name)
        if inspect.isclass(member) and issubclass(member, base) and member.__name__ == name:
            yield name, member


def arguments(cls):
    """[[name], [name, default], ...], without `**kwargs`."""
    return [
        [one.name] if one.default is one.empty else [one.name, one.default]
        for one in inspect.signature(cls.__init__).parameters.values()
        if one.name != "self" and one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)
    ]


def known(module, base, make):
    """The classes that `make` makes of a configuration, with their arguments."""
    table = {}
    for name, cls in classes_of(module, base):
        listed = arguments(cls)
        config = {
            argument[0]: SAMPLES.get(argument[0], 0.5)
            for argument in listed
            if len(argument) == 1 or argument[0] in SAMPLES
        }
        try:
            make({"class_name": name, "config": config})
            table[name] = listed
        except ValueError as error:
            print(f"left out: {name}: {error}")
    return table


def signatures():
    schedules = keras.optimizers.schedules
    return {
        "layers": {
            name: arguments(getattr(keras.layers, name)) for name in core.layer_class_names()
        },
        "initializers": known(keras.initializers, keras.initializers.Initializer, core.initializer),
        "regularizers": known(keras.regularizers, keras.regularizers.Regularizer, core.regularizer),
        "constraints": known(keras.constraints, keras.constraints.Constraint, core.constraint),
        "losses": known(keras.losses, keras.losses.Loss, core.loss),
        "metrics": known(keras.metrics, keras.metrics.Metric, core.make_metric),
        "optimizers": known(keras.optimizers, keras.optimizers.Optimizer, core.make_optimizer),
        "schedules": known(schedules, schedules.LearningRateSchedule, core.schedule),
        "callbacks": {name: arguments(getattr(keras.callbacks, name)) for name in CALLBACKS},
    }


def text_of(table):
    """JSON with a line for each class."""
    kinds = []
    for kind, classes in table.items():
        lines = [f"    {json.dumps(name)}: {json.dumps(args)}" for name, args in classes.items()]
        kinds.append(f"  {json.dumps(kind)}: {{\n" + ",\n".join(lines) + "\n  }")
    return "{\n" + ",\n".join(kinds) + "\n}\n"


if __name__ == "__main__":
    TARGET.write_text(text_of(signatures()), encoding="utf-8")
