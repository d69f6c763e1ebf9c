# SPDX-License-Identifier: GPL-2.0-or-later
"""MSI-X: the message lands in memory, where we can read it."""

import pytest
from card import BUF, F_CPL, F_IRQ, H2C, NOP

BOTH_ENGINES = True


@pytest.mark.parametrize("behind_port", [False, True])
@pytest.mark.parametrize("ch,vector", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_vector_of_the_channel(start, behind_port, ch, vector):
    card = start(behind_port=behind_port)
    card.msix_on()
    card.enable(ch, irq=True, vector=vector)
    r = card.do(H2C, BUF, 0, 10, F_CPL | F_IRQ, ch=ch)
    assert r.seq == 1
    card.until(lambda: card.irq(vector) == 0x50 + vector, "no interrupt")
    assert card.irq(1 - vector) == 0


def quiet(card):
    """No message, in any vector, after the main loop went round."""
    card.q.get("stat-bytes")
    return card.irq(0) == 0 and card.irq(1) == 0


def test_no_interrupt_unless_asked(card):
    card.msix_on()
    card.enable(irq=True)
    card.do(NOP, 0, 0, 0, F_CPL)
    assert quiet(card)
    card.put(0, NOP, 0, 0, 0, F_IRQ)  # IRQ speaks of a completion: there is none
    card.ring()
    card.until(lambda: card.ch(0, "HEAD") == 2, "not done")
    assert quiet(card)


def test_no_interrupt_when_the_channel_forbids_it(card):
    card.msix_on()
    card.enable(irq=False)
    card.do(NOP, 0, 0, 0, F_CPL | F_IRQ)
    assert quiet(card)
    card.set_ch(0, "CTRL", 3)  # switched on while running
    card.do(NOP, 0, 0, 0, F_CPL | F_IRQ)
    card.until(lambda: card.irq(0), "no interrupt")
    assert card.ch(0, "CPL_COUNT") == 2


def test_masked_is_pending(card):
    card.msix_on()
    card.mask(0, True)
    card.enable(irq=True)
    card.do(NOP, 0, 0, 0, F_CPL | F_IRQ)
    card.until(lambda: card.pending() & 1, "not pending")
    assert quiet(card)
    card.mask(0, False)
    assert card.irq(0) == 0x50
    assert card.pending() & 1 == 0


def test_msix_off_leaves_nothing_pending(card):
    card.enable(irq=True)
    card.do(NOP, 0, 0, 0, F_CPL | F_IRQ)
    card.q.get("stat-bytes")
    assert card.pending() == 0
    card.msix_on()
    assert quiet(card)


@pytest.mark.parametrize("vector", [2, 16, 0x7FFFFFFF, 0xFFFFFFFF])
def test_vector_that_is_not_there(card, vector):
    card.msix_on()
    card.enable(irq=True, vector=vector)
    assert card.do(NOP, 0, 0, 0, F_CPL | F_IRQ).status == 0
    assert quiet(card)


def test_failure_interrupts_if_asked(card):
    card.msix_on()
    card.enable(irq=True)
    card.do(99, 0, 0, 0, F_CPL)
    assert quiet(card)
    card.do(99, 0, 0, 0, F_IRQ)  # without CPL: a failure has one anyway
    card.until(lambda: card.irq(0), "no interrupt")


def test_halt_interrupts(card):
    """A driver that waits has to learn that the channel stands."""
    card.msix_on()
    card.enable(irq=True)
    card.set_ch(0, "DOORBELL", 99)
    card.until(lambda: card.irq(0), "no interrupt")
    assert card.status(0)["HALTED"]
