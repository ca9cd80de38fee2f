"""Losses and optimizers as scripts write them: Keras objects, tf.train, or by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .text import Text

if TYPE_CHECKING:
    from .spec import Loss, Network, Optimizer

HAND = {"sgd": ("velocity",), "adam": ("m", "v"), "rmsprop": ("v",)}
"""Slots of an optimizer written by hand."""


def keras_loss(loss: Loss) -> str:
    """The expression that makes a Keras loss object."""
    words = ['reduction="sum"'] if loss.sum else []
    if loss.kind == "mse":
        return f"keras.losses.MeanSquaredError({', '.join(words)})"
    words = [f"label_smoothing={loss.smoothing}"] * bool(loss.smoothing) + words
    words = ["from_logits=True"] * loss.from_logits + words
    name = "SparseCategoricalCrossentropy" if loss.kind == "sparse" else "CategoricalCrossentropy"
    return f"keras.losses.{name}({', '.join(words)})"


def raw_loss(network: Network, penalties: list[tuple[str, str]]) -> Text:
    """`loss` from labels `y` and the network's output `h`, with tf.nn; penalties are layer names and expressions."""
    text, loss = Text(), network.loss
    labels = "y"
    if loss.smoothing:
        labels = "labels"
        text.add(f"labels = y * (1 - {loss.smoothing}) + {loss.smoothing / network.outputs}", "loss/labels")
    if loss.kind == "mse":
        each = "tf.reduce_mean(tf.square(h - y), 1)"
    elif loss.kind == "sparse" and loss.from_logits:
        each = "tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=h)"
    elif loss.kind == "sparse":
        each = "-tf.math.log(tf.gather(h, y, axis=1, batch_dims=1))"
    elif loss.from_logits:
        each = f"tf.nn.softmax_cross_entropy_with_logits(labels={labels}, logits=h)"
    else:
        each = f"-tf.reduce_sum({labels} * tf.math.log(h), 1)"
    text.add(f"each = {each}", "loss/each")
    text.add(f"loss = tf.reduce_{'sum' if loss.sum else 'mean'}(each)", "loss/reduced")
    for layer, penalty in penalties:
        text.add(f"loss += {penalty}", "loss/penalty", f"{layer}/l2")
    return text


def v1_loss(network: Network, layers: list[str]) -> Text | None:
    """With tf.losses, where that has it; `layers` are those with a penalty."""
    text, loss = Text(), network.loss
    if loss.kind == "mse" or not loss.from_logits:
        return None
    words = ", reduction=tf.losses.Reduction.SUM" if loss.sum else ""
    if loss.kind == "sparse":
        text.add(f"loss = tf.losses.sparse_softmax_cross_entropy(y, h{words})", "loss")
    else:
        words = f", label_smoothing={loss.smoothing}{words}" if loss.smoothing else words
        text.add(f"loss = tf.losses.softmax_cross_entropy(y, h{words})", "loss")
    if layers:
        labels = [f"{layer}/l2" for layer in layers]
        text.add("loss += tf.add_n(tf.losses.get_regularization_losses())", "loss/penalty", *labels)
    return text


def keras_optimizer(optimizer: Optimizer) -> Text:
    """`optimizer`, and `schedule` where there is one."""
    text, rate = Text(), str(optimizer.rate)
    if optimizer.boundary is not None:
        values = f"[{optimizer.boundary}], [{optimizer.rate}, {optimizer.rate / 10}]"
        text.add(f"schedule = keras.optimizers.schedules.PiecewiseConstantDecay({values})", "opt/schedule")
        rate = "schedule"
    words = [rate]
    words += [f"momentum={optimizer.momentum}"] * bool(optimizer.momentum)
    words += ["nesterov=True"] * optimizer.nesterov
    words += [f"beta_1={optimizer.beta1}"] * (optimizer.beta1 != 0.9)
    words += [f"beta_2={optimizer.beta2}"] * (optimizer.beta2 != 0.999)
    words += [f"rho={optimizer.rho}"] * (optimizer.rho != 0.9)
    words += [f"epsilon={optimizer.epsilon}"] * (optimizer.kind != "sgd")
    words += [f"weight_decay={optimizer.decay}"] * bool(optimizer.decay)
    words += [] if optimizer.clip is None else [f"global_clipnorm={optimizer.clip}"]
    name = {"sgd": "SGD", "adam": "Adam", "rmsprop": "RMSprop"}[optimizer.kind]
    text.add(f"optimizer = keras.optimizers.{name}({', '.join(words)})", "opt/make", "opt/clip")
    return text


def v1_optimizer(optimizer: Optimizer, parameters: list[str] | None, session_updates: str) -> Text:
    """`train`, an op: gradients of `loss`, clipped where wanted, applied with what else is updated."""
    text, rate = Text(), str(optimizer.rate)
    text.add("global_step = tf.train.get_or_create_global_step()")
    if optimizer.boundary is not None:
        values = f"[{optimizer.boundary}], [{optimizer.rate}, {optimizer.rate / 10}]"
        text.add(f"rate = tf.train.piecewise_constant(global_step, {values})", "opt/schedule")
        rate = "rate"
    if optimizer.kind == "adam":
        words = f"{rate}, beta1={optimizer.beta1}, beta2={optimizer.beta2}, epsilon={optimizer.epsilon}"
        text.add(f"optimizer = tf.train.AdamOptimizer({words})", "opt/make")
    elif optimizer.momentum:
        words = f"{rate}, {optimizer.momentum}" + ", use_nesterov=True" * optimizer.nesterov
        text.add(f"optimizer = tf.train.MomentumOptimizer({words})", "opt/make")
    else:
        text.add(f"optimizer = tf.train.GradientDescentOptimizer({rate})", "opt/make")
    given = f", var_list=[{', '.join(parameters)}]" if parameters is not None else ""
    text.add(f"pairs = optimizer.compute_gradients(loss{given})", "gradient")
    if optimizer.clip is not None:
        text.add(f"clipped, _ = tf.clip_by_global_norm([g for g, _ in pairs], {optimizer.clip})", "opt/clip")
        text.add("pairs = [(g, v) for g, (_, v) in zip(clipped, pairs)]", "opt/clip")
    text.add("train = optimizer.apply_gradients(pairs, global_step=global_step)", "apply")
    text.add(f"train = tf.group(train, {session_updates})")
    return text


def hand_slots(optimizer: Optimizer) -> Text:
    """Slots of the variables in `parameters`."""
    text = Text()
    if optimizer.kind == "sgd" and not optimizer.momentum:
        return text
    for slot in HAND[optimizer.kind]:
        text.add(f"{slot}s = [tf.Variable(tf.zeros_like(p), trainable=False) for p in parameters]", "opt/slot")
    return text


def hand_update(optimizer: Optimizer) -> Text:
    """From `gradients` and the number of the step, `step`, which counts from 0; eager."""
    text, rate = Text(), str(optimizer.rate)
    if optimizer.clip is not None:
        text.add(f"gradients, _ = tf.clip_by_global_norm(gradients, {optimizer.clip})", "opt/clip")
    if optimizer.boundary is not None:
        text.add(f"rate = {rate} if step <= {optimizer.boundary} else {optimizer.rate / 10}", "opt/schedule")
        rate = "rate"
    if optimizer.kind == "adam":
        root = f"(1 - {optimizer.beta2} ** (step + 1)) ** 0.5"
        text.add(f"size = {rate} * {root} / (1 - {optimizer.beta1} ** (step + 1))", "apply")
    slots = () if optimizer.kind == "sgd" and not optimizer.momentum else HAND[optimizer.kind]
    names = "".join(f", {slot}" for slot in slots)
    text.add(f"for p, g{names} in zip(parameters, gradients{''.join(f', {slot}s' for slot in slots)}):", "apply")
    if optimizer.decay:
        text.add(f"    p.assign_sub({rate} * {optimizer.decay} * p)", "apply")
    if optimizer.kind == "adam":
        text.add(f"    m.assign({optimizer.beta1} * m + (1 - {optimizer.beta1}) * g)", "apply")
        text.add(f"    v.assign({optimizer.beta2} * v + (1 - {optimizer.beta2}) * g * g)", "apply")
        text.add(f"    p.assign_sub(size * m / (tf.sqrt(v) + {optimizer.epsilon}))", "apply")
    elif optimizer.kind == "rmsprop":
        text.add(f"    v.assign({optimizer.rho} * v + (1 - {optimizer.rho}) * g * g)", "apply")
        text.add(f"    p.assign_sub({rate} * g / tf.sqrt(v + {optimizer.epsilon}))", "apply")
    elif optimizer.momentum:
        text.add(f"    velocity.assign({optimizer.momentum} * velocity + g)", "apply")
        moved = f"(g + {optimizer.momentum} * velocity)" if optimizer.nesterov else "velocity"
        text.add(f"    p.assign_sub({rate} * {moved})", "apply")
    else:
        text.add(f"    p.assign_sub({rate} * g)", "apply")
    return text
