// SPDX-License-Identifier: GPL-2.0-only
/*
 * The card stops for a while and comes back: a reset, an error of the bus, sleep.
 * What it did then is lost, what waits goes on. If it doesn't come back, whoever
 * waits is told.
 */
#include <linux/jiffies.h>
#include <linux/moduleparam.h>

#include "gl.h"
#include "recover.h"

#define GL_RECOVERY_MOST_S	3600

static unsigned int recovery_s = 120;
module_param(recovery_s, uint, 0444);
MODULE_PARM_DESC(recovery_s, "seconds the bus has to recover from an error, before the card is given up, 1 to 3600 (120)");

/* It comes back no more, and stays bound: whoever waits for it is told. */
static void gl_give_up(struct gl_card *card, const char *why)
{
	unsigned int i;

	dev_err(gl_dev(card), "no channel is used any more: %s\n", why);
	for (i = 0; i < card->nchan; i++)
		gl_chan_kill(&card->chan[i]);
}

static void gl_rest(struct pci_dev *pdev)
{
	struct gl_card *card = pci_get_drvdata(pdev);
	unsigned int i;

	for (i = 0; i < card->nchan; i++)
		gl_chan_rest(&card->chan[i]);
}

static void gl_wake(struct pci_dev *pdev)
{
	struct gl_card *card = pci_get_drvdata(pdev);
	unsigned int i;

	/* A channel that would not stop lost the bus for good. */
	for (i = 0; i < card->nchan; i++) {
		if (READ_ONCE(card->chan[i].dead)) {
			gl_give_up(card, "one did not stop");
			return;
		}
	}
	pci_set_master(pdev);
	/* Whoever brought it back used up what was saved; the next error needs it. */
	pci_save_state(pdev);
	for (i = 0; i < card->nchan; i++)
		gl_chan_wake(&card->chan[i]);
}

/* ---- errors of the bus ---- */

/*
 * Not every kernel says so when recovery ends badly, because of another function
 * on the same bus, say: then no call comes any more.
 */
static void gl_recovery_late(struct work_struct *work)
{
	struct gl_card *card = container_of(to_delayed_work(work), struct gl_card,
					    recovery);

	gl_give_up(card, "the bus did not recover from its error in time");
}

static pci_ers_result_t gl_error_detected(struct pci_dev *pdev,
					  pci_channel_state_t state)
{
	struct gl_card *card = pci_get_drvdata(pdev);

	cancel_delayed_work_sync(&card->recovery);
	if (state == pci_channel_io_perm_failure) {
		gl_give_up(card, "the bus does not recover from its error");
		return PCI_ERS_RESULT_DISCONNECT;
	}
	gl_rest(pdev);
	schedule_delayed_work(&card->recovery, recovery_s * HZ);
	return PCI_ERS_RESULT_NEED_RESET;
}

static pci_ers_result_t gl_slot_reset(struct pci_dev *pdev)
{
	struct gl_card *card = pci_get_drvdata(pdev);

	pci_restore_state(pdev);
	pci_save_state(pdev);	/* restoring used it up */
	if (gl_inject(card, GL_INJECT_RESET) || !gl_card_answers(card)) {
		cancel_delayed_work_sync(&card->recovery);
		gl_give_up(card, "the card does not answer after the reset of its slot");
		return PCI_ERS_RESULT_DISCONNECT;
	}
	return PCI_ERS_RESULT_RECOVERED;
}

static void gl_recovered(struct pci_dev *pdev)
{
	struct gl_card *card = pci_get_drvdata(pdev);

	cancel_delayed_work_sync(&card->recovery);
	gl_wake(pdev);
}

const struct pci_error_handlers gl_err_handlers = {
	.error_detected = gl_error_detected,
	.slot_reset = gl_slot_reset,
	.resume = gl_recovered,
	.reset_prepare = gl_rest,
	.reset_done = gl_wake,
};

/* ---- sleep ---- */

static int __maybe_unused gl_suspend(struct device *dev)
{
	gl_rest(to_pci_dev(dev));
	return 0;
}

static int __maybe_unused gl_resume(struct device *dev)
{
	gl_wake(to_pci_dev(dev));
	return 0;
}

SIMPLE_DEV_PM_OPS(gl_pm_ops, gl_suspend, gl_resume);

/* ---- the card comes and goes ---- */

int gl_recovery_init(void)
{
	if (!recovery_s || recovery_s > GL_RECOVERY_MOST_S) {
		pr_err(GL_NAME ": recovery_s=%u is not within 1 to %u\n", recovery_s,
		       GL_RECOVERY_MOST_S);
		return -EINVAL;
	}
	return 0;
}

void gl_recovery_card_init(struct gl_card *card)
{
	INIT_DELAYED_WORK(&card->recovery, gl_recovery_late);
}

void gl_recovery_card_remove(struct gl_card *card)
{
	cancel_delayed_work_sync(&card->recovery);
}
