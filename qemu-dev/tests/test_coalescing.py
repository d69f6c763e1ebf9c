# SPDX-License-Identifier: GPL-2.0-or-later
"""Interrupt coalescing: by count, by time, by both; what flushes it."""

import time

import pytest
from card import F_CPL, F_IRQ, FILL_CARD, NOP

BOTH_ENGINES = True
FOREVER = 0xFFFFFFFF  # microseconds: more than an hour


def ready(card, count, microseconds, ch=0, vector=0):
    """A channel with interrupts on."""
    card.msix_on()
    card.set_ch(ch, "COALESCE_COUNT", count)
    card.set_ch(ch, "COALESCE_TIME", microseconds)
    card.enable(ch, log2=8, irq=True, vector=vector)


def quiet(card):
    """No message, after the main loop went round."""
    card.q.get("stat-bytes")
    return card.irq(0) == 0 and card.irq(1) == 0


def some(card, n, flags=F_CPL | F_IRQ, ch=0):
    """@n completions, waited for."""
    for _ in range(n):
        card.put(ch, NOP, 0, 0, 0, flags)
    card.ring(ch)
    for _ in range(n):
        assert card.wait(ch).status == 0


def raised(card, vector=0):
    card.until(lambda: card.irq(vector), "no interrupt")


def test_registers(card):
    for name in ("COALESCE_COUNT", "COALESCE_TIME"):
        assert card.ch(1, name) == 0
        card.set_ch(1, name, 0xFFFFFFFF)
        assert card.ch(1, name) == 0xFFFFFFFF
    card.set_reg("CTRL", 1)
    assert card.ch(1, "COALESCE_COUNT") == card.ch(1, "COALESCE_TIME") == 0


@pytest.mark.parametrize("count", [0, 1])
def test_off(card, count):
    ready(card, count, FOREVER)
    for _ in range(3):
        some(card, 1)
        raised(card)


def test_by_count(card):
    ready(card, 5, 0)
    for _ in range(3):
        some(card, 4)
        assert quiet(card)
        some(card, 1)
        raised(card)
    assert quiet(card)


def test_by_count_in_one_go(card):
    """At least one for twelve, at most two; two are left."""
    ready(card, 5, 0)
    some(card, 12)
    raised(card)


def test_only_completions_that_ask_are_counted(card):
    ready(card, 2, 0)
    some(card, 1)
    some(card, 3, F_CPL)
    assert quiet(card)
    some(card, 1)
    raised(card)


def test_by_time(card):
    ready(card, 1000, 150_000)
    begin = time.monotonic()
    some(card, 3)
    assert quiet(card) or time.monotonic() - begin > 0.14
    raised(card)
    assert 0.14 < time.monotonic() - begin < 2
    time.sleep(0.3)
    assert quiet(card)  # once
    some(card, 1)  # and the next one waits anew
    assert quiet(card)
    raised(card)


def test_time_alone_does_not_coalesce(card):
    """A count of 0 or 1 is met by each completion."""
    ready(card, 0, 500_000)
    some(card, 1)
    raised(card)


def test_count_before_time(card):
    ready(card, 2, FOREVER)
    some(card, 1)
    assert quiet(card)
    some(card, 1)
    raised(card)
    some(card, 1)
    assert quiet(card)


def test_failure_is_announced_at_once(card):
    ready(card, 100, FOREVER)
    some(card, 3)
    assert quiet(card)
    card.put(0, 99, 0, 0, 0, F_CPL | F_IRQ)
    card.ring()
    raised(card)


def test_a_failed_chain_is_announced_at_once(card):
    ready(card, 100, FOREVER)
    card.put(0, 99, 0, 0, 0, 0)
    card.put(0, NOP, 0, 0, 0, F_CPL | F_IRQ)  # skipped
    card.ring()
    raised(card)


def test_halt_is_announced_at_once(card):
    ready(card, 100, FOREVER)
    card.set_ch(0, "DOORBELL", 0x10000)
    raised(card)


@pytest.mark.parametrize("name", ["COALESCE_COUNT", "COALESCE_TIME"])
def test_new_rules_announce_what_waits(card, name):
    ready(card, 100, FOREVER)
    some(card, 3)
    assert quiet(card)
    card.set_ch(0, name, 50)
    raised(card)


def test_enable_forgets(card):
    ready(card, 3, 100_000)
    some(card, 2)
    card.disable()
    card.enable(log2=8, irq=True)
    time.sleep(0.2)
    assert quiet(card)
    some(card, 2)
    raised(card)


def test_channels_count_for_themselves(card):
    ready(card, 3, 0, ch=0, vector=0)
    card.set_ch(1, "COALESCE_COUNT", 2)
    card.enable(1, irq=True, vector=1)
    some(card, 2, ch=0)
    some(card, 1, ch=1)
    assert quiet(card)
    some(card, 1, ch=1)
    raised(card, 1)
    assert card.irq(0) == 0
    some(card, 1, ch=0)
    raised(card, 0)


def test_many_never_lose_the_last(card):
    """Counts that don't divide: time brings the rest, each time."""
    ready(card, 7, 2000)
    for i in range(50):
        for _ in range(i % 10 + 1):
            card.put(0, FILL_CARD, i, 0, 4096, F_CPL | F_IRQ)
        card.ring()
        last = card.seen[0] + i % 10 + 1
        while card.seen[0] < last:
            card.wait()
        raised(card)
