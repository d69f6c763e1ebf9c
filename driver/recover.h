/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Resets, errors of the bus, sleep: what the PCI function's driver needs of them.
 */
#ifndef GIGALOCK_RECOVER_H
#define GIGALOCK_RECOVER_H

#include <linux/pci.h>
#include <linux/pm.h>

struct gl_card;

extern const struct pci_error_handlers gl_err_handlers;
extern const struct dev_pm_ops gl_pm_ops;

int gl_recovery_init(void);
void gl_recovery_card_init(struct gl_card *card);
void gl_recovery_card_remove(struct gl_card *card);

#endif /* GIGALOCK_RECOVER_H */
