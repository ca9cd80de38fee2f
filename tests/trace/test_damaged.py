"""A damaged trace is one clear line or what was written, never other numbers."""

from __future__ import annotations

import random

import pytest

from tfdiff.errors import TraceError
from tfdiff.trace.reader import open_trace


def outcome(path, everything):
    """What reading all of the file gives, or the error's line."""
    try:
        return everything(path)
    except TraceError as error:
        message = str(error)
        assert "\n" not in message
        assert message.startswith(str(path))
        return message


def test_truncated(sample, everything, tmp_path):
    """A trace cut anywhere is refused in one line."""
    data = sample.read_bytes()
    whole = everything(sample)
    generator = random.Random(1)
    cut = tmp_path / "cut.h5"
    for length in [0, 1, 7, 8, 47, 48, len(data) - 1] + [generator.randrange(len(data)) for _ in range(20)]:
        cut.write_bytes(data[:length])
        found = outcome(cut, everything)
        # HDF5 leaves up to 2 KB at the end that nothing uses.
        assert isinstance(found, str) or (found == whole and length > len(data) - 2048)


def test_flipped_bits(sample, everything, tmp_path):
    """One flipped bit anywhere is found, unless nothing uses the byte."""
    data = sample.read_bytes()
    whole = everything(sample)
    generator = random.Random(2)
    hurt = tmp_path / "hurt.h5"
    found = []
    for _ in range(110):
        damaged = bytearray(data)
        damaged[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
        hurt.write_bytes(damaged)
        found.append(outcome(hurt, everything))
    assert [one for one in found if not isinstance(one, str) and one != whole] == []
    assert sum(isinstance(one, str) for one in found) > 80


def test_every_stored_byte_is_guarded(sample, everything, tmp_path):
    """A flip in each part of each block is found: the sums cover data, index, lists, sketches, json, head and count."""
    data = sample.read_bytes()
    hurt = tmp_path / "hurt.h5"
    for name, offset in _datasets(sample):
        damaged = bytearray(data)
        damaged[offset] ^= 1
        hurt.write_bytes(damaged)
        found = outcome(hurt, everything)
        assert isinstance(found, str), name
        assert "damage" in found


def _datasets(path):
    """Name and first byte's place of each dataset that has any bytes."""
    places = []
    with open_trace(path) as trace:
        trace._files[0].visititems(lambda name, item: places.append((name, item)))
        return [(name, item.id.get_offset()) for name, item in places if getattr(item, "size", 0)]


def test_exchanged_blocks(sample, everything, tmp_path):
    """Two blocks that changed places are found, although each is whole: a block knows its tree and number."""
    heads = {name: offset for name, offset in _datasets(sample) if name.endswith("/head")}
    first, second = [offset for name, offset in sorted(heads.items()) if name.startswith("steps")][:2]
    data = bytearray(sample.read_bytes())
    data[first : first + 72], data[second : second + 72] = data[second : second + 72], data[first : first + 72]
    hurt = tmp_path / "hurt.h5"
    hurt.write_bytes(data)
    assert "another block" in outcome(hurt, everything)


def test_blocks_are_read_on_demand(sample, tmp_path):
    """Damage in one array leaves the other steps readable: opening does not read everything."""
    places = dict(_datasets(sample))
    name = max(name for name in places if name.startswith("steps") and name.endswith("/data"))
    data = bytearray(sample.read_bytes())
    data[places[name]] ^= 255
    hurt = tmp_path / "hurt.h5"
    hurt.write_bytes(data)
    with open_trace(hurt) as trace:
        assert trace.step(0).array(0).shape == (4, 3)
        with pytest.raises(TraceError, match="checksum of an array"):
            trace.step(2).array(0)
        assert trace.step(2).array(2).shape == (4, 5)
