"""MNIST where it is already on this machine, otherwise a small stand-in of digit-like images. Never downloads."""
import os
import sys
import zipfile

import numpy as np

# 1200 rows are 9 batches of 128 and one of 48, or 37 batches of 32 and one of 16: the last one is never full
TRAIN_ROWS = 1200
TEST_ROWS = 400

# the digits 0-9, 5 wide and 7 high, one row of pixels per number (bit 4 is the left one)
FONT = [
    (14, 17, 19, 21, 25, 17, 14), (4, 12, 4, 4, 4, 4, 14), (14, 17, 1, 6, 8, 16, 31), (14, 17, 1, 6, 1, 17, 14),
    (2, 6, 10, 18, 31, 2, 2), (31, 16, 30, 1, 1, 17, 14), (6, 8, 16, 30, 17, 17, 14), (31, 1, 2, 4, 8, 8, 8),
    (14, 17, 17, 14, 17, 17, 14), (14, 17, 17, 15, 1, 2, 12),
]


def mnist_file():
    """Where Keras keeps its copy of MNIST."""
    home = os.environ.get('KERAS_HOME') or os.path.join(os.path.expanduser('~'), '.keras')
    return os.path.join(home, 'datasets', 'mnist.npz')


def stand_in(rows, seed):
    """rows images (uint8, rows x 28 x 28) and their digits (uint8); integer arithmetic, so equal on every machine"""
    random = np.random.RandomState(seed)  # this generator's numbers are frozen, default_rng's are not

    def draw(low, high, shape=None):
        return random.randint(low, high, shape, dtype=np.int64)

    glyphs = np.array([[[line >> bit & 1 for bit in (4, 3, 2, 1, 0)] for line in digit] for digit in FONT])
    glyphs = glyphs.repeat(3, axis=1).repeat(3, axis=2)  # 21 high, 15 wide
    digits = draw(0, 10, rows)
    images = np.zeros((rows, 28, 28), dtype=np.int64)
    for i, digit in enumerate(digits):
        top, left = draw(2, 6), draw(4, 10)
        slant = draw(-1, 2)
        ink = draw(160, 256)
        for y in range(21):
            x = left + slant * (10 - y) // 5
            images[i, top + y, x:x + 15] = ink * glyphs[digit, y]
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    images = sum(padded[:, dy:dy + 28, dx:dx + 28] for dy in (0, 1, 2) for dx in (0, 1, 2)) // 9 + images // 2
    specks = (draw(0, 40, images.shape) == 0) * draw(0, 256, images.shape)
    return np.clip(images + specks, 0, 255).astype(np.uint8), digits.astype(np.uint8)


def load_data():
    """((x_train, y_train), (x_test, y_test)) as keras.datasets.mnist.load_data() has it, with fewer rows"""
    path = mnist_file()
    try:
        with open(path, 'rb') as file, np.load(file, allow_pickle=False) as f:
            train, test = (f['x_train'], f['y_train']), (f['x_test'], f['y_test'])
        print('data: MNIST from', path, file=sys.stderr)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        why = f'there is no {path}' if isinstance(error, FileNotFoundError) else f'{path} cannot be read'
        print(f'data: a stand-in for MNIST ({why})', file=sys.stderr)
        train, test = stand_in(TRAIN_ROWS, seed=1), stand_in(TEST_ROWS, seed=2)
    return (train[0][:TRAIN_ROWS], train[1][:TRAIN_ROWS]), (test[0][:TEST_ROWS], test[1][:TEST_ROWS])
