"""Ways of computing a number from outputs and labels: which of them gives the number that a run reported."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    from tfdiff.comparison.eval_pairing import EvalPair, Evaluation

    Array = npt.NDArray[Any]
    Formula = Callable[[Array, Array], float]

EPSILON = 1e-7
MOST_PLACES = 5


def explained(side: Evaluation, kind: str, value: float) -> str | None:
    """The name of the first formula that gives this number from the side's own outputs and labels."""
    return next((name for name, found in candidates(side, kind) if _fits(found, value, side.info.rows, kind)), None)


def candidates(side: Evaluation, kind: str) -> Iterator[tuple[str, float]]:
    """What every formula of a kind gives."""
    data = outputs_and_labels(side)
    if data is None:
        return
    outputs, labels = data
    for name, formula in FORMULAS.get(kind, {}).items():
        with np.errstate(all="ignore"):
            try:
                value = formula(outputs, labels)
            except (ValueError, IndexError):
                continue
        if np.isfinite(value):
            yield name, float(value)


def outputs_and_labels(side: Evaluation) -> tuple[Array, Array] | None:
    """All rows of the one output and of the one label; None where there are more, or not all rows were kept."""
    if len(side.outputs) != 1 or len(side.labels) != 1:
        return None
    outputs = side.block.array(side.outputs[0].index).astype(np.float64)
    labels = side.block.array(side.labels[0].index)
    if len(outputs) != side.info.rows or len(labels) != side.info.rows or side.labels[0].site.op == "RowStatistics":
        return None
    return outputs, labels


def matching_labels(pair: EvalPair) -> bool:
    """Whether both passes saw the same labels, whatever form they have; True where that cannot be told."""
    found = outputs_and_labels(pair.a), outputs_and_labels(pair.b)
    if found[0] is None or found[1] is None:
        return True
    a, b = (_classes(labels) for _, labels in found)  # type: ignore[misc]
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=1e-5, atol=1e-6))


def _fits(found: float, value: float, rows: int, kind: str) -> bool:
    slack = 0.6 / max(rows, 1) if kind == "accuracy" else 2e-4 * max(abs(value), 1e-6)
    return abs(found - value) <= slack


def _classes(labels: Array) -> Array:
    """One-hot rows as class numbers."""
    values: Array = labels.reshape(len(labels), -1).astype(np.float64)
    if values.shape[1] > 1 and np.all((values == 0) | (values == 1)) and np.all(values.sum(1) == 1):
        return np.asarray(values.argmax(1), np.float64)
    return np.asarray(values[:, 0] if values.shape[1] == 1 else values)


def _one_hot(labels: Array, width: int) -> Array:
    classes = _classes(labels)
    return np.asarray(classes if classes.ndim > 1 else np.eye(width)[classes.astype(int)])


def _argmax(p: Array, t: Array) -> float:
    return float((p.argmax(-1).reshape(-1) == _classes(t).reshape(-1)).mean()) if p.ndim > 1 else float("nan")


def _threshold(limit: float) -> Formula:
    def formula(p: Array, t: Array) -> float:
        wanted = _one_hot(t, p.shape[-1]) if p.ndim > 1 and p.shape[-1] > 1 else _classes(t).reshape(p.shape)
        return float(((p > limit) == (wanted > 0.5)).mean())

    return formula


def _every(p: Array, t: Array) -> float:
    """Rows of one column against labels without columns: subtracting them makes a table of all pairs."""
    one = p.reshape(-1, 1) > 0.5 if p.ndim == 2 and p.shape[1] == 1 else np.zeros((0, 1), bool)
    return float((one == (_classes(t).reshape(1, -1) > 0.5)).mean()) if one.size else float("nan")


def _top(count: int) -> Formula:
    def formula(p: Array, t: Array) -> float:
        if p.ndim != 2 or p.shape[1] <= count:
            return float("nan")
        return float((np.argsort(-p, axis=1)[:, :count] == _classes(t)[:, None]).any(axis=1).mean())

    return formula


def _columns(p: Array, t: Array) -> float:
    """`argmax` over the rows of the batch: the axis that `tf.argmax` takes when it is given none."""
    return float((p.argmax(0) == _one_hot(t, p.shape[-1]).argmax(0)).mean()) if p.ndim == 2 else float("nan")


def _log_softmax(p: Array) -> Array:
    shifted = p - p.max(-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(-1, keepdims=True)))


def _entropy(p: Array, t: Array) -> Array:
    """Cross-entropy of each row of probabilities."""
    return np.asarray(-(_one_hot(t, p.shape[-1]) * np.log(np.clip(p, EPSILON, 1.0))).sum(-1))


def _entropy_of_logits(p: Array, t: Array) -> Array:
    return np.asarray(-(_one_hot(t, p.shape[-1]) * _log_softmax(p)).sum(-1))


def _binary(p: Array, t: Array) -> Array:
    wanted, p = _classes(t).reshape(p.shape), np.clip(p, EPSILON, 1.0 - EPSILON)
    return np.asarray(-(wanted * np.log(p) + (1.0 - wanted) * np.log(1.0 - p)))


def _binary_of_logits(p: Array, t: Array) -> Array:
    wanted = _classes(t).reshape(p.shape)
    return np.asarray(np.maximum(p, 0.0) - p * wanted + np.log1p(np.exp(-np.abs(p))))


def _difference(p: Array, t: Array) -> Array:
    return np.asarray(p.reshape(len(p), -1) - t.reshape(len(t), -1))


def _wide(p: Array) -> bool:
    return p.ndim > 1 and p.shape[-1] > 1


FORMULAS: dict[str, dict[str, Formula]] = {
    "accuracy": {
        "argmax equals the class": _argmax,
        "output > 0.5": _threshold(0.5),
        "output > 0": _threshold(0.0),
        **{f"output > {limit / 10:g}": _threshold(limit / 10) for limit in (1, 2, 3, 4, 6, 7, 8, 9)},
        "each output against every label": _every,
        **{f"class among the top {k}": _top(k) for k in range(2, MOST_PLACES + 1)},
        "argmax over axis 0": _columns,
        "share of wrong rows": lambda p, t: 1.0 - _argmax(p, t) if _wide(p) else 1.0 - _threshold(0.5)(p, t),
    },
    "loss": {
        "mean cross-entropy of probabilities": lambda p, t: _entropy(p, t).mean() if _wide(p) else _binary(p, t).mean(),
        "mean cross-entropy of logits": lambda p, t: (
            _entropy_of_logits(p, t).mean() if _wide(p) else _binary_of_logits(p, t).mean()
        ),
        "summed cross-entropy of logits": lambda p, t: _entropy_of_logits(p, t).sum(),
        "mean squared error": lambda p, t: (_difference(p, t) ** 2).mean(),
        "half the mean squared error": lambda p, t: 0.5 * (_difference(p, t) ** 2).mean(),
        "mean absolute error": lambda p, t: np.abs(_difference(p, t)).mean(),
    },
    "mean squared error": {
        "mean squared error": lambda p, t: (_difference(p, t) ** 2).mean(),
        "root mean squared error": lambda p, t: float(np.sqrt((_difference(p, t) ** 2).mean())),
        "half the mean squared error": lambda p, t: 0.5 * (_difference(p, t) ** 2).mean(),
        "squared error summed over a row": lambda p, t: (_difference(p, t) ** 2).sum(-1).mean(),
    },
    "mean absolute error": {
        "mean absolute error": lambda p, t: np.abs(_difference(p, t)).mean(),
        "absolute error summed over a row": lambda p, t: np.abs(_difference(p, t)).sum(-1).mean(),
    },
}
"""By kind of number: name and function of all outputs and labels. The first one that fits is named."""
