"""An eager tape with Keras layers; gradients of two batches are averaged before Adagrad takes them."""

import sys

import keras
import numpy as np
import tensorflow as tf

seed = int(sys.argv[1])
rng = np.random.RandomState(seed)
x = rng.normal(size=(300, 12)).astype("float32")
y = (np.sin(x).sum(axis=1, keepdims=True)).astype("float32")

keras.utils.set_random_seed(seed)
model = keras.Sequential([keras.layers.Dense(20, activation="softplus"), keras.layers.Dense(1)])
model.build((None, 12))
optimizer = keras.optimizers.Adagrad(0.1)
loss_fn = keras.losses.MeanSquaredError()

total = None
for step, (xb, yb) in enumerate(tf.data.Dataset.from_tensor_slices((x, y)).batch(10)):
    with tf.GradientTape() as tape:
        loss = loss_fn(yb, model(xb, training=True))
    gradients = tape.gradient(loss, model.trainable_variables)
    total = gradients if total is None else [t + g for t, g in zip(total, gradients)]
    if step % 2:
        optimizer.apply_gradients(zip([t / 2.0 for t in total], model.trainable_variables))
        total = None
