"""All hypotheses, in the order in which they are tried: a new cause is one function and one line here."""

from __future__ import annotations

from tfdiff.causes import (
    architecture,
    between,
    carried,
    data,
    dropout,
    dtype,
    evaluation,
    gradients,
    init,
    layers,
    lookups,
    loss,
    loss_kind,
    loss_weights,
    masks,
    nonfinite,
    normalization,
    optimizer,
    optimizers,
    order,
    penalties,
    recurrence,
    residual,
    scaling,
    smoothing,
    state,
    training,
    windows,
)
from tfdiff.causes.hypothesis import Hypothesis

UNEXPLAINED = "unexplained"

HYPOTHESES: tuple[Hypothesis, ...] = (
    Hypothesis(
        ("non-finite",),
        ("data", "init", "forward", "loss", "backward", "update", "state"),
        nonfinite.non_finite,
    ),
    Hypothesis(("data-labels",), ("data",), data.labels),
    Hypothesis(("data-scale",), ("data",), data.scale),
    Hypothesis(("data-augmentation",), ("data",), data.augmentation),
    Hypothesis(("data-shift",), ("data",), data.shift),
    Hypothesis(("data-shuffle",), ("data",), data.shuffle),
    Hypothesis(("data-dropped-batch",), ("data",), data.dropped_batch),
    Hypothesis(("data-batch-size",), ("data",), data.batch_size),
    Hypothesis(("init-distribution",), ("init",), init.distribution),
    Hypothesis(("dtype",), ("forward", "loss"), dtype.other_dtype),
    Hypothesis(("dropout-rate",), ("forward",), dropout.dropout_rate),
    Hypothesis(("dropout-rate",), ("forward",), dropout.dropout_rate_behind),
    Hypothesis(("data-scale",), ("forward",), scaling.input_scale),
    Hypothesis(("embedding-offset",), ("forward",), lookups.embedding_offset),
    Hypothesis(("stride-or-pool", "padding"), ("forward",), windows.window),
    Hypothesis(("training-flag",), ("forward",), normalization.training_flag),
    Hypothesis(("loss-from-logits",), ("forward", "loss"), loss.loss_from_logits),
    Hypothesis(("loss-smoothing",), ("loss",), smoothing.label_smoothing),
    Hypothesis(("loss-kind",), ("loss",), loss_kind.loss_kind),
    Hypothesis(("loss-weights",), ("loss",), loss_weights.loss_weights),
    Hypothesis(("state-reset",), ("forward", "state"), carried.state_reset),
    Hypothesis(("arch-order",), ("forward",), recurrence.other_direction),
    Hypothesis(("arch-order",), ("forward",), order.order),
    Hypothesis(("activation",), ("forward", "loss"), layers.activation),
    Hypothesis(("norm-epsilon",), ("forward",), normalization.norm_epsilon),
    Hypothesis(("mask",), ("forward", "loss"), masks.mask),
    Hypothesis(("loss-reduction",), ("loss", "forward"), loss.loss_reduction),
    Hypothesis(("loss-regularization-missing",), ("loss",), penalties.regularization_missing),
    Hypothesis(("training-flag", "arch-missing-layer", "arch-extra-layer"), ("forward",), dropout.dropout_absent),
    Hypothesis(("bias-missing",), ("forward",), layers.bias_missing),
    Hypothesis(("arch-missing-layer", "arch-extra-layer"), ("forward",), residual.bypass),
    Hypothesis(("arch-extra-layer",), ("forward",), architecture.extra_layer),
    Hypothesis(("arch-missing-layer",), ("forward",), architecture.missing_layer),
    Hypothesis(("arch-extra-layer", "arch-missing-layer"), ("forward",), between.layers_between),
    Hypothesis(("arch-extra-layer", "arch-missing-layer"), ("forward",), architecture.layers_behind),
    Hypothesis(("arch-width",), ("forward",), architecture.width),
    Hypothesis(("lr", "lr-schedule"), ("update",), optimizers.other_rate),
    Hypothesis(("lr", "lr-schedule"), ("update",), optimizers.learning_rate),
    Hypothesis(("weight-decay",), ("update",), optimizer.weight_decay),
    Hypothesis(
        (
            "optimizer-kind",
            "optimizer-epsilon",
            "optimizer-betas",
            "optimizer-momentum",
            "optimizer-nesterov",
            "optimizer-bias-correction",
            "optimizer-amsgrad",
            "optimizer-centered",
            "optimizer-accumulator",
            "weight-decay",
        ),
        ("update",),
        optimizers.other_optimizer,
    ),
    Hypothesis(("grad-scale",), ("backward", "update"), gradients.gradient_scale),
    Hypothesis(("grad-clipping",), ("backward", "update"), gradients.gradient_clipping),
    Hypothesis(("grad-stopped",), ("backward",), training.gradient_stopped),
    Hypothesis(("frozen-layer",), ("backward", "update"), training.frozen),
    Hypothesis(("state-norm-momentum",), ("state",), state.momentum),
    Hypothesis(("state-norm-variance",), ("state",), state.unbiased_variance),
    Hypothesis(("state-updates-not-run",), ("state",), state.updates_not_run),
    Hypothesis(("eval-data",), ("eval",), evaluation.eval_data),
    Hypothesis(("eval-mode",), ("eval",), evaluation.eval_mode),
    Hypothesis(("eval-metric",), ("eval",), evaluation.eval_metric),
)

OVERRULED: dict[str, frozenset[str]] = {
    "loss-from-logits": frozenset({"activation"}),
    "arch-order": frozenset({"activation", "training-flag", "arch-missing-layer", "arch-extra-layer"}),
    "arch-missing-layer": frozenset({"activation"}),
    "arch-extra-layer": frozenset({"activation"}),
    "lr": frozenset({"grad-scale", "grad-clipping"}),
    "lr-schedule": frozenset({"grad-scale", "grad-clipping"}),
}
"""What is not said any more once the key is proved: the same numbers in less fitting words."""


def returnable() -> frozenset[str]:
    """Every code that can be returned."""
    return frozenset({UNEXPLAINED, *(code for hypothesis in HYPOTHESES for code in hypothesis.codes)})
