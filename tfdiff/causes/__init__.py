"""Named causes, each proved on the recorded numbers, and the pages that explain them."""

from tfdiff.causes.engine import explain_finding

__all__ = ["explain_finding"]
