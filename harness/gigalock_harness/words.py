# SPDX-License-Identifier: GPL-2.0-or-later
"""Text that came from a guest, made harmless for a terminal or an XML file."""

from __future__ import annotations


def plain(text: str) -> str:
    """One line without control characters, which could drive a terminal."""
    return "".join(char if char.isprintable() else " " for char in text)


def block(text: str) -> str:
    """Several lines without control characters; what XML 1.0 can't carry is shown as \\xNN."""
    text = text.replace("\r\n", "\n")
    return "".join(
        char if char.isprintable() or char in "\n\t" else f"\\x{ord(char):02x}" for char in text
    )
