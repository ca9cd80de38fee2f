"""MNIST where it is already on this machine, otherwise a small stand-in of digit-like images; and a stand-in for the radar
images of Kaggle's iceberg challenge. Never downloads."""
import os
import sys
import zipfile

import numpy as np

# 1200 rows are 9 batches of 128 and one of 48, or 37 batches of 32 and one of 16: the last one is never full
TRAIN_ROWS = 1200
TEST_ROWS = 400

# few and small batches: a step of the iceberg network is a second of a laptop's time
ICEBERGS = 40

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


def icebergs(rows, seed):
    """rows radar images (float32, rows x 75 x 75 x 3, in decibels) and whether they show an iceberg (1) or a ship (0)"""
    random = np.random.RandomState(seed)
    is_iceberg = np.arange(rows) % 2
    random.shuffle(is_iceberg)
    y, x = np.mgrid[:75, :75]
    bands = np.empty((rows, 75, 75, 3), dtype=np.float32)
    for i, iceberg in enumerate(is_iceberg):
        turn, dy, dx = random.uniform(0, np.pi), *random.uniform(-8, 8, 2)
        along = (x - 37 - dx) * np.cos(turn) + (y - 37 - dy) * np.sin(turn)
        across = (y - 37 - dy) * np.cos(turn) - (x - 37 - dx) * np.sin(turn)
        length, width = (9, 7) if iceberg else (12, 2)  # a ship is long and slim
        echo = np.exp(-(along / length) ** 2 - (across / width) ** 2)
        sea = random.normal(-22, 2.5, (75, 75, 2))  # speckle
        bands[i, :, :, :2] = sea + echo[..., None] * ((18, 16) if iceberg else (22, 10))
    bands[..., 2] = (bands[..., 0] + bands[..., 1]) / 2
    return bands, is_iceberg


def load_icebergs():
    """((x_train, y_train), (x_test, y_test)): bands HH and HV and their mean, as the Kaggle kernel stacks them"""
    print('data: a stand-in for the iceberg challenge (its files need a login)', file=sys.stderr)
    return icebergs(ICEBERGS, seed=1), icebergs(16, seed=2)
