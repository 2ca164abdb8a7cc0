"""What type checkers see of the package: arguments and results of functions, models and layers."""

import pytest

api = pytest.importorskip("mypy.api")

RIGHT = '''
import numpy as np
import grouphead
from grouphead import layers

x = grouphead.Input((16, 32))
y = layers.Dense(3, "softmax", use_bias=False, name="head")(layers.LayerNormalization()(x))
model = grouphead.Model(x, y)
model.compile(grouphead.optimizers.Adam(1e-3), "mse", metrics=["accuracy"])
history = model.fit(np.zeros((4, 16, 32)), epochs=2, callbacks=[grouphead.callbacks.EarlyStopping()])
reveal_type(history)
reveal_type(model.get_weights())
reveal_type(grouphead.load_model("model.keras"))
reveal_type(grouphead.load_pretrained("llama").generate([[1]], max_new_tokens=3))
reveal_type(grouphead.Tokenizer("tokenizer.json").decode([1, 2]))
reveal_type(layers.AvgPool1D(2))
reveal_type(layers.StringLookup(num_oov_indices=2).get_vocabulary())
layers.Normalization().adapt(np.zeros((2, 3)))
reveal_type(grouphead.generate(model, [1, 2], top_k=5))
reveal_type(grouphead._core.models.isa())
reveal_type(grouphead._core.num_threads())
'''
TYPES = [
    "grouphead.callbacks.History",
    "list[numpy.ndarray",
    "grouphead._model.Model",
    "numpy.ndarray",
    "str",
    "grouphead.layers.AveragePooling1D",
    "list[Any]",
    "list[int]",
    "str",
    "int",
]
WRONG = '''
import numpy as np
import grouphead
from grouphead import layers

layers.Dense()
layers.Dense(3, bias=True)
layers.NoSuchLayer(3)
grouphead.load_model(3)
grouphead.generate(None, [1], max_new_tokens="many")
grouphead.no_such_function
grouphead.attention(np.zeros(3))
grouphead.optimizers.Adam(rate=3)
grouphead._core.models.isa(3)
grouphead._core.models.no_such_function
'''


def messages(code, tmp_path):
    file = tmp_path / "program.py"
    file.write_text(code, encoding="utf-8")
    options = ["--cache-dir", str(tmp_path / "cache"), "--no-error-summary", str(file)]
    output, errors, _ = api.run(options)
    assert not errors
    return [line for line in output.splitlines() if "program.py:" in line]


def test_what_is_right_has_types(tmp_path):
    found = messages(RIGHT, tmp_path)
    assert not [line for line in found if ": error:" in line]
    notes = [line for line in found if "Revealed type" in line]
    assert len(notes) == len(TYPES)
    for note, wanted in zip(notes, TYPES):
        assert wanted in note.replace("builtins.", ""), note


def test_what_is_wrong_is_an_error(tmp_path):
    found = [line for line in messages(WRONG, tmp_path) if ": error:" in line]
    lines = {int(line.split("program.py:")[1].split(":")[0]) for line in found}
    first = WRONG[: WRONG.index("layers.Dense()")].count("\n") + 1
    assert lines == set(range(first, WRONG.count("\n") + 1))
