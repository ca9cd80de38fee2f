"""Where the hooks of assumptions go: behind (so around) the recorder's own, right after the import of each library."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tfdiff.recorder.assuming import Assuming
    from tfdiff.recorder.patching import Patches


def on_tensorflow(assuming: Assuming, patches: Patches) -> None:
    """TensorFlow has been imported."""
    from tfdiff.recorder import assumed_functions_hooks, assumed_optimizers_hooks

    if assuming.any:
        assumed_functions_hooks.install(assuming, patches)
        assumed_optimizers_hooks.install_v1(assuming, patches)


def on_keras(assuming: Assuming, patches: Patches) -> None:
    """Keras 3 has been imported."""
    from tfdiff.recorder import assumed_layers_hooks, assumed_optimizers_hooks

    if assuming.any:
        assumed_layers_hooks.install_keras(assuming, patches)
        assumed_optimizers_hooks.install_keras(assuming, patches)


def on_tf_keras(assuming: Assuming, patches: Patches) -> None:
    """Legacy Keras has been imported."""
    from tfdiff.recorder import assumed_layers_hooks, assumed_optimizers_hooks

    if assuming.any:
        assumed_layers_hooks.install_tf_keras(assuming, patches)
        assumed_optimizers_hooks.install_tf_keras(assuming, patches)
