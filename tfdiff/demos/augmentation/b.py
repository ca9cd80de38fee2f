# "Why does TensorFlow achieve lower accuracy than Keras in direct comparisons?", example 2: the "equivalent CNN using
# TensorFlow". As printed there but for fewer rows (data.py), 2 epochs instead of 10 and a line that prints the accuracy.
#
# What differs from a.py (the text's own; the network, the loss and the optimizer are the same):
#     - the rows are fed as they are, a.py turns, shifts, shears, zooms and flips each of them at random
#     - the dataset is not shuffled, datagen.flow shuffles the rows anew in each epoch
import tensorflow as tf

from data import load_data

model = tf.keras.models.Sequential([
  tf.keras.layers.Conv2D(32, (3, 3), activation='relu', input_shape=(28, 28, 1)),
  tf.keras.layers.MaxPooling2D((2, 2)),
  tf.keras.layers.Flatten(),
  tf.keras.layers.Dense(10, activation='softmax')
])

optimizer = tf.keras.optimizers.Adam()
loss_fn = tf.keras.losses.SparseCategoricalCrossentropy()
metrics = ['accuracy']

(x_train, y_train), (x_test, y_test) = load_data()
x_train = x_train.astype("float32") / 255
x_test = x_test.astype("float32") / 255
x_train = x_train[..., tf.newaxis]
x_test = x_test[..., tf.newaxis]

for epoch in range(2):
    for x, y in tf.data.Dataset.from_tensor_slices((x_train, y_train)).batch(32):
        with tf.GradientTape() as tape:
            predictions = model(x)
            loss = loss_fn(y, predictions)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))

    print('epoch', epoch, 'test accuracy', (model(x_test).numpy().argmax(axis=1) == y_test).mean())
