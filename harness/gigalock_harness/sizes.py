# SPDX-License-Identifier: GPL-2.0-or-later
"""Sizes in bytes, read and written the way people write them."""

from __future__ import annotations

import re

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30

_UNITS = {"": 1, "K": KIB, "M": MIB, "G": GIB, "T": 1 << 40}
_FORM = re.compile(r"([0-9]{1,20})(?:([KMGT])(?:iB)?)?", re.ASCII)


def parse_size(value: object, what: str = "size") -> int:
    """Bytes of 4096, "64K", "1536M", "1G" or "1GiB"; ValueError names the value and the limit."""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ValueError(f'{what} {value!r:.60} is not a size such as "1536M" or "1G"')
    if isinstance(value, int):
        number = value
    else:
        form = _FORM.fullmatch(value)
        if form is None:
            raise ValueError(f'{what} "{value[:40]}" is not a size such as "1536M" or "1G"')
        number = int(form[1]) * _UNITS[form[2] or ""]
    if number <= 0:
        raise ValueError(f"{what} {str(value)[:40]} must be above 0")
    if number >= 1 << 64:
        raise ValueError(f"{what} {str(value)[:40]} is beyond the largest size, 2^64 - 1")
    return number


def format_size(size: int) -> str:
    """Exact in K, M or G when that is a whole number, else one decimal that never rounds up."""
    for unit, name in ((GIB, "G"), (MIB, "M"), (KIB, "K")):
        if size >= unit:
            if size % unit == 0:
                # 1536M says more about a machine than 1.5G
                return f"{size // unit}{name}"
            if name == "G" and size % MIB == 0 and size < 10 * GIB:
                return f"{size // MIB}M"
            return f"{size * 10 // unit / 10:.1f}{name}"
    return f"{size}"
