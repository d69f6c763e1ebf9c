# SPDX-License-Identifier: GPL-2.0-or-later
"""The third party's checksum, against the definition bit by bit and against the tool's pattern."""

from __future__ import annotations

import json
import struct
import subprocess

import pytest
from gigalock_harness import slicecrc
from gigalock_harness.places import host_tool


def bit_by_bit(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def test_known_value(monkeypatch: pytest.MonkeyPatch) -> None:
    word = int.from_bytes(b"12345678", "little")
    monkeypatch.setattr(slicecrc, "pattern_word", lambda seed, index: word)
    assert bit_by_bit(b"123456789") == 0xE3069283  # the polynomial's check value
    assert slicecrc.crc32c(8, 0) == f"0x{bit_by_bit(b'12345678'):08x}"


@pytest.mark.parametrize("size", [1, 7, 8, 9, 4096, 5003])
def test_within_a_slice(size: int) -> None:
    data = (struct.pack("<Q", slicecrc.pattern_word(42, 0)) * (size // 8 + 1))[:size]
    assert slicecrc.crc32c(size, 42) == f"0x{bit_by_bit(data):08x}"


def test_slices_have_words_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slicecrc, "SLICE", 64)
    data = b"".join(struct.pack("<Q", slicecrc.pattern_word(9, k)) * 8 for k in range(3))
    assert slicecrc.crc32c(150, 9) == f"0x{bit_by_bit(data[:150]):08x}"


@pytest.mark.parametrize("seed", [0, 1, 2**64 - 1, 0x123456789ABCDEF0])
def test_words_are_those_of_the_tool(seed: int) -> None:
    words = b"".join(struct.pack("<Q", slicecrc.pattern_word(seed, k)) for k in range(64))
    done = subprocess.run(
        [host_tool(), "--json", "pattern", "--size", str(len(words)), "--seed", str(seed)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["crc32c"] == f"0x{bit_by_bit(words):08x}"
