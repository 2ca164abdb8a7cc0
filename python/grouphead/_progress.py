"""What fit() shows while it runs: a bar in terminals and notebooks, else a line for each epoch."""

import sys
import time

_WIDTH = 20
_SHORTEST_PAUSE = 0.1  # seconds between two pictures of a bar


def _is_notebook():
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return shell is not None and hasattr(shell, "kernel")


def _verbosity(verbose):
    if verbose == "auto":
        return 1 if sys.stdout.isatty() or _is_notebook() else 2
    if verbose not in (0, 1, 2, True, False):
        raise ValueError(f"verbose: expected 'auto', 0, 1 or 2, got {verbose!r}")
    return int(verbose)


def _numbers(logs):
    return "".join(f" - {name}: {value:.4g}" for name, value in logs.items())


class Progress:
    """Shows a training, and keeps the numbers of its epochs."""

    def __init__(self, verbose, epochs):
        self._verbose = _verbosity(verbose)
        self._epochs = epochs
        self._epoch = None
        self._begin = self._shown = 0.0
        self.history = {}
        self.epochs = []

    def __call__(self, epoch, step, steps, epoch_is_over, logs):
        now = time.monotonic()
        if epoch != self._epoch:
            self._epoch, self._shown = epoch, 0.0
            self._begin = now if self._begin == 0.0 else self._end
            if self._verbose:
                print(f"Epoch {epoch + 1}/{self._epochs}", flush=True)
        if epoch_is_over:
            self._end = now
            self.epochs.append(epoch)
            for name, value in logs.items():
                self.history.setdefault(name, []).append(value)
        if self._verbose == 1 and (epoch_is_over or now - self._shown > _SHORTEST_PAUSE):
            self._shown = now
            self._bar(step, steps, epoch_is_over, now, logs)
        elif self._verbose == 2 and epoch_is_over:
            print(f"{step} steps - {now - self._begin:.1f} s{_numbers(logs)}", flush=True)

    def start(self):
        """Where the first epoch's time begins."""
        self._begin = self._end = time.monotonic()

    def _bar(self, step, steps, is_over, now, logs):
        steps = step if is_over else steps
        done = _WIDTH if is_over else int(_WIDTH * step / steps) if steps > 0 else 0
        bar = "━" * done + "─" * (_WIDTH - done)
        seconds = now - self._begin
        left = ""
        if not is_over and steps > 0 and step > 0:
            left = f", {seconds / step * (steps - step):.0f} s left"
        of = f"/{steps}" if steps > 0 else ""
        text = f"{step}{of} {bar} {seconds:.0f} s{left}{_numbers(logs)}"
        encoding = getattr(sys.stdout, "encoding", None) or "ascii"
        text = text.encode(encoding, "replace").decode(encoding)
        end = "\n" if is_over else ""
        print(f"\r\x1b[K{text}" if sys.stdout.isatty() else f"\r{text:<100}", end=end, flush=True)
