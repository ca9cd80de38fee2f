"""Writers: a network as a script in each style of TensorFlow's API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import spec, training
from .keras_layers import KerasLayers
from .raw_layers import HELPERS, RawLayers
from .text import Text
from .v1_layers import V1Layers

if TYPE_CHECKING:
    from collections.abc import Callable

    from .spec import Network

LEGACY = ("import os", "", 'os.environ["TF_USE_LEGACY_KERAS"] = "1"', "")


def _data(text: Text, network: Network) -> None:
    rows, shape = network.batch * network.steps, ", ".join(map(str, network.shape))
    if network.vocabulary:
        ids = f"RandomState(5).randint(0, {network.vocabulary - 1}, size=({rows}, {shape}))"
        text.add(f'X = np.random.{ids}.astype("int32")')
    else:
        text.add(f'X = np.random.RandomState(5).normal(size=({rows}, {shape})).astype("float32")')
    if network.loss.kind == "mse":
        size = f"({rows}, {network.outputs})"
        text.add(f'Y = np.random.RandomState(6).normal(size={size}).astype("float32")')
        return
    text.add(f"Y = np.random.RandomState(6).randint(0, {network.outputs}, size={rows})")
    if network.loss.kind == "onehot":
        text.add(f'Y = np.eye({network.outputs}, dtype="float32")[Y]')


def _keras_head(text: Text, network: Network, seed: int, *, legacy: bool = False) -> None:
    if legacy:
        text.block(*LEGACY, "import numpy as np", "import tensorflow as tf", "", "keras = tf.keras")
        text.block("layers = keras.layers", f"keras.utils.set_random_seed({seed})", "")
    else:
        text.block("import keras", "import numpy as np", "import tensorflow as tf", "from keras import layers", "")
        text.block(f"keras.utils.set_random_seed({seed})")
    _data(text, network)
    text.add("")


def _functional(network: Network, *, legacy: bool) -> Text:
    body = Text()
    dtype = ', dtype="int32"' if network.vocabulary else ""
    body.add(f"inputs = keras.Input({network.shape}{dtype})", "input")
    body.add("h = inputs")
    writer = KerasLayers("functional", body, body, legacy=legacy)
    writer.write(network.layers, network.vocabulary)
    if network.loss.softmax:
        writer.softmax()
    body.add("model = keras.Model(inputs, h)")
    body.add("")
    return body


def _compiled(text: Text, network: Network) -> None:
    text.extend(training.keras_optimizer(network.optimizer))
    text.add(f"model.compile(optimizer=optimizer, loss={training.keras_loss(network.loss)})", "loss")


def _slices(text: Text, network: Network, *, constants: bool) -> None:
    text.add(f"for step in range({network.steps}):")
    rows = f"step * {network.batch} : (step + 1) * {network.batch}"
    x, y = f"X[{rows}]", f"Y[{rows}]"
    text.add(f"    x, y = tf.constant({x}), tf.constant({y})" if constants else f"    x, y = {x}, {y}")


def keras_sequential(network: Network, seed: int) -> Text:
    """Sequential, compile, fit."""
    text, elements = Text(), Text()
    _keras_head(text, network, seed)
    dtype = ', dtype="int32"' if network.vocabulary else ""
    elements.add(f"layers.Input({network.shape}{dtype}),", "input")
    writer = KerasLayers("sequential", elements, elements)
    writer.write(network.layers, network.vocabulary)
    if network.loss.softmax:
        writer.softmax()
    text.block("model = keras.Sequential(", "    [")
    text.extend(elements, 2)
    text.block("    ]", ")")
    _compiled(text, network)
    text.add(f"model.fit(X, Y, batch_size={network.batch}, epochs=1, shuffle=False, verbose=0)", "fit")
    return text


def keras_functional(network: Network, seed: int) -> Text:
    """A functional model, fit on a dataset."""
    text = Text()
    _keras_head(text, network, seed)
    text.extend(_functional(network, legacy=False))
    _compiled(text, network)
    text.add(f"data = tf.data.Dataset.from_tensor_slices((X, Y)).batch({network.batch})")
    text.add("model.fit(data, epochs=1, verbose=0)", "fit")
    return text


def keras_on_batch(network: Network, seed: int) -> Text:
    """A functional model, train_on_batch."""
    text = Text()
    _keras_head(text, network, seed)
    text.extend(_functional(network, legacy=False))
    _compiled(text, network)
    _slices(text, network, constants=False)
    text.add("    model.train_on_batch(x, y)", "fit")
    return text


def legacy_fit(network: Network, seed: int) -> Text:
    """tf_keras: a functional model, fit."""
    text = Text()
    _keras_head(text, network, seed, legacy=True)
    text.extend(_functional(network, legacy=True))
    _compiled(text, network)
    text.add(f"model.fit(X, Y, batch_size={network.batch}, epochs=1, shuffle=False, verbose=0)", "fit")
    return text


def _tape(network: Network, call: str, weights: str, penalties: str) -> Text:
    text = Text()
    text.block("with tf.GradientTape() as tape:")
    text.add(f"    loss = loss_of(y, {call})", "loss")
    if any(getattr(layer, "l2", 0.0) for layer in spec.walk(network.layers)):
        text.add(f"    loss += tf.add_n({penalties})", "loss/penalty")
    text.add(f"gradients = tape.gradient(loss, {weights})", "gradient")
    text.add(f"optimizer.apply_gradients(zip(gradients, {weights}))", "apply")
    return text


def _keras_function(network: Network, seed: int, *, legacy: bool) -> Text:
    text = Text()
    _keras_head(text, network, seed, legacy=legacy)
    text.extend(_functional(network, legacy=legacy))
    text.add(f"loss_of = {training.keras_loss(network.loss)}", "loss")
    text.extend(training.keras_optimizer(network.optimizer))
    text.block("", "", "@tf.function", "def train_step(x, y):")
    text.extend(_tape(network, "model(x, training=True)", "model.trainable_variables", "model.losses"), 1)
    text.block("", "")
    text.block(f"for x, y in tf.data.Dataset.from_tensor_slices((X, Y)).batch({network.batch}):")
    text.add("    train_step(x, y)")
    return text


def keras_function(network: Network, seed: int) -> Text:
    """A Keras model, a compiled training step with a tape."""
    return _keras_function(network, seed, legacy=False)


def legacy_function(network: Network, seed: int) -> Text:
    """A tf_keras model, a compiled training step with a tape."""
    return _keras_function(network, seed, legacy=True)


def keras_own_step(network: Network, seed: int) -> Text:
    """A subclassed model with a train_step of its own."""
    text, made, call = Text(), Text(), Text()
    _keras_head(text, network, seed)
    writer = KerasLayers("objects", made, call, prefix="self.")
    writer.write(network.layers, network.vocabulary)
    if network.loss.softmax:
        writer.softmax()
    text.block("", "class Net(keras.Model):", "    def __init__(self):", "        super().__init__()")
    text.extend(made, 2)
    text.block("", "    def call(self, h, training=False):")
    text.extend(call, 2)
    text.block("        return h", "", "    def train_step(self, data):", "        x, y = data")
    text.block("        with tf.GradientTape() as tape:")
    text.add("            loss = self.compute_loss(x=x, y=y, y_pred=self(x, training=True))", "loss")
    text.add("        gradients = tape.gradient(loss, self.trainable_weights)", "gradient")
    text.add("        self.optimizer.apply(gradients, self.trainable_weights)", "apply")
    text.block('        return {"loss": loss}', "", "", "model = Net()")
    _compiled(text, network)
    text.add(f"model.fit(X, Y, batch_size={network.batch}, epochs=1, shuffle=False, verbose=0)", "fit")
    return text


def keras_eager(network: Network, seed: int) -> Text:
    """Keras layers in an eager loop with a tape."""
    text, call = Text(), Text()
    _keras_head(text, network, seed)
    writer = KerasLayers("objects", text, call)
    writer.write(network.layers, network.vocabulary)
    if network.loss.softmax:
        writer.softmax()
    names = ", ".join(writer.names)
    text.add(f"used = [{names}]")
    text.add(f"loss_of = {training.keras_loss(network.loss)}", "loss")
    text.extend(training.keras_optimizer(network.optimizer))
    text.block("", "", "def forward(h, training):")
    text.extend(call, 1)
    text.block("    return h", "", "")
    text.block(f"forward(tf.zeros((2, {', '.join(map(str, network.shape))}), X.dtype), training=False)")
    text.add("weights = [w for layer in used for w in layer.trainable_variables]")
    _slices(text, network, constants=True)
    text.extend(
        _tape(network, "forward(x, training=True)", "weights", "[p for layer in used for p in layer.losses]"), 1
    )
    return text


def _raw_head(text: Text, network: Network, seed: int) -> None:
    text.block("import keras", "import numpy as np", "import tensorflow as tf", "", f"tf.random.set_seed({seed})")
    _data(text, network)
    text.block(*HELPERS.splitlines())


def raw_eager(network: Network, seed: int) -> Text:
    """Variables and tf.nn, eager, the optimizer by hand."""
    text, call = Text(), Text()
    _raw_head(text, network, seed)
    writer = RawLayers(text, call)
    writer.write(network.layers, network.shape, network.vocabulary, network.batch)
    if network.loss.softmax:
        writer.softmax()
    text.add(f"parameters = [{', '.join(writer.parameters)}]", "parameters")
    text.extend(training.hand_slots(network.optimizer))
    text.block("", "", "def forward(h):")
    text.extend(call, 1)
    text.block("    return h", "", "")
    _slices(text, network, constants=True)
    text.block("    with tf.GradientTape() as tape:", "        h = forward(x)")
    text.extend(training.raw_loss(network, writer.penalties), 2)
    zero = "unconnected_gradients=tf.UnconnectedGradients.ZERO"
    text.add(f"    gradients = tape.gradient(loss, parameters, {zero})", "gradient")
    text.add("    gradients = [tf.convert_to_tensor(g) for g in gradients]", "gradient")
    text.extend(training.hand_update(network.optimizer), 1)
    return text


def raw_function(network: Network, seed: int) -> Text:
    """Variables and tf.nn in a compiled step, a Keras optimizer."""
    text, call = Text(), Text()
    _raw_head(text, network, seed)
    writer = RawLayers(text, call)
    writer.write(network.layers, network.shape, network.vocabulary, network.batch)
    if network.loss.softmax:
        writer.softmax()
    text.add(f"parameters = [{', '.join(writer.parameters)}]", "parameters")
    text.extend(training.keras_optimizer(network.optimizer))
    text.block("", "", "@tf.function", "def train_step(x, y):", "    with tf.GradientTape() as tape:", "        h = x")
    text.extend(call, 2)
    text.extend(training.raw_loss(network, writer.penalties), 2)
    text.add("    gradients = tape.gradient(loss, parameters)", "gradient")
    text.add("    optimizer.apply_gradients(zip(gradients, parameters))", "apply")
    text.block("", "")
    _slices(text, network, constants=True)
    text.add("    train_step(x, y)")
    return text


def module(network: Network, seed: int) -> Text:
    """A tf.Module with a compiled call, trained in an eager loop."""
    text, made, call = Text(), Text(), Text()
    _raw_head(text, network, seed)
    writer = RawLayers(made, call, prefix="self.")
    writer.write(network.layers, network.shape, network.vocabulary, network.batch)
    if network.loss.softmax:
        writer.softmax()
    text.block("class Net(tf.Module):", "    def __init__(self):", "        super().__init__()")
    text.extend(made, 2)
    text.block("", "    @tf.function", "    def __call__(self, h):")
    text.extend(call, 2)
    text.block("        return h", "", "", "net = Net()")
    text.extend(training.keras_optimizer(network.optimizer))
    _slices(text, network, constants=True)
    text.block("    with tf.GradientTape() as tape:", "        h = net(x)")
    penalties = [(layer, penalty.replace("self.", "net.")) for layer, penalty in writer.penalties]
    text.extend(training.raw_loss(network, penalties), 2)
    text.add("    gradients = tape.gradient(loss, net.trainable_variables)", "gradient")
    text.add("    optimizer.apply_gradients(zip(gradients, net.trainable_variables))", "apply")
    return text


def _v1(text: Text, network: Network, seed: int, kind: type[RawLayers]) -> RawLayers:
    text.block("import numpy as np", "import tensorflow.compat.v1 as tf", "")
    text.block("tf.disable_v2_behavior()", f"tf.set_random_seed({seed})")
    _data(text, network)
    text.block(*HELPERS.splitlines())
    shape = ", ".join(map(str, network.shape))
    text.add(f"x = tf.placeholder({'tf.int32' if network.vocabulary else 'tf.float32'}, [None, {shape}])", "input")
    labels = "tf.int32, [None]" if network.loss.kind == "sparse" else f"tf.float32, [None, {network.outputs}]"
    text.add(f"y = tf.placeholder({labels})")
    text.block("updates = []", "h = x")
    writer = kind(text, text, session=True)
    writer.write(network.layers, network.shape, network.vocabulary, network.batch)
    if network.loss.softmax:
        writer.softmax()
    return writer


def _session(text: Text, network: Network) -> None:
    text.block("", "with tf.Session() as session:", "    session.run(tf.global_variables_initializer())")
    loop = Text()
    _slices(loop, network, constants=False)
    loop.add("    session.run(train, {x: x_rows, y: y_rows})")
    for line in str(loop).splitlines():
        text.add("    " + line.replace("x, y =", "x_rows, y_rows ="))


def v1_session(network: Network, seed: int) -> Text:
    """TensorFlow 1: placeholders, variables, a session."""
    text = Text()
    writer = _v1(text, network, seed, RawLayers)
    text.extend(training.raw_loss(network, writer.penalties))
    text.add(f"parameters = [{', '.join(writer.parameters)}]", "parameters")
    text.extend(training.v1_optimizer(network.optimizer, ["*parameters"], "*updates"))
    _session(text, network)
    return text


def v1_layers(network: Network, seed: int) -> Text:
    """TensorFlow 1: tf.layers and tf.losses."""
    text = Text()
    text.block(*LEGACY)
    writer = _v1(text, network, seed, V1Layers)
    layers = [layer for layer, _ in writer.penalties]
    loss = training.v1_loss(network, layers)
    if loss is None:
        total = "tf.add_n(tf.losses.get_regularization_losses())"
        loss = training.raw_loss(network, [("all", total)] if layers else [])
    text.extend(loss)
    extra = "*updates, *tf.get_collection(tf.GraphKeys.UPDATE_OPS)"
    text.extend(training.v1_optimizer(network.optimizer, None, extra))
    _session(text, network)
    return text


STYLES: dict[str, Callable[[Network, int], Text]] = {
    style.__name__: style
    for style in (
        keras_sequential, keras_functional, keras_on_batch, keras_own_step, keras_eager, keras_function,
        legacy_fit, legacy_function, raw_eager, raw_function, module, v1_session, v1_layers,
    )
}  # fmt: skip
COMPILED_KERAS = {
    "keras_sequential", "keras_functional", "keras_on_batch", "keras_own_step", "keras_function",
    "legacy_fit", "legacy_function",
}  # fmt: skip
OVERRULING = {"keras_functional", "keras_on_batch", "keras_function"}
"""Where `training=False` in a layer's call has no effect: a functional model of Keras 3 hands its own to each layer."""
LEGACY_STYLES = {"legacy_fit", "legacy_function", "v1_layers"}


def expresses(style: str, network: Network) -> bool:
    """Whether the style can say this network, with the same meaning as the others."""
    layers = list(spec.walk(network.layers))
    loss, optimizer = network.loss, network.optimizer
    keras = style in COMPILED_KERAS or style == "keras_eager"
    if style == "keras_sequential" and any(
        isinstance(layer, (spec.Residual, spec.Attention))
        or getattr(layer, "offset", 0)
        or not getattr(layer, "training", True)
        for layer in layers
    ):
        return False
    if style in OVERRULING and not all(getattr(layer, "training", True) for layer in layers):
        return False
    if style in LEGACY_STYLES and any(isinstance(layer, spec.BatchNorm) for layer in layers) and len(network.shape) > 2:
        return False  # fused there: a variance of n - 1, and an epsilon of its own
    if style.startswith("v1") and (optimizer.kind == "rmsprop" or optimizer.decay):
        return False
    if keras and loss.softmax and loss.from_logits:
        return False  # Keras takes the softmax off again
    return keras or loss.softmax or loss.from_logits or loss.kind == "mse"
