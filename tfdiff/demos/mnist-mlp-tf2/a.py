# "MNIST with Tensorflow and Keras, same architecture but less accurate in Tensorflow" (Cross Validated 419528): the Keras
# side, as asked but for today's spelling (learning_rate), fewer rows (data.py) and a quieter fit.
import keras

from data import load_data

# Data
(X_train, y_train), (X_test, y_test) = load_data()
X_train = X_train.reshape(-1, 28*28).astype('float32') / 255
X_test = X_test.reshape(-1, 28*28).astype('float32') / 255
y_train = keras.utils.to_categorical(y_train, num_classes = 10)
y_test = keras.utils.to_categorical(y_test, num_classes = 10)

# Model
model = keras.models.Sequential()
model.add(keras.layers.Dense(128, input_dim = 28*28, activation = 'relu'))
model.add(keras.layers.Dropout(0.3))
model.add(keras.layers.Dense(128, activation = 'relu'))
model.add(keras.layers.Dropout(0.3))
model.add(keras.layers.Dense(10, activation = 'softmax'))

# Training
model.compile(loss = 'categorical_crossentropy', optimizer = keras.optimizers.Adam(learning_rate = 0.001), metrics = ['accuracy'])
history = model.fit(X_train, y_train, epochs = 5, batch_size = 128, validation_data = (X_test, y_test), verbose = 2)
