// SPDX-License-Identifier: GPL-2.0-only
/*
 * The PCI function: probe and remove. recover.c has its resets and its sleep.
 */
#include <linux/interrupt.h>
#include <linux/iopoll.h>
#include <linux/iommu.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>

#include "compat.h"
#include "gl.h"
#include "recover.h"

size_t gl_buddy_max(void)
{
	return PAGE_SIZE << GL_MAX_PAGE_ORDER;
}

/* Does an IOMMU stand between the card and memory? */
bool gl_card_translates(struct gl_card *card)
{
	struct iommu_domain *domain = iommu_get_domain_for_dev(gl_dev(card));

	return domain && domain->type & __IOMMU_DOMAIN_PAGING;
}

/* Highest bus address the card can use. */
u64 gl_card_dma_limit(struct gl_card *card)
{
	return dma_get_mask(gl_dev(card));
}

/* Is it there at all, and its registers where they were? */
bool gl_card_answers(struct gl_card *card)
{
	return readl(card->regs + GL_REG_ID) == GL_ID_MAGIC;
}

static irqreturn_t gl_irq(int irq, void *data)
{
	struct gl_card *card = data;
	unsigned int i;

	for (i = 0; i < card->nchan; i++)
		if (pci_irq_vector(card->pdev, i % card->nvec) == irq)
			gl_chan_reap(&card->chan[i]);
	return IRQ_HANDLED;
}

static u64 gl_read64(struct gl_card *card, u32 lo)
{
	return readl(card->regs + lo) | (u64)readl(card->regs + lo + 4) << 32;
}

/* What the card says of itself, believed only within the contract's bounds. */
static int gl_card_identify(struct gl_card *card)
{
	struct device *dev = gl_dev(card);
	u32 id = readl(card->regs + GL_REG_ID);
	u32 cap = readl(card->regs + GL_REG_CAP);

	if (id != GL_ID_MAGIC) {
		dev_err(dev, "not a gigalock card: ID register is 0x%08x, not 0x%08x\n",
			id, GL_ID_MAGIC);
		return -ENODEV;
	}
	card->version = readl(card->regs + GL_REG_VERSION);
	if (card->version >> 16 != GL_VERSION_MAJOR) {
		dev_err(dev, "card speaks version %u.%u, this driver %u\n",
			card->version >> 16, card->version & 0xffff,
			GL_VERSION_MAJOR);
		return -ENODEV;
	}
	card->nchan = GL_FIELD(cap, GL_CAP_CHANNELS);
	card->addr_width = GL_FIELD(cap, GL_CAP_ADDR_WIDTH);
	card->max_ring = GL_FIELD(cap, GL_CAP_MAX_RING);
	card->card_bytes = gl_read64(card, GL_REG_CARD_SIZE_LO);
	/* As far as lengths can be added without a wrap. */
	card->max_xfer = min_t(u64, gl_read64(card, GL_REG_MAX_XFER_LO), S64_MAX);
	if (!card->nchan || card->nchan > GL_MAX_CHANNELS ||
	    card->addr_width < GL_MIN_WIDTH || card->addr_width > 64 ||
	    !card->max_xfer || !card->card_bytes ||
	    card->max_ring < GL_MIN_RING_LOG2 ||
	    card->max_ring > GL_MAX_RING_LOG2) {
		dev_err(dev, "card describes itself out of bounds: CAP 0x%08x, card memory 0x%llx, largest transfer 0x%llx\n",
			cap, card->card_bytes, card->max_xfer);
		return -ENODEV;
	}
	return gl_card_limits(card);
}

static void gl_irqs_free(struct gl_card *card, int requested)
{
	while (requested)
		free_irq(pci_irq_vector(card->pdev, --requested), card);
	pci_free_irq_vectors(card->pdev);
}

static int gl_irqs_request(struct gl_card *card)
{
	int i, err;

	err = pci_alloc_irq_vectors(card->pdev, 1, card->nchan, PCI_IRQ_MSIX);
	if (err < 0) {
		dev_err(gl_dev(card), "no MSI-X vector: %d\n", err);
		return err;
	}
	card->nvec = err;
	for (i = 0; i < card->nvec; i++) {
		/*
		 * A thread only: what a completion starts may sleep, and a
		 * transfer is long against a thread's wake-up.
		 */
		err = request_threaded_irq(pci_irq_vector(card->pdev, i), NULL,
					   gl_irq, IRQF_ONESHOT, GL_NAME, card);
		if (err) {
			gl_irqs_free(card, i);
			return err;
		}
	}
	return 0;
}

static int gl_card_start(struct gl_card *card)
{
	struct pci_dev *pdev = card->pdev;
	unsigned int i;
	u32 status;
	int err;

	err = gl_card_identify(card);
	if (err)
		return err;
	err = dma_set_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(card->addr_width));
	if (err) {
		dev_err(&pdev->dev, "%u address bits are too few for this machine\n",
			card->addr_width);
		return err;
	}
	/*
	 * The card takes any length, and may cross any address: its own boundary, if
	 * it has one, is kept by descriptors. PCI's defaults are 64 KiB and 4 GiB.
	 */
	dma_set_max_seg_size(&pdev->dev, UINT_MAX);
	dma_set_seg_boundary(&pdev->dev, ULONG_MAX);
	/* Who had it before, a kernel that crashed for one, may have left it running. */
	writel(GL_BIT(GL_CTRL_RESET), card->regs + GL_REG_CTRL);
	err = readl_poll_timeout(card->regs + GL_REG_STATUS, status,
				 status & GL_BIT(GL_STATUS_READY), 50, USEC_PER_SEC);
	if (err) {
		dev_err(&pdev->dev, "the card is not ready 1 s after its reset: STATUS 0x%08x\n",
			status);
		return err;
	}
	pci_set_master(pdev);

	/* Channels before interrupts: one may come at once. */
	for (i = 0; i < card->nchan; i++) {
		err = gl_chan_init(card, i);
		if (err)
			goto destroy;
	}
	err = gl_irqs_request(card);
	if (err)
		goto destroy;
	return 0;
destroy:
	while (i--)
		gl_chan_destroy(&card->chan[i]);
	pci_clear_master(pdev);
	return err;
}

static void gl_card_stop(struct gl_card *card)
{
	unsigned int i;

	gl_irqs_free(card, card->nvec);
	for (i = 0; i < card->nchan; i++)
		gl_chan_destroy(&card->chan[i]);
	pci_clear_master(card->pdev);
}

static int gl_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct gl_card *card;
	int err;

	card = kzalloc(sizeof(*card), GFP_KERNEL);
	if (!card)
		return -ENOMEM;
	card->pdev = pdev;
	mutex_init(&card->files_lock);
	mutex_init(&card->take_lock);
	mutex_init(&card->maps_lock);
	INIT_LIST_HEAD(&card->files);
	mutex_init(&card->exports_lock);
	INIT_LIST_HEAD(&card->exports);
	spin_lock_init(&card->log_lock);
	spin_lock_init(&card->inject_lock);
	init_waitqueue_head(&card->inject_wait);
	gl_recovery_card_init(card);

	err = pcim_enable_device(pdev);
	if (!err)
		err = pcim_iomap_regions(pdev, BIT(GL_BAR_REGS), GL_NAME);
	if (err) {
		kfree(card);
		return err;
	}
	card->regs = pcim_iomap_table(pdev)[GL_BAR_REGS];
	if (pci_resource_len(pdev, GL_BAR_REGS) < GL_BAR_REGS_SIZE) {
		dev_err(&pdev->dev, "register BAR has %llu bytes, not %u\n",
			(u64)pci_resource_len(pdev, GL_BAR_REGS), GL_BAR_REGS_SIZE);
		kfree(card);
		return -ENODEV;
	}
	err = gl_chardev_add(card);
	if (err) {
		if (card->chr.release)
			put_device(&card->chr);
		else
			kfree(card);
		return err;
	}
	err = gl_card_start(card);
	if (err)
		goto put;
	err = gl_pool_card_add(card);
	if (err)
		goto stop_card;
	pci_set_drvdata(pdev, card);
	gl_inject_add(card);
	err = cdev_device_add(&card->cdev, &card->chr);
	if (err)
		goto stop;
	pci_save_state(pdev);	/* for recovery from an error */
	gl_engine_add(card);
	dev_info(&pdev->dev, "%s: %u channels, %u address bits, %llu MiB of card memory\n",
		 dev_name(&card->chr), card->nchan, card->addr_width,
		 card->card_bytes >> 20);
	return 0;
stop:
	gl_inject_remove(card);
	gl_pool_card_remove(card);
stop_card:
	gl_card_stop(card);
put:
	put_device(&card->chr);
	return err;
}

static void gl_remove(struct pci_dev *pdev)
{
	struct gl_card *card = pci_get_drvdata(pdev);
	unsigned int i;

	gl_recovery_card_remove(card);
	cdev_device_del(&card->cdev, &card->chr);
	gl_inject_remove(card);
	WRITE_ONCE(card->gone, true);
	for (i = 0; i < card->nchan; i++)
		gl_chan_kill(&card->chan[i]);
	gl_engine_remove(card);
	synchronize_srcu(&card->srcu);
	gl_files_detach(card);
	gl_exports_detach(card);
	gl_pool_card_remove(card);
	gl_card_stop(card);
	put_device(&card->chr);
}

static const struct pci_device_id gl_ids[] = {
	{ PCI_DEVICE(GL_PCI_VENDOR_ID, GL_PCI_DEVICE_ID) },
	{ }
};
MODULE_DEVICE_TABLE(pci, gl_ids);

static struct pci_driver gl_driver = {
	.name = GL_NAME,
	.id_table = gl_ids,
	.probe = gl_probe,
	.remove = gl_remove,
	.err_handler = &gl_err_handlers,
	.driver.pm = &gl_pm_ops,
};

static int __init gl_init(void)
{
	int err = gl_recovery_init();

	if (err)
		return err;
	err = gl_chardev_init();
	if (err)
		return err;
	err = gl_regions_init();
	if (err)
		goto chardev;
	/* As early as can be: memory only gets more broken up. */
	err = gl_pool_init();
	if (err)
		goto regions;
	err = gl_engine_init();
	if (err)
		goto pool;
	gl_debugfs_init();
	err = pci_register_driver(&gl_driver);
	if (err)
		goto engine;
	return 0;
engine:
	gl_debugfs_exit();
	gl_engine_exit();
pool:
	gl_pool_exit();
regions:
	gl_regions_exit();
chardev:
	gl_chardev_exit();
	return err;
}
module_init(gl_init);

static void __exit gl_exit(void)
{
	pci_unregister_driver(&gl_driver);
	gl_engine_exit();
	gl_debugfs_exit();
	gl_pool_exit();
	gl_regions_exit();
	gl_chardev_exit();
}
module_exit(gl_exit);

MODULE_DESCRIPTION("gigalock: locks large DMA buffers and says why when it can't");
MODULE_LICENSE("GPL");
