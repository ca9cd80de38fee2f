"""Faults that no cause names, each made by hand in the b of a pair that is equivalent."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """One change of a line of b, and where it must be found."""

    name: str
    pair: str
    """Folder of `tests/bench/pairs`."""
    old: str
    new: str
    """Text of b, and what stands there instead; `old` is there once."""
    a: tuple[str, ...]
    """Texts of the lines of a, one of which must be named (where a has something there)."""
    also: tuple[str, ...] = ()
    """Texts of further lines of b that may be named: what takes the changed values."""
    phase: str = "forward"
    steps: tuple[int, ...] = (0,)


FAULTS = (
    Fault(
        "an activation made up, in a network by hand",
        "dense-batchnorm-adam",
        "        h = tf.nn.relu(h)\n",
        "        h = tf.nn.softplus(h) - 0.1 * tf.sin(h)\n",
        ('Activation("relu")',),
    ),
    Fault(
        "a squared activation",
        "separable-nesterov",
        '    x = tf.nn.relu(tf.nn.conv2d(x, point2, 1, "VALID") + bias2)\n',
        '    x = tf.square(tf.nn.relu(tf.nn.conv2d(x, point2, 1, "VALID") + bias2))\n',
        ("SeparableConv2D", "MaxPooling2D"),
    ),
    Fault(
        "gates with a slope of their own",
        "wavenet-causal",
        "tf.sigmoid(causal(h, gated, dilation))",
        "tf.sigmoid(1.1 * causal(h, gated, dilation))",
        ('activation="sigmoid"',),
    ),
    Fault(
        "two channels exchanged",
        "conv-residual-rmsprop",
        "        x = self.stem(x)\n",
        "        x = tf.gather(self.stem(x), [1, 0, 2, 3, 4, 5, 6, 7], axis=1)\n",
        ("layers.Conv2D(8, 3, strides=2", "y = layers.Conv2D(filters, 3", "layers.Add()"),
        also=("y = tf.nn.conv2d(",),
    ),
    Fault(
        "a scaled branch",
        "conv-residual-rmsprop",
        "tf.nn.relu(self.norm2(self.conv2(y)) + x)",
        "tf.nn.relu(0.9 * self.norm2(self.conv2(y)) + x)",
        ("layers.Add()",),
    ),
    Fault(
        "branches concatenated in another order",
        "inception-branches",
        "tf.concat([self.one(x, training=training), three, five, pooled], axis=-1)",
        "tf.concat([three, self.one(x, training=training), five, pooled], axis=-1)",
        ("layers.Concatenate()", "GlobalMaxPooling2D"),
        also=("tf.reduce_max(",),
    ),
    Fault(
        "a pooling made up",
        "inception-branches",
        'tf.nn.avg_pool2d(x, 3, 1, "SAME")',
        'tf.sqrt(tf.nn.avg_pool2d(x * x, 3, 1, "SAME"))',
        ("AveragePooling2D",),
    ),
    Fault(
        "the last but one state",
        "gru-rmsprop",
        "gru(gru(batch, first, 10), second, 6)[:, -1]",
        "gru(gru(batch, first, 10), second, 6)[:, -2]",
        ("self.second(",),
        also=("tf.matmul(last, head[0])",),
    ),
    Fault(
        "coupled gates",
        "lstm-clip-adam",
        'c = f * c + i * tf.tanh(gate("c", xt, h))',
        'c = f * c + (1 - f) * tf.tanh(gate("c", xt, h))',
        ("keras.layers.LSTM(12)",),
    ),
    Fault(
        "a state in reverse order",
        "embedding-mask-adagrad",
        "tf.matmul(h, recurrent)",
        "tf.matmul(tf.reverse(h, [1]), recurrent)",
        ("keras.layers.LSTM(9)",),
    ),
    Fault(
        "noise that multiplies",
        "tied-autoencoder",
        "noisy = batch + tf.random.normal(batch.shape, stddev=0.1)",
        "noisy = batch * (1 + tf.random.normal(batch.shape, stddev=0.1))",
        ("keras.layers.GaussianNoise",),
        also=("code = tf.tanh(",),
    ),
    Fault(
        "scores divided by the size of a key, not its root",
        "transformer-adamw",
        "/ math.sqrt(KEY)",
        "/ KEY",
        ("MultiHeadAttention",),
    ),
    Fault(
        "positions moved by one",
        "transformer-adamw",
        "tf.nn.embedding_lookup(self.words, tokens) + self.places",
        "tf.nn.embedding_lookup(self.words, tokens) + tf.roll(self.places, 1, 0)",
        ("Places()", "return inputs + self.table"),
    ),
    Fault(
        "a loss with a constant of its own",
        "two-heads-train-step",
        "0.5 * error - 0.125",
        "0.5 * error - 0.1",
        ("keras.losses.Huber",),
        also=("loss = tf.reduce_mean(entropy)",),
        phase="loss",
    ),
    Fault(
        "another power in the loss",
        "lstm-clip-adam",
        "tf.square(network(batch) - target)",
        "tf.abs(network(batch) - target) ** 1.5",
        ('loss="mse"', "train_on_batch"),
        phase="loss",
    ),
    Fault(
        "gradients bent",
        "dense-batchnorm-adam",
        "tape.gradient(loss, params)):",
        "[g * (1 + 0.1 * tf.sin(9 * g)) for g in tape.gradient(loss, params)]):",
        ("keras.optimizers.Adam(", "model.fit("),
        also=("mi.assign(", "vi.assign(", "p.assign_sub("),
        phase="update",
        steps=(0, 1),  # the first update of Adam is as large as the rate, whatever the gradient
    ),
    Fault(
        "an accumulator of absolute values",
        "accumulation",
        "new_q = tf.assign_add(q, mean * mean)",
        "new_q = tf.assign_add(q, tf.abs(mean))",
        ("keras.optimizers.Adagrad", "optimizer.apply_gradients"),
        also=("updates.append(tf.assign_sub(",),
        phase="update",
        steps=(1,),  # of two batches each second one is applied
    ),
    Fault(
        "moving statistics made up",
        "tf1-layers-dropout-l2",
        "self.mean.assign(self.mean * 0.9 + mean * 0.1)",
        "self.mean.assign(self.mean * 0.9 + tf.sqrt(tf.abs(mean)) * 0.1)",
        ("tf.layers.batch_normalization",),
        phase="state",
    ),
)
