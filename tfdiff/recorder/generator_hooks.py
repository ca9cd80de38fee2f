"""Legacy `ImageDataGenerator.flow`: which rows of the whole array were drawn, and which images were made from them.

The batches hold the images as made. What they were made from can only be seen where they are made.
"""

from __future__ import annotations

import warnings
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from tfdiff.recorder.patching import Patches
    from tfdiff.recorder.recording import Recording

MODULES = ("keras.src.legacy.preprocessing.image", "tf_keras.src.preprocessing.image")
"""Where Keras 3 and tf_keras have it."""
NAME = "ImageDataGenerator.flow"

Array = np.ndarray[Any, Any]


def install(recording: Recording, patches: Patches, module: ModuleType) -> None:
    """Hook into the iterator over arrays; those over files have no whole array to look at."""
    iterator = getattr(module, "NumpyArrayIterator", None)
    if iterator is None:
        return
    places: weakref.WeakKeyDictionary[Any, str | None] = weakref.WeakKeyDictionary()
    whole: weakref.WeakSet[Any] = weakref.WeakSet()

    def make_init(original: Callable[..., Any]) -> Callable[..., Any]:
        def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
            places[self] = recording.frames.here().called
            original(self, *args, **kwargs)

        return __init__

    def make_draw(original: Callable[..., Any]) -> Callable[..., Any]:
        def _get_batches_of_transformed_samples(self: Any, index_array: Any) -> Any:
            batch = original(self, index_array)
            if not recording.output.done:
                _note(recording, self, np.asarray(index_array), batch, places.get(self), first=self not in whole)
                whole.add(self)
            return batch

        return _get_batches_of_transformed_samples

    patches.wrap(iterator, "__init__", make_init)
    patches.wrap(iterator, "_get_batches_of_transformed_samples", make_draw)


def _note(recording: Recording, iterator: Any, indices: Array, batch: Any, place: str | None, *, first: bool) -> None:
    """Called from whatever thread draws. What cannot be told is left out: the rows are then not known, as before."""
    try:
        made = [np.asarray(part) for part in _flat(batch)]
        rest = made[1:]
        if made and made[0].shape[1:] == iterator.x.shape[1:] and all(len(part) == len(indices) for part in made):
            if first:
                recording.rows.add(NAME, place, [_plain(iterator, np.arange(len(iterator.x))), *_labels(iterator)])
            recording.rows.transform(NAME, place, made, [_plain(iterator, indices), *rest])
    except Exception as error:  # noqa: BLE001 - ours, and not the script's
        recording.output.not_recorded(f"rows drawn by {NAME}", f"{type(error).__name__}: {error}")


def _flat(batch: Any) -> list[Any]:
    parts = batch if isinstance(batch, tuple) else (batch,)
    return [part for entry in parts for part in (entry if isinstance(entry, list) else [entry])]


def _labels(iterator: Any) -> list[Array]:
    """The whole arrays beside the images, in the order in which a batch has them."""
    parts = [*iterator.x_misc, iterator.y, iterator.sample_weight]
    return [np.asarray(part) for part in parts if part is not None]


def _plain(iterator: Any, indices: Array) -> Array:
    """The images as the generator would give them without turning or shifting: scaled and centered only.

    A function of the user's own is not called once more: it may draw random numbers.
    """
    images = np.array(iterator.x[indices], dtype=iterator.dtype)
    generator = iterator.image_data_generator
    if generator.preprocessing_function is None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for image in images:
                image[...] = generator.standardize(image)
    return images
