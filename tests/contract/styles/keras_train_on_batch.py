"""Keras: train_on_batch in a loop over NumPy slices; softmax in the model, one-hot labels."""

from task import BATCH, DECAY, EPSILON, LEARNING_RATE, MOMENTUM, ONE_HOT, RATE, X
from tensorflow.keras.layers import BatchNormalization, Dense, Dropout, Input
from tensorflow.keras.models import Sequential
from tensorflow.keras.optimizers import SGD

model = Sequential()
model.add(Input((X.shape[1],)))
model.add(Dense(16, activation="relu"))
model.add(BatchNormalization(momentum=DECAY, epsilon=EPSILON))  # fault: statistics
model.add(Dropout(RATE))  # fault: rate
model.add(Dense(4, activation="softmax"))
model.compile(loss="categorical_crossentropy", optimizer=SGD(LEARNING_RATE, momentum=MOMENTUM))  # fault: learning-rate

for start in range(0, len(X), BATCH):
    model.train_on_batch(X[start : start + BATCH], ONE_HOT[start : start + BATCH])
