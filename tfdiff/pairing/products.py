"""The axes of products: which of a matrix's are summed over, and where the others stand in the output."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tfdiff.model import Site

MATRIX = re.compile(r"^(Sparse|Batch)?MatMul|^BatchMatMul|^Conv[123]D$|^Einsum$")
"""Products whose columns are followed."""


@dataclass(frozen=True)
class Product:
    """A product as one of its factors sees it."""

    contracted: tuple[int, ...]
    """Its axes that are summed over."""
    kept: tuple[int, ...]
    """Its other axes."""
    output: tuple[int, ...]
    """Where these stand in the output."""


def product_of(site: Site, argument: int, rank: int, output_rank: int) -> Product | None:
    """The axes of the factor that is the given argument; None for a product of another form."""
    if site.op == "Einsum":
        return _einsum(str(site.attrs.get("equation", "")), argument, rank)
    if site.op.startswith("Conv"):
        first = str(site.attrs.get("data_format", "")).startswith("NC")
        channels = 1 if first else output_rank - 1
        return Product(tuple(range(rank - 2, -1, -1)), (rank - 1,), (channels,)) if argument == 1 and rank > 2 else None
    if rank != 2 or argument not in (0, 1):
        return None
    flags = ("transpose_a", "adj_x") if argument == 0 else ("transpose_b", "adj_y")
    flipped = any(bool(site.attrs.get(flag, False)) for flag in flags)
    inner = int(flipped) if argument == 1 else int(not flipped)
    return Product((inner,), (1 - inner,), (output_rank - 1 if argument == 1 else output_rank - 2,))


def _einsum(equation: str, argument: int, rank: int) -> Product | None:
    left, arrow, output = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if not arrow or len(terms) != 2 or not 0 <= argument < 2 or "." in equation or len(terms[argument]) != rank:
        return None
    own, other = terms[argument], terms[1 - argument]
    kept = [label for label in own if label in output]
    summed = [label for label in own if label not in output]
    if any(label in other for label in kept) or any(label not in other for label in summed) or not summed:
        return None
    places = tuple(output.index(label) for label in kept)
    return Product(tuple(own.index(label) for label in summed), tuple(own.index(label) for label in kept), places)
