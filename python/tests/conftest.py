import os
import signal

# Keras's own choice is a package that nobody here needs.
os.environ.setdefault("KERAS_BACKEND", "jax")
# A shell's jobs in the background ignore Ctrl-C, which some tests press.
signal.signal(signal.SIGINT, signal.default_int_handler)
