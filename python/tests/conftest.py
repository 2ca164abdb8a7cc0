import os

# Keras's own choice is a package that nobody here needs.
os.environ.setdefault("KERAS_BACKEND", "jax")
