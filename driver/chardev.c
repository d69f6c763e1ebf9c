// SPDX-License-Identifier: GPL-2.0-only
/*
 * The character device: open files and the calls on them.
 */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/idr.h>
#include <linux/nospec.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "compat.h"
#include "gl.h"

#define GL_MINORS	256

static dev_t gl_devt;
static struct class *gl_class;
static DEFINE_IDA(gl_minors);

/* ---- the calls ---- */

/* Every argument struct, big enough and aligned for all. */
union gl_arg {
	u32 size;
	struct gigalock_info info;
	struct gigalock_lock lock;
	struct gigalock_unlock unlock;
	struct gigalock_sync sync;
	struct gigalock_submit submit;
	struct gigalock_wait wait;
	struct gigalock_cancel cancel;
	struct gigalock_progress progress;
	struct gigalock_failures failures;
	struct gigalock_export export;
	struct gigalock_eventfd eventfd;
	struct gigalock_lock_stats lock_stats;
	struct gigalock_queue_create queue_create;
	struct gigalock_queue_submit queue_submit;
	struct gigalock_queue_wait queue_wait;
	struct gigalock_queue_destroy queue_destroy;
};

/*
 * A call on its way. User space's memory is read before and written after the
 * card's removal is held up: what stands behind its addresses, a process that
 * serves its page faults for one, can let us wait for ever.
 */
struct gl_call {
	struct gl_file *file;
	struct gl_inside inside;
	union gl_arg arg;
	u64 tell;			/* where @failure goes to, or 0 */
	struct gigalock_failure failure;
	struct file *made;		/* the caller's, by its number, once it is told */
	int fd;				/* that number */
};

int gl_enter(struct gl_inside *in)
	__acquires(&in->card->srcu)
{
	in->idx = srcu_read_lock(&in->card->srcu);
	return READ_ONCE(in->card->gone) ? -ENODEV : 0;
}

void gl_leave(struct gl_inside *in)
	__releases(&in->card->srcu)
{
	srcu_read_unlock(&in->card->srcu, in->idx);
}

static int gl_ioc_info(struct gl_call *c)
{
	struct gl_card *card = c->file->card;
	struct gigalock_info *arg = &c->arg.info;
	size_t most = dma_max_mapping_size(gl_dev(card));
	u32 size = arg->size;

	if (arg->flags)
		return -EINVAL;
	memset(arg, 0, sizeof(*arg));
	arg->size = min_t(u32, size, sizeof(*arg));
	arg->abi_version = GIGALOCK_ABI_VERSION;
	arg->device_version = card->version;
	arg->channels = card->nchan;
	arg->address_width = card->addr_width;
	arg->card_bytes = card->card_bytes;
	arg->max_xfer_bytes = card->max_xfer;
	arg->strategies = gl_lock_strategies();
	arg->locks = atomic_read(&card->locks);
	arg->locked_bytes = atomic64_read(&card->locked_bytes);
	spin_lock(&card->log_lock);
	arg->failures = card->log_seq;
	spin_unlock(&card->log_lock);
	arg->buddy_max_bytes = gl_buddy_max();
	arg->swiotlb_max_bytes = most == SIZE_MAX ? 0 : most;
	arg->iommu = gl_card_translates(card);
	strscpy(arg->bus, pci_name(card->pdev), sizeof(arg->bus));
	return 0;
}

static int gl_ioc_lock(struct gl_call *c)
{
	struct gigalock_lock *arg = &c->arg.lock;
	struct gl_fail fail = {};
	struct gl_who who;
	int err;

	err = gl_lock_create(c->file, arg, &c->inside, &fail);
	if (!err)
		return 0;
	gl_who_am_i(&who);
	gl_failure_record(c->file->card, &fail, &who, GIGALOCK_OP_LOCK,
			  arg->strategy, arg->bytes, &c->failure);
	c->tell = arg->failure_addr;
	return err;
}

static void gl_ioc_lock_undo(struct gl_call *c)
{
	gl_lock_remove(c->file, c->arg.lock.id);
}

static int gl_ioc_unlock(struct gl_call *c)
{
	return gl_lock_remove(c->file, c->arg.unlock.id);
}

static int gl_ioc_sync(struct gl_call *c)
{
	return gl_lock_sync(c->file, &c->arg.sync);
}

/* Why a transfer was not even begun. */
static void gl_ioc_xfer_failed(struct gl_call *c, const struct gl_fail *fail,
			       u32 id, u64 addr)
{
	struct gl_lock *lock;
	struct gl_who who;
	u64 bytes = 0;
	u32 strategy = 0;

	lock = gl_lock_get(c->file, id, false);
	if (lock) {
		bytes = lock->bytes;
		strategy = lock->strategy->number;
		gl_lock_put(lock);
	}
	gl_who_am_i(&who);
	gl_failure_record(c->file->card, fail, &who, GIGALOCK_OP_TRANSFER, strategy,
			  bytes, &c->failure);
	c->tell = addr;
}

static int gl_ioc_submit(struct gl_call *c)
{
	struct gigalock_submit *arg = &c->arg.submit;
	struct gl_fail fail = {};
	int err = gl_xfer_submit(c->file, arg, &fail);

	if (err)
		gl_ioc_xfer_failed(c, &fail, arg->id, arg->failure_addr);
	return err;
}

static void gl_ioc_submit_undo(struct gl_call *c)
{
	gl_xfer_forget(c->file, c->arg.submit.xfer);
}

static int gl_ioc_wait(struct gl_call *c)
{
	struct gigalock_wait *arg = &c->arg.wait;
	int err = gl_xfer_wait(c->file, arg, &c->failure);

	if (!err && arg->status)
		c->tell = arg->failure_addr;
	return err;
}

static int gl_ioc_cancel(struct gl_call *c)
{
	return gl_xfer_cancel(c->file, c->arg.cancel.xfer);
}

static int gl_ioc_progress(struct gl_call *c)
{
	return gl_xfer_progress(c->file, &c->arg.progress);
}

static int gl_ioc_failures(struct gl_call *c)
{
	return gl_failures_read(c->file->card, &c->arg.failures);
}

static int gl_ioc_eventfd(struct gl_call *c)
{
	return gl_file_eventfd(c->file, &c->arg.eventfd);
}

static int gl_ioc_lock_stats(struct gl_call *c)
{
	return gl_lock_stats(c->file, &c->arg.lock_stats);
}

static int gl_ioc_queue_create(struct gl_call *c)
{
	return gl_queue_create(c->file, &c->arg.queue_create);
}

static void gl_ioc_queue_create_undo(struct gl_call *c)
{
	gl_queue_destroy(c->file, c->arg.queue_create.id);
}

/* No room is no failure, and what stopped the queue was told when it did. */
static int gl_ioc_queue_submit(struct gl_call *c)
{
	struct gigalock_queue_submit *arg = &c->arg.queue_submit;
	struct gl_fail fail = {};
	u32 lock = 0;
	int err;

	err = gl_queue_submit(c->file, arg, &c->inside, &lock, &fail);
	if (fail.reason) {
		/* Once the card is gone this is never the lock's last reference. */
		gl_enter(&c->inside);
		gl_ioc_xfer_failed(c, &fail, lock, arg->failure_addr);
		gl_leave(&c->inside);
	}
	return err;
}

static int gl_ioc_queue_wait(struct gl_call *c)
{
	return gl_queue_wait(c->file, &c->arg.queue_wait);
}

static int gl_ioc_queue_destroy(struct gl_call *c)
{
	return gl_queue_destroy(c->file, c->arg.queue_destroy.id);
}

static int gl_ioc_export(struct gl_call *c)
{
	int err = gl_lock_export(c->file, &c->arg.export, &c->made);

	c->fd = c->arg.export.fd;
	return err;
}

struct gl_ioc {
	u32 size;
	u32 min_size;
	bool outside;	/* called without holding up the removal; enters where it must */
	bool mute;	/* has nothing to answer but its errno */
	int (*call)(struct gl_call *c);
	/* The answer could not be given: what nobody knows of is undone. */
	void (*undo)(struct gl_call *c);
};

/* min_size: up to and with the last field of ABI version 1. */
#define GL_IOC(fn, type, last, ...) \
	{ .size = sizeof(struct type), .min_size = offsetofend(struct type, last), \
	  .call = fn, __VA_ARGS__ }

static const struct gl_ioc gl_iocs[] = {
	[_IOC_NR(GIGALOCK_IOC_INFO)] = GL_IOC(gl_ioc_info, gigalock_info, bus),
	[_IOC_NR(GIGALOCK_IOC_LOCK)] = GL_IOC(gl_ioc_lock, gigalock_lock, lock_ns,
					      .undo = gl_ioc_lock_undo),
	[_IOC_NR(GIGALOCK_IOC_UNLOCK)] = GL_IOC(gl_ioc_unlock, gigalock_unlock, id,
						.mute = true),
	[_IOC_NR(GIGALOCK_IOC_SYNC)] = GL_IOC(gl_ioc_sync, gigalock_sync, length, .mute = true),
	[_IOC_NR(GIGALOCK_IOC_SUBMIT)] = GL_IOC(gl_ioc_submit, gigalock_submit, op,
						.undo = gl_ioc_submit_undo),
	[_IOC_NR(GIGALOCK_IOC_WAIT)] = GL_IOC(gl_ioc_wait, gigalock_wait, status),
	[_IOC_NR(GIGALOCK_IOC_CANCEL)] = GL_IOC(gl_ioc_cancel, gigalock_cancel, xfer,
						.mute = true),
	[_IOC_NR(GIGALOCK_IOC_PROGRESS)] = GL_IOC(gl_ioc_progress, gigalock_progress, flags),
	[_IOC_NR(GIGALOCK_IOC_FAILURES)] = GL_IOC(gl_ioc_failures, gigalock_failures,
						  record_size, .outside = true),
	[_IOC_NR(GIGALOCK_IOC_EVENTFD)] = GL_IOC(gl_ioc_eventfd, gigalock_eventfd,
						 reserved, .mute = true),
	[_IOC_NR(GIGALOCK_IOC_EXPORT)] = GL_IOC(gl_ioc_export, gigalock_export, fd),
	[_IOC_NR(GIGALOCK_IOC_LOCK_STATS)] = GL_IOC(gl_ioc_lock_stats,
						    gigalock_lock_stats, mappings),
	[_IOC_NR(GIGALOCK_IOC_QUEUE_CREATE)] = GL_IOC(gl_ioc_queue_create,
						      gigalock_queue_create, reserved,
						      .undo = gl_ioc_queue_create_undo),
	[_IOC_NR(GIGALOCK_IOC_QUEUE_SUBMIT)] = GL_IOC(gl_ioc_queue_submit,
						      gigalock_queue_submit,
						      failure_addr, .outside = true),
	[_IOC_NR(GIGALOCK_IOC_QUEUE_WAIT)] = GL_IOC(gl_ioc_queue_wait,
						    gigalock_queue_wait, reserved),
	[_IOC_NR(GIGALOCK_IOC_QUEUE_DESTROY)] = GL_IOC(gl_ioc_queue_destroy,
						       gigalock_queue_destroy, id,
						       .mute = true),
};

static int gl_ioc_read(const struct gl_ioc *ioc, void __user *from,
		       union gl_arg *arg)
{
	u32 size;
	int err;

	if (get_user(size, (u32 __user *)from))
		return -EFAULT;
	if (size < ioc->min_size)
		return -EINVAL;
	if (size > PAGE_SIZE)
		return -E2BIG;
	err = copy_struct_from_user(arg, ioc->size, from, size);
	if (err)
		return err;
	/* It may have changed under us; what was checked counts. */
	arg->size = size;
	return 0;
}

static int gl_ioc_call(const struct gl_ioc *ioc, struct gl_call *c)
{
	int err;

	if (ioc->outside)
		return ioc->call(c);
	err = gl_enter(&c->inside);
	if (!err)
		err = ioc->call(c);
	gl_leave(&c->inside);
	return err;
}

static int gl_ioc_answer(const struct gl_ioc *ioc, struct gl_call *c, void __user *to)
{
	int err = 0;

	/* INFO says itself how much it has filled. */
	if (!ioc->mute && copy_to_user(to, &c->arg, min(c->arg.size, ioc->size)))
		err = -EFAULT;

	if (c->made && !err) {
		fd_install(c->fd, c->made);
	} else if (c->made) {
		put_unused_fd(c->fd);
		fput(c->made);
	}
	if (err && ioc->undo) {
		/* Without a card there is nothing that doesn't go with the file. */
		if (!gl_enter(&c->inside))
			ioc->undo(c);
		gl_leave(&c->inside);
	}
	return err;
}

static long gl_ioctl(struct file *filp, unsigned int cmd, unsigned long arg)
{
	struct gl_file *file = filp->private_data;
	struct gl_call c = { .file = file, .inside.card = file->card };
	void __user *user = (void __user *)arg;
	const struct gl_ioc *ioc;
	int err;

	/* All are plain _IO numbers: the struct says its size itself. */
	if (_IOC_NR(cmd) >= ARRAY_SIZE(gl_iocs) ||
	    cmd != _IO(GIGALOCK_IOC_TYPE, _IOC_NR(cmd)))
		return -ENOTTY;
	ioc = &gl_iocs[array_index_nospec(_IOC_NR(cmd), ARRAY_SIZE(gl_iocs))];
	if (!ioc->call)
		return -ENOTTY;
	if (READ_ONCE(file->card->gone))
		return -ENODEV;
	err = gl_ioc_read(ioc, user, &c.arg);
	if (err)
		return err;
	err = gl_ioc_call(ioc, &c);
	if (c.tell)
		gl_failure_to_user(c.tell, &c.failure);
	return err ?: gl_ioc_answer(ioc, &c, user);
}

static int gl_mmap(struct file *filp, struct vm_area_struct *vma)
{
	struct gl_file *file = filp->private_data;
	struct gl_inside in = { .card = file->card };
	int err = gl_enter(&in) ?: gl_file_mmap(file, vma);

	gl_leave(&in);
	return err;
}

static __poll_t gl_poll(struct file *filp, poll_table *table)
{
	struct gl_file *file = filp->private_data;
	struct gl_card *card = file->card;
	struct gl_inside in = { .card = card };
	__poll_t mask = 0;

	poll_wait(filp, &file->wait, table);
	/* Look at the rings, too: an interrupt may have been lost. */
	if (!gl_enter(&in))
		gl_card_reap(card);
	gl_leave(&in);
	spin_lock(&file->done_lock);
	if (!list_empty(&file->done))
		mask = EPOLLIN | EPOLLRDNORM;
	spin_unlock(&file->done_lock);
	if (gl_queues_ready(file))
		mask = EPOLLIN | EPOLLRDNORM;
	if (READ_ONCE(card->gone))
		mask |= EPOLLHUP | EPOLLERR;
	return mask;
}

/* ---- open files ---- */

static int gl_open(struct inode *inode, struct file *filp)
{
	struct gl_card *card = container_of(inode->i_cdev, struct gl_card, cdev);
	struct gl_file *file;

	if (READ_ONCE(card->gone))
		return -ENODEV;
	file = kzalloc(sizeof(*file), GFP_KERNEL_ACCOUNT);
	if (!file)
		return -ENOMEM;
	get_device(&card->chr);
	file->card = card;
	file->mapping = filp->f_mapping;
	mutex_init(&file->lock);
	xa_init_flags(&file->locks, XA_FLAGS_ALLOC1);
	xa_init_flags(&file->queues, XA_FLAGS_ALLOC1);
	spin_lock_init(&file->done_lock);
	INIT_LIST_HEAD(&file->done);
	INIT_LIST_HEAD(&file->spare);
	init_waitqueue_head(&file->wait);

	mutex_lock(&card->files_lock);
	list_add_tail(&file->node, &card->files);
	mutex_unlock(&card->files_lock);
	filp->private_data = file;
	return nonseekable_open(inode, filp);
}

static int gl_release(struct inode *inode, struct file *filp)
{
	struct gl_file *file = filp->private_data;
	struct gl_card *card = file->card;
	struct gl_lock *lock;
	unsigned long id;

	/* Under the mutex: removal takes DMA mappings away under it too. */
	mutex_lock(&card->files_lock);
	list_del(&file->node);
	gl_queues_release(file);
	gl_xfer_release_all(file);
	xa_for_each(&file->locks, id, lock) {
		mutex_lock(&file->lock);
		xa_erase(&file->locks, id);
		gl_mapping_remove(file, &lock->map);
		mutex_unlock(&file->lock);
		gl_lock_put(lock);
	}
	xa_destroy(&file->locks);
	mutex_unlock(&card->files_lock);

	gl_file_eventfd(file, &(struct gigalock_eventfd){ .fd = -1 });
	kfree(file);
	put_device(&card->chr);
	return 0;
}

/* The card is gone and no call is inside: take what can't outlive it. */
void gl_files_detach(struct gl_card *card)
{
	struct gl_file *file;
	struct gl_lock *lock;
	unsigned long id;

	mutex_lock(&card->files_lock);
	/* Imports first: what they map may be another lock's, and go with it. */
	list_for_each_entry(file, &card->files, node)
		xa_for_each(&file->locks, id, lock)
			if (lock->strategy->number == GIGALOCK_STRATEGY_DMABUF)
				gl_lock_detach(lock);
	list_for_each_entry(file, &card->files, node) {
		unmap_mapping_range(file->mapping, 0, 0, 1);
		gl_queues_detach(file);
		xa_for_each(&file->locks, id, lock)
			gl_lock_detach(lock);
		/* Who polls with nothing under way learns it here. */
		wake_up_all(&file->wait);
	}
	mutex_unlock(&card->files_lock);
}

static const struct file_operations gl_fops = {
	.owner = THIS_MODULE,
	.open = gl_open,
	.release = gl_release,
	.unlocked_ioctl = gl_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.mmap = gl_mmap,
	GL_GET_UNMAPPED_AREA
	.poll = gl_poll,
	GL_NO_LLSEEK
};

/* ---- the device node ---- */

static void gl_card_release(struct device *chr)
{
	struct gl_card *card = container_of(chr, struct gl_card, chr);

	ida_free(&gl_minors, card->minor);
	cleanup_srcu_struct(&card->srcu);
	pci_dev_put(card->pdev);
	kfree(card);
}

int gl_chardev_add(struct gl_card *card)
{
	int err;

	card->minor = ida_alloc_max(&gl_minors, GL_MINORS - 1, GFP_KERNEL);
	if (card->minor < 0)
		return card->minor;
	err = init_srcu_struct(&card->srcu);
	if (err) {
		ida_free(&gl_minors, card->minor);
		return err;
	}
	/* From here on the memory belongs to the device's last reference. */
	device_initialize(&card->chr);
	card->chr.class = gl_class;
	card->chr.parent = &card->pdev->dev;
	card->chr.devt = MKDEV(MAJOR(gl_devt), card->minor);
	card->chr.release = gl_card_release;
	pci_dev_get(card->pdev);
	cdev_init(&card->cdev, &gl_fops);
	card->cdev.owner = THIS_MODULE;
	return dev_set_name(&card->chr, GL_NAME "%d", card->minor);
}

int gl_chardev_init(void)
{
	int err = alloc_chrdev_region(&gl_devt, 0, GL_MINORS, GL_NAME);

	if (err)
		return err;
	gl_class = gl_class_create(GL_NAME);
	if (IS_ERR(gl_class)) {
		unregister_chrdev_region(gl_devt, GL_MINORS);
		return PTR_ERR(gl_class);
	}
	return 0;
}

void gl_chardev_exit(void)
{
	class_destroy(gl_class);
	unregister_chrdev_region(gl_devt, GL_MINORS);
	ida_destroy(&gl_minors);
}
