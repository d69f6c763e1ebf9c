# SPDX-License-Identifier: GPL-2.0-or-later
"""Boots guests, runs commands in them and turns what happens into results."""
