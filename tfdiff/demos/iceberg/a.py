# "Performance problem TF VS Keras" (a GitHub issue, after the Kaggle kernel "keras model for beginners"): the Keras side, as
# printed there but for today's spelling (Conv2D's module, learning_rate, no decay) and a fit that was not printed.
import keras as k
from keras.layers import Activation, BatchNormalization
from keras.optimizers import Adam

from data import load_icebergs

(x_train, y_train), (x_test, y_test) = load_icebergs()

model = k.models.Sequential()
model.add(k.layers.Conv2D(64, kernel_size=(3,3), input_shape=(75,75,3)))
model.add(Activation('relu'))
model.add(BatchNormalization())
model.add(k.layers.MaxPooling2D(pool_size=(3,3), strides=(2,2)))
model.add(k.layers.Dropout(0.2))

model.add(k.layers.Conv2D(128, kernel_size=(3, 3)))
model.add(Activation('relu'))
model.add(BatchNormalization())
model.add(k.layers.MaxPooling2D(pool_size=(2, 2), strides=(2, 2)))
model.add(k.layers.Dropout(0.2))

model.add(k.layers.Conv2D(128, kernel_size=(3, 3)))
model.add(Activation('relu'))
model.add(BatchNormalization())
model.add(k.layers.MaxPooling2D(pool_size=(2, 2), strides=(2, 2)))
model.add(k.layers.Dropout(0.3))

model.add(k.layers.Conv2D(64, kernel_size=(3, 3)))
model.add(Activation('relu'))
model.add(BatchNormalization())
model.add(k.layers.MaxPooling2D(pool_size=(2, 2), strides=(2, 2)))
model.add(k.layers.Dropout(0.3))

model.add(k.layers.Flatten())
model.add(k.layers.Dense(512))
model.add(Activation('relu'))
model.add(BatchNormalization())
model.add(k.layers.Dropout(0.2))

model.add(k.layers.Dense(256))
model.add(Activation('relu'))
model.add(BatchNormalization())
model.add(k.layers.Dropout(0.2))

model.add(k.layers.Dense(1))
model.add(Activation('sigmoid'))

mypotim=Adam(learning_rate=0.01)
model.compile(loss='binary_crossentropy', optimizer = mypotim, metrics=['accuracy'])
model.fit(x_train, y_train, batch_size=4, epochs=2, validation_data=(x_test, y_test), verbose=2)
