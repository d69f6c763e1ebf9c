// SPDX-License-Identifier: GPL-2.0-only
/*
 * A queue's rings: what the card has completed, what user space sees of it, and
 * what is left when it is over.
 */
#include <linux/build_bug.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "compat.h"
#include "queue.h"

/* One contract is user space's, the other the card's; it is the same memory. */
static_assert(sizeof(struct gigalock_completion) == sizeof(struct gl_cpl));
#define GL_IN_USER(field)	offsetof(struct gigalock_completion, field)
static_assert(GL_IN_USER(cookie) == offsetof(struct gl_cpl, cookie));
static_assert(GL_IN_USER(status) == offsetof(struct gl_cpl, status));
static_assert(GL_IN_USER(bytes) == offsetof(struct gl_cpl, bytes));
static_assert(GL_IN_USER(fault_addr) == offsetof(struct gl_cpl, fault_addr));
static_assert(GL_IN_USER(crc) == offsetof(struct gl_cpl, crc));
static_assert(GL_IN_USER(seq) == offsetof(struct gl_cpl, seq));

static void gl_queue_free(struct kref *ref)
{
	struct gl_queue *q = container_of(ref, struct gl_queue, ref);

	vfree(q->copy);
	kvfree(q->slots);
	kfree_rcu(q, rcu);
}

void gl_queue_put(struct gl_queue *q)
{
	kref_put(&q->ref, gl_queue_free);
}

/* ---- completions ---- */

/* In a row for one lock, it is told at once. */
static void gl_queue_count(struct gl_tally *t, const struct gl_slot *slot, u64 bytes,
			   int status)
{
	if (t->lock != slot->lock) {
		gl_tally_flush(t);
		*t = (struct gl_tally){ .lock = slot->lock };
	}
	gl_tally_add(t, slot->direction, bytes, status);
}

/* Of the oldest transfer under way, and no more than it has? */
static bool gl_queue_plausible(const struct gl_slot *slot, const struct gl_cpl *cpl)
{
	u64 bytes = le64_to_cpu(READ_ONCE(cpl->bytes));

	if (le32_to_cpu(READ_ONCE(cpl->cookie)) != slot->cookie)
		return false;
	return le32_to_cpu(READ_ONCE(cpl->status)) ? bytes <= slot->bytes :
						     bytes == slot->bytes;
}

/*
 * A card that completes what it was not told to may still be at what it was: so
 * it has to stand still before anything is let go.
 */
static void gl_queue_disbelieve(struct gl_queue *q, const struct gl_cpl *cpl)
{
	dev_warn_ratelimited(gl_dev(q->card),
			     "channel %u: completion of nothing, cookie %u, %llu bytes\n",
			     q->chan->index, le32_to_cpu(READ_ONCE(cpl->cookie)),
			     le64_to_cpu(READ_ONCE(cpl->bytes)));
	q->lied = true;
	gl_chan_stop(q->chan);
}

/* Take in what the card has completed; how many that were. */
u32 gl_queue_reap(struct gl_queue *q)
{
	struct gl_tally tally = {};
	u32 before = q->reaped;

	while (q->reaped != q->submitted && !q->lied) {
		const struct gl_cpl *cpl = &q->cpl[q->reaped & (q->entries - 1)];
		struct gl_slot *slot = &q->slots[q->reaped & (q->entries - 1)];
		u32 status;

		if (le32_to_cpu(READ_ONCE(cpl->seq)) != q->reaped + 1)
			break;
		/* The card writes seq last: read the rest after it. */
		dma_rmb();
		status = le32_to_cpu(READ_ONCE(cpl->status));
		if (!gl_queue_plausible(slot, cpl)) {
			gl_queue_disbelieve(q, cpl);
			status = status ?: GL_ERR_CPL_WRITE;
		}
		gl_queue_count(&tally, slot,
			       min(le64_to_cpu(READ_ONCE(cpl->bytes)), slot->bytes),
			       status ? -EIO : 0);
		q->owed += slot->descs;
		/*
		 * The card passes over the rest of a chain that failed after its
		 * completion: those places are free only when it says so, or is
		 * seen to be further.
		 */
		if (status && slot->descs > 1) {
			q->skips = true;
		} else {
			q->head += q->owed;
			q->owed = 0;
			q->skips = false;
		}
		q->reaped++;
	}
	gl_tally_flush(&tally);
	before = q->reaped - before;
	if (q->lied)
		gl_queue_end(q);
	return before;
}

/* Places in the descriptor ring. */
u32 gl_queue_free_descs(struct gl_queue *q)
{
	if (q->skips) {
		u32 head = readl(q->chan->regs + GL_CH_HEAD);

		/* Believed no further than what its completions have said. */
		if (head - q->head >= q->owed) {
			q->head += q->owed;
			q->owed = 0;
			q->skips = false;
		}
	}
	return q->entries - (q->tail - q->head);
}

void gl_queue_tell(struct gl_queue *q)
{
	wake_up_all(&q->wait);
	if (q->irq)
		gl_file_tell(q->file);
}

/* The channel stands still for good: what it had not done it never will. */
void gl_queue_end(struct gl_queue *q)
{
	struct gl_tally tally = {};
	u32 i;

	if (q->stopped)
		return;
	if (!q->lied)
		gl_queue_reap(q);
	for (i = q->reaped; i != q->submitted; i++)
		gl_queue_count(&tally, &q->slots[i & (q->entries - 1)], 0, -ECANCELED);
	gl_tally_flush(&tally);
	q->submitted = q->reaped;
	WRITE_ONCE(q->stopped, true);
	gl_queue_tell(q);
}

/*
 * Completions don't come: has the card stopped, forgotten the rings, or done
 * everything and told nobody?
 */
void gl_queue_look(struct gl_queue *q)
{
	if (q->stopped || q->reaped == q->submitted)
		return;
	if (!gl_chan_lost(q->chan)) {
		/* What it has completed is seen, once it says that it is idle. */
		if (q->rung != q->tail || gl_chan_busy(q->chan))
			return;
		if (gl_queue_reap(q)) {
			gl_queue_tell(q);
			return;
		}
	}
	/* It may have completed something since, but not after this. */
	gl_chan_stop(q->chan);
	gl_queue_end(q);
}

static void gl_queue_chan_reap(struct gl_chan *chan)
{
	struct gl_queue *q = chan->priv;

	if (q->stopped)
		return;
	if (gl_queue_reap(q))
		gl_queue_tell(q);
	else
		gl_queue_look(q);
}

static void gl_queue_chan_stopped(struct gl_chan *chan)
{
	gl_queue_end(chan->priv);
}

/* A queue that lost its transfers stays stopped: its owner has to know. */
static void gl_queue_chan_wake(struct gl_chan *chan)
{
}

const struct gl_chan_user gl_queue_user = {
	.reap = gl_queue_chan_reap,
	.stopped = gl_queue_chan_stopped,
	.wake = gl_queue_chan_wake,
};

/* ---- the ring in user space ---- */

static void gl_queue_vma_open(struct gl_mapping *map)
{
	struct gl_queue *q = container_of(map, struct gl_queue, map);

	kref_get(&q->ref);
}

static void gl_queue_vma_close(struct gl_mapping *map)
{
	gl_queue_put(container_of(map, struct gl_queue, map));
}

static int gl_queue_vma_mmap(struct gl_mapping *map, struct vm_area_struct *vma,
			     u64 offset)
{
	gl_vm_flags_set(vma, VM_PFNMAP);
	return 0;
}

/* The ring; once it is over, what it was, or at least zeroes. */
static vm_fault_t gl_queue_vma_fault(struct gl_mapping *map, struct vm_fault *vmf,
				     u64 page, unsigned int order)
{
	struct gl_queue *q = container_of(map, struct gl_queue, map);
	unsigned long pfn = page_to_pfn(ZERO_PAGE(0));
	vm_fault_t ret;
	void *ring;

	if (order)
		return VM_FAULT_FALLBACK;
	mutex_lock(&q->map_lock);
	ring = q->frozen ? q->copy : q->cpl;
	if (ring) {
		ring += page << PAGE_SHIFT;
		pfn = is_vmalloc_addr(ring) ? vmalloc_to_pfn(ring) :
					      PHYS_PFN(virt_to_phys(ring));
	}
	ret = vmf_insert_pfn(vmf->vma, vmf->address, pfn);
	mutex_unlock(&q->map_lock);
	return ret;
}

const struct gl_mapping_ops gl_queue_mapping_ops = {
	.open = gl_queue_vma_open,
	.close = gl_queue_vma_close,
	.mmap = gl_queue_vma_mmap,
	.fault = gl_queue_vma_fault,
	.read_only = true,
	.outlives_card = true,
};

/* ---- the rings' memory ---- */

int gl_queue_alloc_rings(struct gl_queue *q)
{
	/* Megabytes, if the caller likes: who can't have them is told so, not the log. */
	gfp_t gfp = GFP_KERNEL_ACCOUNT | __GFP_NOWARN;
	struct device *dev = gl_dev(q->card);

	q->slots = kvcalloc(q->entries, sizeof(*q->slots), gfp);
	q->ring = dma_alloc_coherent(dev, q->entries * sizeof(*q->ring),
				     &q->ring_dma, gfp);
	q->cpl = dma_alloc_coherent(dev, gl_queue_ring_bytes(q), &q->cpl_dma, gfp);
	return q->slots && q->ring && q->cpl ? 0 : -ENOMEM;
}

void gl_queue_free_rings(struct gl_queue *q)
{
	struct device *dev = gl_dev(q->card);

	if (q->ring)
		dma_free_coherent(dev, q->entries * sizeof(*q->ring), q->ring,
				  q->ring_dma);
	if (q->cpl)
		dma_free_coherent(dev, gl_queue_ring_bytes(q), q->cpl, q->cpl_dma);
	q->ring = NULL;
	q->cpl = NULL;
}

/*
 * The channel has stopped, and nobody submits: the DMA memory goes back. Who
 * has the ring mapped keeps a copy of it.
 */
void gl_queue_freeze(struct gl_queue *q, u64 base)
{
	size_t bytes = gl_queue_ring_bytes(q);
	void *copy;

	mutex_lock(&q->map_lock);
	if (q->frozen) {
		mutex_unlock(&q->map_lock);
		return;
	}
	/* Zeroes will do. */
	copy = __vmalloc(bytes, GFP_KERNEL_ACCOUNT | __GFP_ZERO | __GFP_NOWARN);
	if (copy)
		memcpy(copy, q->cpl, bytes);
	q->copy = copy;
	q->frozen = true;
	mutex_unlock(&q->map_lock);
	/* Faults see the copy from now on; what was mapped before goes. */
	unmap_mapping_range(q->file->mapping, base << PAGE_SHIFT, bytes, 1);
	gl_queue_free_rings(q);
}
