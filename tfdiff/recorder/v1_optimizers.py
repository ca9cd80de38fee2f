"""`tf.compat.v1.train.*Optimizer`: what they are handed, their rate, their slots.

One hook for all ways of running them: in eager code, in functions, and in the graphs of TensorFlow 1, where the call
only adds ops, which a session may run later.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tfdiff.recorder.parts import Parts
    from tfdiff.recorder.patching import Patches
    from tfdiff.recorder.recording import Recording

_KERAS_NAMES = {"lr": "learning_rate", "beta1": "beta_1", "beta2": "beta_2", "decay": "rho", "use_nesterov": "nesterov"}
"""Settings that Keras calls otherwise: causes know Keras' names."""
_RATES = ("_lr_t", "_learning_rate_tensor")


def install(parts: Parts, patches: Patches) -> None:
    """Hook into the optimizers' base class."""
    from tensorflow.python.eager import context
    from tensorflow.python.framework import ops
    from tensorflow.python.training.optimizer import Optimizer

    recording = parts.recording

    def make_init(original: Callable[..., Any]) -> Callable[..., Any]:
        def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807 - its name
            recording.context.created(self)
            original(self, *args, **kwargs)

        return __init__

    def make_apply(original: Callable[..., Any]) -> Callable[..., Any]:
        def apply_gradients(self: Any, grads_and_vars: Any, *args: Any, **kwargs: Any) -> Any:
            if not recording.active or recording.context.within("optimizer"):
                return original(self, grads_and_vars, *args, **kwargs)
            pairs = tuple(grads_and_vars)  # often a zip, which can be read once
            graph = None if context.executing_eagerly() else ops.get_default_graph()
            with applying(parts, self, pairs, graph):
                return original(self, pairs, *args, **kwargs)

        return apply_gradients

    patches.wrap(Optimizer, "__init__", make_init)
    patches.wrap(Optimizer, "apply_gradients", make_apply)


@contextlib.contextmanager
def applying(parts: Parts, optimizer: Any, grads_and_vars: Sequence[tuple[Any, Any]], graph: Any) -> Iterator[None]:
    """Around an `apply_gradients` call; `graph` is None in eager code, and a TF1 graph has no `captures`."""
    gradients, variables = [g for g, _ in grads_and_vars], [v for _, v in grads_and_vars]
    if graph is not None and not hasattr(graph, "captures"):
        with parts.building.applying(optimizer, grads_and_vars), parts.recording.context.inside("optimizer", optimizer):
            yield
        note_slots(parts.recording, optimizer)
        return
    with parts.recording.context.inside("optimizer", optimizer):
        yield
    # behind the call: only now the tensor of the rate exists, and asking the user's own function twice may change it
    parts.passes.apply(optimizer, gradients, variables, graph)
    note_slots(parts.recording, optimizer)


def note_slots(recording: Recording, optimizer: Any) -> None:
    """The optimizer has its variables now: slots of the weights, and settings of its own (powers of the betas)."""
    for kind, variables in (("slot", slots_of(optimizer)), ("hyper", optimizer._non_slot_variables())):
        for variable in variables:
            entry = recording.variables.of(variable)
            if entry is not None:
                entry.kind = kind


def slots_of(optimizer: Any) -> list[Any]:
    """Every slot variable it has made so far."""
    return [slot for by_variable in optimizer._slots.values() for slot in by_variable.values()]


def settings_of(optimizer: Any) -> dict[str, Any]:
    """What it was made with, as far as it is made of JSON values, under the names Keras has for it."""
    found = {name.lstrip("_"): value for name, value in vars(optimizer).items() if _is_plain(value)}
    return {_KERAS_NAMES.get(name, name): value for name, value in found.items()}


def _is_plain(value: Any) -> bool:
    return isinstance(value, (bool, int, float)) and not hasattr(value, "shape")


def rate_of(optimizer: Any) -> Any:
    """The learning rate it has just used, None before its first call."""
    return next((getattr(optimizer, name) for name in _RATES if getattr(optimizer, name, None) is not None), None)
