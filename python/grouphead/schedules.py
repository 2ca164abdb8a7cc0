"""Keras's schedules of learning rates."""

from . import _described
from ._core import models as _core


class LearningRateSchedule(_described.Rule):
    """Base class of the schedules."""

    _complete = staticmethod(_core.schedule)

    def __call__(self, step):
        """The rate of a step, from 0."""
        return _core.learning_rate_at(self._envelope(), int(step))


__all__ = ["LearningRateSchedule", "deserialize", "serialize"]
__all__ += _described.add_classes("schedules", LearningRateSchedule, globals())


def deserialize(config):
    return _described.from_envelope(globals(), config)


def serialize(schedule):
    return schedule._envelope()
