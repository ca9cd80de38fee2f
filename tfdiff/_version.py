"""The version of tfdiff, alone in a module so that every layer can import it."""

from __future__ import annotations

__version__ = "0.1.0"
