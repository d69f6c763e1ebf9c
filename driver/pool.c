// SPDX-License-Identifier: GPL-2.0-only
/*
 * The pool: buffers taken when the module is loaded, before time has broken
 * memory up. Ranges and blocks are taken before any card is known; coherent
 * memory belongs to a card and is taken when that is bound.
 *
 * A pool that can't be filled is told in the kernel log and in debugfs, and the
 * module loads with what there is, unless it was asked not to.
 */
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/seq_file.h>
#include <linux/slab.h>

#include "compat.h"
#include "pool.h"

static u64 gl_pool_bytes;
module_param_cb(pool_bytes, &gl_size_ops, &gl_pool_bytes, 0444);
MODULE_PARM_DESC(pool_bytes, "size of one buffer of the pool, whole pages, K, M and G allowed");

static unsigned int gl_pool_count;
module_param_named(pool_count, gl_pool_count, uint, 0444);
MODULE_PARM_DESC(pool_count, "buffers in the pool, of coherent memory for each card; 0: no pool");

static char *gl_pool_strategy = "contig-range";
module_param_named(pool_strategy, gl_pool_strategy, charp, 0444);
MODULE_PARM_DESC(pool_strategy, "how they are got: contig-range, chunked or coherent");

static unsigned int gl_pool_width = 64;
module_param_named(pool_address_width, gl_pool_width, uint, 0444);
MODULE_PARM_DESC(pool_address_width, "address bits that ranges and blocks of the pool may need, 24 to 64");

static bool gl_pool_required;
module_param_named(pool_required, gl_pool_required, bool, 0444);
MODULE_PARM_DESC(pool_required, "don't load when the pool can't be filled");

#define GL_POOL_MOST	1024

static DEFINE_MUTEX(gl_pool_mutex);	/* all below */
static LIST_HEAD(gl_pool);
static struct gl_fail gl_pool_fail;	/* the last buffer that was not had */
static u32 gl_pool_number;		/* GIGALOCK_STRATEGY_* */

/* ---- one buffer ---- */

static void gl_pool_range_note(struct gl_pool_buf *buf, unsigned long pfn, u64 bytes)
{
	u64 end = PFN_PHYS(pfn) + bytes - 1;
	int nid = pfn_to_nid(pfn);

	buf->highest = max(buf->highest, end);
	if (buf->node == GL_POOL_NO_NODE)
		buf->node = nid;
	else if (buf->node != nid)
		buf->node = NUMA_NO_NODE;
}

static int gl_pool_get_blocks(struct gl_pool_buf *buf, struct gl_fail *fail)
{
	struct gl_blocks_want want = {
		.bytes = gl_pool_bytes,
		.top = buf->maker.top,
		.node = NUMA_NO_NODE,
	};
	struct scatterlist *s;
	unsigned int i;
	int err;

	gl_table_init(&buf->blocks.table, U64_MAX);
	err = gl_blocks_alloc(&buf->blocks, &want, fail);
	if (err)
		return err;
	for_each_sgtable_sg(&buf->blocks.table.sgt, s, i)
		gl_pool_range_note(buf, page_to_pfn(sg_page(s)), s->length);
	buf->charged += buf->blocks.table.kernel_bytes;
	return 0;
}

/* The memory of one, by the pool's strategy. */
static int gl_pool_get(struct gl_pool_buf *buf, struct gl_fail *fail)
{
	int err;

	switch (gl_pool_number) {
	case GIGALOCK_STRATEGY_COHERENT:
		err = gl_coherent_make(&buf->maker, fail);
		if (err)
			return err;
		buf->highest = buf->maker.dma_addr + gl_pool_bytes - 1;
		/* What lies behind an IOMMU may lie on several. */
		buf->node = buf->maker.backing == GIGALOCK_BACKING_IOMMU ?
			    NUMA_NO_NODE : pfn_to_nid(PHYS_PFN(buf->maker.dma_addr));
		return 0;
	case GIGALOCK_STRATEGY_CHUNKED:
		return gl_pool_get_blocks(buf, fail);
	default:
		err = gl_contig_alloc(&buf->maker, gl_pool_bytes, &buf->pfn, fail);
		if (!err)
			gl_pool_range_note(buf, buf->pfn, gl_pool_bytes);
		return err;
	}
}

static void gl_pool_put(struct gl_pool_buf *buf)
{
	switch (gl_pool_number) {
	case GIGALOCK_STRATEGY_COHERENT:
		gl_coherent_unmake(&buf->maker);
		break;
	case GIGALOCK_STRATEGY_CHUNKED:
		gl_blocks_free(&buf->blocks);
		break;
	default:
		gl_contig_free(buf->pfn, gl_pool_bytes);
	}
	gl_budget_uncharge_bytes(buf->charged);
	kfree(buf);
}

static int gl_pool_add(struct gl_card *card, struct gl_fail *fail)
{
	struct gl_pool_buf *buf = kzalloc(sizeof(*buf), GFP_KERNEL);
	u64 had = gl_pool_bytes;
	int err;

	if (!buf)
		return gl_fail_set(fail, GIGALOCK_REASON_KERNEL_METADATA,
				   GIGALOCK_STAGE_TABLE, -ENOMEM, 0, sizeof(*buf), 0);
	buf->card = card;
	buf->node = GL_POOL_NO_NODE;
	buf->maker.card = card;
	buf->maker.bytes = gl_pool_bytes;
	buf->maker.node = NUMA_NO_NODE;
	buf->maker.top = card ? gl_card_dma_limit(card) : DMA_BIT_MASK(gl_pool_width);

	err = gl_budget_charge_bytes(had, fail);
	if (err)
		goto free;
	err = gl_pool_get(buf, fail);
	if (err)
		goto uncharge;
	/* What its tables take is known only now. */
	err = gl_budget_charge_bytes(buf->charged, fail);
	buf->charged = had + (err ? 0 : buf->charged);
	if (err) {
		gl_pool_put(buf);
		return err;
	}
	list_add_tail(&buf->node_in_pool, &gl_pool);
	return 0;
uncharge:
	gl_budget_uncharge_bytes(had);
free:
	kfree(buf);
	return err;
}

/* ---- the pool ---- */

static int gl_pool_fill(struct gl_card *card)
{
	struct gl_fail fail = {};
	unsigned int i;
	int err = 0;

	mutex_lock(&gl_pool_mutex);
	for (i = 0; i < gl_pool_count; i++) {
		err = gl_pool_add(card, &fail);
		if (err)
			break;
	}
	if (err)
		gl_pool_fail = fail;
	mutex_unlock(&gl_pool_mutex);
	if (err)
		pr_err(GL_NAME ": pool: %u of %u buffers of %llu bytes were had, by %s; the next one failed with %d, reason %u: limit %llu, available %llu\n",
		       i, gl_pool_count, gl_pool_bytes, gl_pool_strategy, err,
		       fail.reason, fail.limit, fail.available);
	else
		pr_info(GL_NAME ": pool: %u buffers of %llu bytes, by %s\n",
			gl_pool_count, gl_pool_bytes, gl_pool_strategy);
	return gl_pool_required ? err : 0;
}

static void gl_pool_drain(struct gl_card *card)
{
	struct gl_pool_buf *buf, *next;

	mutex_lock(&gl_pool_mutex);
	list_for_each_entry_safe(buf, next, &gl_pool, node_in_pool) {
		if (buf->card != card)
			continue;
		list_del(&buf->node_in_pool);
		gl_pool_put(buf);
	}
	mutex_unlock(&gl_pool_mutex);
}

static int gl_pool_check(void)
{
	if (!strcmp(gl_pool_strategy, "contig-range")) {
		gl_pool_number = GIGALOCK_STRATEGY_CONTIG_RANGE;
	} else if (!strcmp(gl_pool_strategy, "chunked")) {
		gl_pool_number = GIGALOCK_STRATEGY_CHUNKED;
	} else if (!strcmp(gl_pool_strategy, "coherent")) {
		gl_pool_number = GIGALOCK_STRATEGY_COHERENT;
	} else {
		pr_err(GL_NAME ": pool_strategy=%s: contig-range, chunked and coherent are possible\n",
		       gl_pool_strategy);
		return -EINVAL;
	}
	if (gl_pool_count > GL_POOL_MOST) {
		pr_err(GL_NAME ": pool_count=%u: %u are possible\n", gl_pool_count,
		       GL_POOL_MOST);
		return -EINVAL;
	}
	if (gl_pool_width < GL_MIN_WIDTH || gl_pool_width > 64) {
		pr_err(GL_NAME ": pool_address_width=%u: %u to 64 are possible\n",
		       gl_pool_width, GL_MIN_WIDTH);
		return -EINVAL;
	}
	if (!PAGE_ALIGNED(gl_pool_bytes) || gl_pool_bytes > LONG_MAX ||
	    !gl_pool_bytes != !gl_pool_count) {
		pr_err(GL_NAME ": pool_bytes=%llu with pool_count=%u: whole pages, and either both or none\n",
		       gl_pool_bytes, gl_pool_count);
		return -EINVAL;
	}
	return 0;
}

/* Before any card is bound. */
int gl_pool_init(void)
{
	int err = gl_pool_check();

	if (err || !gl_pool_count || gl_pool_number == GIGALOCK_STRATEGY_COHERENT)
		return err;
	err = gl_pool_fill(NULL);
	if (err)
		gl_pool_exit();
	return err;
}

void gl_pool_exit(void)
{
	gl_pool_drain(NULL);
}

int gl_pool_card_add(struct gl_card *card)
{
	int err;

	if (!gl_pool_count || gl_pool_number != GIGALOCK_STRATEGY_COHERENT)
		return 0;
	err = gl_pool_fill(card);
	if (err)
		gl_pool_drain(card);
	return err;
}

/* No lock uses the card's memory any more. */
void gl_pool_card_remove(struct gl_card *card)
{
	gl_pool_drain(card);
}

u32 gl_pool_kind(void)
{
	return gl_pool_number;
}

/* ---- taking from it ---- */

/* Can @lock have @buf? What it lacks is noted, for when nothing else is there. */
static bool gl_pool_suits(struct gl_lock *lock, const struct gl_pool_buf *buf,
			  struct gl_fail *why)
{
	bool anywhere = !buf->card && gl_card_translates(lock->card);

	if (lock->node != NUMA_NO_NODE && buf->node != lock->node) {
		gl_fail_set(why, GIGALOCK_REASON_NODE_MEMORY, GIGALOCK_STAGE_ALLOCATE,
			    -ENOMEM, gl_node_bytes(lock->node), lock->bytes, 0);
		return false;
	}
	if (!anywhere && buf->highest > lock->top) {
		gl_fail_address(why, GIGALOCK_STAGE_ALLOCATE, lock->top, buf->highest);
		return false;
	}
	return true;
}

struct gl_pool_buf *gl_pool_take(struct gl_lock *lock, struct gl_fail *fail)
{
	struct gl_pool_buf *buf, *found = NULL;
	struct gl_fail why = {};
	unsigned int have = 0;

	mutex_lock(&gl_pool_mutex);
	list_for_each_entry(buf, &gl_pool, node_in_pool) {
		if (buf->card && buf->card != lock->card)
			continue;
		have++;
		if (!found && !buf->taken && gl_pool_suits(lock, buf, &why))
			found = buf;
	}
	/* Too long is too long, whether one is free or not. */
	if (have && lock->bytes > gl_pool_bytes)
		found = NULL;
	if (found)
		found->taken = true;
	mutex_unlock(&gl_pool_mutex);
	if (found)
		return found;
	if (have && lock->bytes > gl_pool_bytes) {
		gl_fail_set(fail, GIGALOCK_REASON_POOL_SMALL, GIGALOCK_STAGE_ALLOCATE,
			    -E2BIG, gl_pool_bytes, lock->bytes, gl_pool_bytes);
	} else if (why.reason) {
		*fail = why;
	} else {
		gl_fail_set(fail, GIGALOCK_REASON_POOL_EMPTY, GIGALOCK_STAGE_ALLOCATE,
			    -ENOMEM, have, 1, 0);
		fail->unit = GIGALOCK_UNIT_COUNT;
	}
	return NULL;
}

void gl_pool_give(struct gl_pool_buf *buf)
{
	mutex_lock(&gl_pool_mutex);
	buf->taken = false;
	mutex_unlock(&gl_pool_mutex);
}

void gl_pool_show(struct seq_file *m)
{
	unsigned int have = 0, taken = 0;
	struct gl_pool_buf *buf;
	u64 lowest = U64_MAX;

	mutex_lock(&gl_pool_mutex);
	list_for_each_entry(buf, &gl_pool, node_in_pool) {
		have++;
		taken += buf->taken;
		if (!buf->taken)
			lowest = min(lowest, buf->highest);
	}
	seq_printf(m, "strategy %s\nbytes %llu\nwanted %u\nhave %u\ntaken %u\n",
		   gl_pool_strategy, gl_pool_bytes, gl_pool_count, have, taken);
	/* What a card must reach to have any of them. */
	if (taken < have)
		seq_printf(m, "lowest end 0x%llx\n", lowest);
	if (gl_pool_fail.reason)
		seq_printf(m, "failed: errno %d reason %u limit %llu request %llu available %llu\n",
			   -gl_pool_fail.err, gl_pool_fail.reason, gl_pool_fail.limit,
			   gl_pool_fail.request, gl_pool_fail.available);
	mutex_unlock(&gl_pool_mutex);
}
