"""What a run's rounding depends on besides its program: device, oneDNN, TF32, XLA, determinism, policy of dtypes."""

from __future__ import annotations

import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_CPUINFO = Path("/proc/cpuinfo")


def numerics() -> dict[str, str]:
    """By name, in words; what this TensorFlow does not tell is left out. Called once TensorFlow is in use."""
    found: dict[str, str] = {}
    gpus = _known(_gpus) or []
    found["device"] = ", ".join([*gpus, _cpu()])
    for name, ask in (("oneDNN", _one_dnn), ("XLA", _xla), ("deterministic ops", _deterministic)):
        answer = _known(ask)
        if answer is not None:
            found[name] = answer
    if gpus:
        tf32 = _known(_tf32)
        if tf32 is not None:
            found["TF32"] = tf32
    policy = _policy()
    return {**found, **({"dtype policy": policy} if policy else {})}


def switches() -> dict[str, str]:
    """How the program is run and what it takes by default, by name; called once TensorFlow is in use."""
    asked = {"eager mode": _eager, "functions run eagerly": _functions_eagerly, "auto mixed precision": _auto_mixed}
    keras = sys.modules.get("tf_keras") or sys.modules.get("keras")
    if keras is not None:
        asked["float type"] = lambda: str(keras.backend.floatx())
        asked["image data format"] = lambda: str(keras.backend.image_data_format())
    answers = {name: _known(ask) for name, ask in asked.items()}
    return {name: answer for name, answer in answers.items() if answer is not None}


def _eager() -> str:
    from tensorflow.python.framework import ops

    return _on(enabled=bool(ops.executing_eagerly_outside_functions()))


def _functions_eagerly() -> str:
    import tensorflow as tf

    return _on(enabled=bool(tf.config.functions_run_eagerly()))


def _auto_mixed() -> str | None:
    import tensorflow as tf

    on = tf.config.optimizer.get_experimental_options().get("auto_mixed_precision")
    return _on(enabled=True) if on else None


def _known(ask: Callable[[], Any]) -> Any:
    """The answer, None where this version of TensorFlow has none."""
    try:
        return ask()
    except (ImportError, AttributeError, RuntimeError, ValueError):
        return None


def _on(*, enabled: bool) -> str:
    return "on" if enabled else "off"


def _gpus() -> list[str]:
    """The GPUs in use, by what they are; their number and order on the machine say nothing."""
    import tensorflow as tf

    devices = tf.config.get_visible_devices("GPU")
    names = [tf.config.experimental.get_device_details(device).get("device_name", "unknown") for device in devices]
    return [f"GPU {name}" for name in names]


def _cpu() -> str:
    """The kind of CPU: its instructions decide which kernels are chosen."""
    name = ""
    if _CPUINFO.exists():
        lines = (line.partition(":") for line in _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines())
        name = next((value.strip() for key, _, value in lines if key.strip() == "model name"), "")
    return f"CPU {name or platform.processor() or platform.machine()}"


def _one_dnn() -> str:
    from tensorflow.python.util import _pywrap_util_port

    return _on(enabled=bool(_pywrap_util_port.IsMklEnabled()))


def _xla() -> str:
    import tensorflow as tf

    return str(tf.config.optimizer.get_jit() or "off")


def _deterministic() -> str:
    from tensorflow.python.framework import config

    return _on(enabled=bool(config.is_op_determinism_enabled()))


def _tf32() -> str:
    import tensorflow as tf

    return _on(enabled=bool(tf.config.experimental.tensor_float_32_execution_enabled()))


def _policy() -> str:
    """The policy of the Keras that the script uses; "" without one, or where layers go by their inputs."""
    keras, legacy = sys.modules.get("keras"), sys.modules.get("tf_keras")
    if legacy is not None:
        name = _known(lambda: legacy.mixed_precision.global_policy().name)
    else:
        name = _known(lambda: keras.mixed_precision.dtype_policy().name) if keras is not None else None
    return "" if name == "_infer" else str(name or "")
