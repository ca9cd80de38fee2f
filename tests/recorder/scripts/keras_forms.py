"""Forms of Keras: `keras_forms.py FORM keras|tf_keras STYLE [FAULT]`; a fault is planted where the line says so."""

from __future__ import annotations

import importlib
import sys

import numpy as np
import tensorflow as tf

form, library, style = sys.argv[1:4]
fault = sys.argv[4] if len(sys.argv) > 4 else ""
keras = importlib.import_module(library)
layers = keras.layers
data = np.random.RandomState(3)
N, B = 32, 8


def normal(*shape):
    """Normal numbers."""
    return data.normal(size=shape).astype("float32")


def crossentropy(**options):
    """The loss of a classifier."""
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True, **options)


def train(model, optimizer, loss_of, *arrays, epochs=2):
    """A loop by hand."""

    def step(*batch):
        with tf.GradientTape() as tape:
            loss = loss_of(*batch)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))

    step = tf.function(step) if style == "function" else step
    for _ in range(epochs):
        for k in range(0, N, B):
            step(*[tf.constant(a[k : k + B]) for a in arrays])


def several():
    """Two inputs, two outputs, a layer used twice, a model in the model, weighted losses."""
    a, b, y, z = normal(N, 6), normal(N, 6), normal(N, 1), data.randint(0, 4, N)
    first, second, inner = keras.Input((6,), name="first"), keras.Input((6,), name="second"), keras.Input((8,))
    shared = layers.Dense(8, activation="tanh", name="shared")
    encoder = keras.Model(inner, layers.Dense(5, activation="relu", name="inner")(inner), name="encoder")
    h = layers.Concatenate()([encoder(shared(first)), encoder(shared(second))])
    model = keras.Model([first, second], [layers.Dense(1, name="value")(h), layers.Dense(4, name="kind")(h)])
    optimizer, weight = keras.optimizers.Adam(0.01), 2.0 if fault else 0.5
    if style == "fit":
        losses = {"value": "mse", "kind": crossentropy()}
        model.compile(optimizer, losses, loss_weights={"value": 1.0, "kind": weight}, metrics={"kind": ["accuracy"]})
        targets = {"value": y, "kind": z}
        model.fit({"first": a, "second": b}, targets, batch_size=B, epochs=2, shuffle=False, verbose=0)
        return
    loss = crossentropy()

    def loss_of(x, w, t, u):
        value, kind = model([x, w], training=True)
        return tf.reduce_mean(tf.square(value - t)) + weight * loss(u, kind)  # mark: several

    train(model, optimizer, loss_of, a, b, y, z)


class Block(layers.Layer):
    """A layer of layers."""

    def __init__(self, units):
        super().__init__()
        self.dense = layers.Dense(units)
        self.norm = layers.BatchNormalization(momentum=0.5 if fault else 0.9)  # mark: subclass
        self.drop = layers.Dropout(0.2)

    def call(self, x, training=None):
        """Dense, batch norm, relu, dropout."""
        return self.drop(tf.nn.relu(self.norm(self.dense(x), training=training)), training=training)


class Network(keras.Model):
    """A subclassed model."""

    def __init__(self):
        super().__init__()
        self.block, self.last = Block(8), layers.Dense(2)

    def call(self, x, training=None):
        """Forward."""
        return self.last(self.block(x, training=training))


class OwnStep(Network):
    """One that trains in its own way."""

    def train_step(self, batch):
        """One step."""
        x, y = batch
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(self(x, training=True) - y))
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        return {"loss": loss}


def subclass():
    """A subclassed model; the legacy optimizer of tf_keras is another implementation of the same."""
    x, y = normal(N, 6), normal(N, 2)
    kinds = keras.optimizers.legacy if style == "own step" else keras.optimizers
    optimizer = kinds.SGD(0.05, momentum=0.9, nesterov=True)
    if style == "own step":
        model = OwnStep()
        model.compile(optimizer)
        model.fit(x, y, batch_size=B, epochs=2, shuffle=False, verbose=0, validation_data=(x + 1, y))
        return
    model = Network()
    model.compile(optimizer, "mse")
    for _ in range(2):
        for k in range(0, N, B):
            model.train_on_batch(x[k : k + B], y[k : k + B])
        model.test_on_batch(x[:B] + 1, y[:B])
        model.predict(x, verbose=0)


def callbacks():
    """The rate follows callbacks, part of the rows is kept for validation, the rows are shuffled."""
    x = normal(40, 6)
    y = (x.sum(1, keepdims=True) > 0).astype("float32")
    model = keras.Sequential([keras.Input((6,)), layers.Dense(8, activation="relu"), layers.Dense(1)])
    optimizer = keras.optimizers.SGD(0.1)  # mark: callbacks
    model.compile(optimizer, keras.losses.BinaryCrossentropy(from_logits=True), run_eagerly=style == "eagerly")
    slow = 0.5 if fault else 0.1
    called = [
        keras.callbacks.LearningRateScheduler(lambda epoch: 0.1 if epoch == 0 else 0.1 * slow),
        keras.callbacks.ReduceLROnPlateau(patience=9),
        keras.callbacks.EarlyStopping(patience=1, min_delta=-9.0, restore_best_weights=True),
    ]
    model.fit(x, y, batch_size=B, epochs=2, verbose=0, validation_split=0.2, callbacks=called)
    model.evaluate(x, y, verbose=0)


def mixed():
    """Half precision with loss scaling."""
    keras.mixed_precision.set_global_policy("mixed_float16")
    x, y = normal(N, 6), data.randint(0, 3, N)
    last = layers.Activation("linear", dtype="float32")
    model = keras.Sequential([keras.Input((6,)), layers.Dense(8, activation="relu"), layers.Dense(3), last])
    optimizer, loss = keras.optimizers.Adam(0.03 if fault else 0.01), crossentropy()  # mark: mixed
    if style == "fit":
        model.compile(optimizer, loss)
        model.fit(x, y, batch_size=B, epochs=2, shuffle=False, verbose=0)
        return
    scaling = keras.mixed_precision.LossScaleOptimizer(optimizer)
    scaling.build(model.trainable_variables)
    train(model, scaling, lambda a, b: scaling.scale_loss(loss(b, model(a, training=True))), x, y)


def weights():
    """Classes and rows with weights."""
    x, y, rows = normal(N, 6), data.randint(0, 3, N), data.uniform(0.5, 2, N).astype("float32")
    model = keras.Sequential([keras.Input((6,)), layers.Dense(8, activation="relu"), layers.Dense(3)])
    optimizer, loss = keras.optimizers.RMSprop(0.01), crossentropy()
    numbers = [1.0, 2.0, 3.0 if fault else 0.5]
    if style == "classes":
        model.compile(optimizer, loss)
        model.fit(x, y, class_weight=dict(enumerate(numbers)), batch_size=B, epochs=2, shuffle=False, verbose=0)
    elif style == "rows":
        model.compile(optimizer, loss)
        model.fit(x, y, sample_weight=rows, batch_size=B, epochs=2, verbose=0)
    elif style == "batches":
        model.compile(optimizer, loss)
        for k in range(0, N, B):
            model.train_on_batch(x[k : k + B], y[k : k + B], sample_weight=rows[k : k + B])
    else:

        def loss_of(a, b):
            each = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=b, logits=model(a, training=True))
            return tf.reduce_mean(each * tf.gather(tf.constant(numbers), b))  # mark: weights

        train(model, optimizer, loss_of, x, y)


class Penalty(layers.Layer):
    """Adds a loss of its own."""

    def call(self, x):
        """Hand on what comes in."""
        self.add_loss(0.001 * tf.reduce_sum(tf.square(x)))
        return x


def penalties():
    """Regularizers of kernel, bias and activity, and `add_loss`."""
    x, y = normal(N, 6), normal(N, 1)
    kinds, strength = keras.regularizers, 0.03 if fault else 0.01
    both = {"kernel_regularizer": kinds.l2(strength), "bias_regularizer": kinds.l1(0.002)}
    first = layers.Dense(8, activation="relu", **both)  # mark: penalties
    second = layers.Dense(5, activity_regularizer=kinds.l2(0.003))
    model = keras.Sequential([keras.Input((6,)), first, second, Penalty(), layers.Dense(1)])
    optimizer, loss = keras.optimizers.Adam(0.01), keras.losses.MeanSquaredError()
    if style == "fit":
        model.compile(optimizer, loss)  # mark: total
        model.fit(x, y, batch_size=B, epochs=2, shuffle=False, verbose=0)  # mark: total is called
        return

    def loss_of(a, b):
        value = loss(b, model(a, training=True))
        return value + tf.add_n(model.losses)

    train(model, optimizer, loss_of, x, y)


def augmentation():
    """A layer that draws random numbers in front of the network; the two Kerases flip at opposite ends of a draw."""
    x, y = data.uniform(size=(N, 8, 8, 3)).astype("float32"), data.randint(0, 3, N)
    flip = layers.RandomFlip("vertical" if fault else "horizontal")  # mark: augmentation
    stack = [flip, layers.Conv2D(4, 3), layers.GlobalAveragePooling2D()]
    model = keras.Sequential([keras.Input((8, 8, 3)), *stack, layers.Dense(3)])
    optimizer, loss = keras.optimizers.Adam(0.01), crossentropy()
    if style == "fit":
        model.compile(optimizer, loss)
        model.fit(x, y, batch_size=B, epochs=2, shuffle=False, verbose=0)
        return
    train(model, optimizer, lambda a, b: loss(b, model(a, training=True)), x, y)


def feeds():
    """Ways to hand rows to `fit`, and switches that recording turns off."""
    x, y = normal(N, 6), data.randint(0, 3, N)
    x = 2 * x if fault else x
    dense = layers.Dense(8, activation="relu")
    model = keras.Sequential([keras.Input((6,)), dense, layers.Dropout(0.2), layers.Dense(3)])
    optimizer, loss = keras.optimizers.Adam(0.01), crossentropy()
    if style == "generator":

        def rows():
            while True:
                for k in range(0, N, B):
                    yield x[k : k + B], y[k : k + B]

        model.compile(optimizer, loss, jit_compile=True, steps_per_execution=4)
        model.fit(rows(), steps_per_epoch=N // B, epochs=2, verbose=0)
        return

    class Rows(keras.utils.Sequence):
        def __len__(self):
            return N // B

        def __getitem__(self, k):
            return x[k * B : k * B + B], y[k * B : k * B + B]

    model.compile(optimizer, loss)
    model.fit(Rows(), epochs=2, shuffle=False, verbose=0)


globals()[form]()
