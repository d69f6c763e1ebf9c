# SPDX-License-Identifier: GPL-2.0-or-later
"""The checksum that a buffer filled by the card must have, computed here.

The tool's check by the device fills each slice of 1 MiB with one word, word k of the seeded
pattern for slice k. This is the third party: it has seen neither guest nor card, and shares no
code with the tool. CRC-32C is a polynomial over GF(2), and a word repeated is a product.
"""

from __future__ import annotations

import functools

SLICE = 1 << 20
_POLY = 0x1EDC6F41 | 1 << 32  # CRC-32C, the highest power in the highest bit
_MASK = (1 << 64) - 1
_STEP = 0x9E3779B97F4A7C15


def _mod(value: int) -> int:
    while (excess := value.bit_length() - 33) >= 0:
        value ^= _POLY << excess
    return value


def _multiply(a: int, b: int) -> int:
    product = 0
    while b:
        if b & 1:
            product ^= a
        a <<= 1
        b >>= 1
    return _mod(product)


@functools.cache
def _power_of_x(exponent: int) -> int:
    result, square = 1, 2
    while exponent:
        if exponent & 1:
            result = _multiply(result, square)
        square = _multiply(square, square)
        exponent >>= 1
    return result


@functools.cache
def _repeated(words: int) -> int:
    """1 + x^64 + x^128 + ...: what a word is multiplied with when it stands `words` times."""
    if words == 1:
        return 1
    half = _repeated(words // 2)
    result = _multiply(half, 1 ^ _power_of_x(64 * (words // 2)))
    if words % 2:
        result = _multiply(result, _power_of_x(64)) ^ 1
    return result


def _reflect(value: int, bits: int) -> int:
    return int(f"{value:0{bits}b}"[::-1], 2)


def pattern_word(seed: int, index: int) -> int:
    """Word `index` of the pattern, as userlib/lib/pattern.c defines it."""
    x = (seed + _STEP) & _MASK
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    x = (x ^ x >> 27) * 0x94D049BB133111EB & _MASK
    w = ((x ^ x >> 31) + index * _STEP) & _MASK
    return w ^ w >> 32


def _message(word: int, length: int) -> int:
    """The remainder of `length` bytes of a word repeated, its lowest byte first in memory."""
    whole, rest = divmod(length, 8)
    # Bytes go in lowest bit first, so memory order is the reflected word.
    bits = _reflect(word, 64)
    value = _multiply(_mod(bits), _repeated(whole)) if whole else 0
    if rest:
        tail = bits >> 8 * (8 - rest)
        value = _multiply(value, _power_of_x(8 * rest)) ^ _mod(tail)
    return value


def crc32c(size: int, seed: int) -> str:
    """The CRC-32C of a buffer of that size that the card filled."""
    value = 0
    for at in range(0, size, SLICE):
        length = min(SLICE, size - at)
        part = _message(pattern_word(seed, at // SLICE), length)
        value = _multiply(value, _power_of_x(8 * length)) ^ part
    # The remainder of message * x^32, with all ones put before it and the result inverted.
    value = _multiply(value, _power_of_x(32))
    value ^= _multiply(0xFFFFFFFF, _power_of_x(8 * size))
    return f"0x{_reflect(value, 32) ^ 0xFFFFFFFF:08x}"
