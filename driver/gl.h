/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * gigalock driver: the objects and how they hold each other.
 *
 *   card   one bound PCI function. Holds its channels and the failure log.
 *          Kept alive by the driver core and by every open file.
 *   file   one open(). Holds locks and transfers by id.
 *   lock   memory for DMA. Held by its file, by its mappings and by its
 *          transfers.
 *   xfer   one transfer. Held by its file until reaped and by its channel
 *          until done.
 *
 * Removal: gl_card.gone is set, every channel is stopped for good and every
 * transfer ended; then an SRCU grace period waits for the calls still inside.
 * Only then are DMA mappings taken from the locks of files still open. SRCU
 * and not a rwsem: mmap() comes with mmap_lock held, other calls take
 * mmap_lock inside.
 *
 * Lock order: gl_card.files_lock > gl_file.lock > gl_chan.lock > the
 * spinlocks (gl_card.log_lock, gl_file.done_lock). Nothing is taken inside of
 * gl_card.maps_lock.
 */
#ifndef GIGALOCK_GL_H
#define GIGALOCK_GL_H

#include <linux/cdev.h>
#include <linux/device.h>
#include <linux/dma-mapping.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/mm_types.h>
#include <linux/moduleparam.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/rbtree.h>
#include <linux/scatterlist.h>
#include <linux/sched.h>
#include <linux/spinlock.h>
#include <linux/srcu.h>
#include <linux/types.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include <linux/gigalock.h>

#define GIGALOCK_LE16	__le16
#define GIGALOCK_LE32	__le32
#define GIGALOCK_LE64	__le64
#include "gigalock_regs.h"

#include "failure.h"
#include "inject.h"
#include "marks.h"

#define GL_NAME		"gigalock"

#define GL_MIN_WIDTH	24	/* host address bits of a card, and of a lock */

/* Field NAME of register value V, by the _SHIFT and _LEN of the register header. */
#define GL_FIELD(v, name) \
	(((v) >> name##_SHIFT) & GENMASK(name##_LEN - 1, 0))
#define GL_BIT(name)	BIT(name##_SHIFT)

struct seq_file;
struct gl_card;
struct gl_chan;
struct gl_engine;
struct gl_file;
struct gl_lock;
struct gl_mark;
struct gl_queue;
struct gl_table_mark;
struct gl_xfer;

/* ---- debugfs (debugfs.c) ---- */

void gl_debugfs_init(void);
void gl_debugfs_exit(void);
struct dentry *gl_debugfs_dir(void);

/* ---- channels (channel.c) ---- */

/*
 * Who has a channel for itself: a queue, the kernel's DMA engine. Called under
 * gl_chan.lock.
 */
struct gl_chan_user {
	void (*reap)(struct gl_chan *chan);
	/* About to be stopped; for a user that isn't held off by the lock. */
	void (*halt)(struct gl_chan *chan);
	/* Lost what was under way; the channel has been stopped. */
	void (*stopped)(struct gl_chan *chan);
	/* It may be used again. */
	void (*wake)(struct gl_chan *chan);
};

/* A lost interrupt costs this long, not for ever. */
#define GL_LOOK_AGAIN	msecs_to_jiffies(250)

#define GL_BATCHES	64	/* chains in the ring at once */

/* A chain of descriptors with one completion. */
struct gl_batch {
	struct gl_xfer *xfer;	/* NULL: it has ended early */
	u32 descs;
	u64 bytes;
};

struct gl_chan {
	struct gl_card *card;
	unsigned int index;
	void __iomem *regs;

	struct mutex lock;	/* all below */
	wait_queue_head_t idle;	/* somebody wants it for itself */
	bool taken;		/* no transfer of the others is taken */
	const struct gl_chan_user *user;
	void *priv;		/* the user's */
	bool dead;		/* no transfer is taken any more */
	bool running;		/* ENABLE is set */
	bool resting;		/* stopped for a reset or sleep, will come back */

	/* Of the transfers that share it (share.c): */
	u32 next_tag;
	struct gl_desc *ring;
	struct gl_cpl *cpl;
	dma_addr_t ring_dma;
	dma_addr_t cpl_dma;
	u32 entries;
	u32 tail;		/* descriptors ever written */
	u32 done;		/* descriptors ever retired */
	u32 cpl_seen;
	struct list_head waiting;	/* of gl_xfer: has nothing in the ring */
	struct list_head in_ring;	/* of gl_xfer, in order */
	struct gl_batch batch[GL_BATCHES];
	unsigned int first_batch;
	unsigned int batches;
	u64 put_bytes;		/* ever put into the ring */
	u64 shared_bytes;	/* of the transfers in it */
	struct delayed_work late;	/* for those with a time limit */
	unsigned long next_late;
};

int gl_chan_init(struct gl_card *card, unsigned int index);
void gl_chan_destroy(struct gl_chan *chan);
void gl_chan_kill(struct gl_chan *chan);
void gl_chan_rest(struct gl_chan *chan);
void gl_chan_wake(struct gl_chan *chan);
struct gl_chan *gl_chan_take(struct gl_card *card,
			     const struct gl_chan_user *user, void *priv);
void gl_chan_give_back(struct gl_chan *chan);
void gl_chan_run(struct gl_chan *chan, dma_addr_t ring, dma_addr_t cpl,
		 u32 entries, bool irq);
void gl_chan_stop(struct gl_chan *chan);
bool gl_chan_lost(struct gl_chan *chan);
bool gl_chan_busy(struct gl_chan *chan);
void gl_chan_ring(struct gl_chan *chan, u32 tail);
u32 gl_chan_status(struct gl_chan *chan);
u64 gl_chan_bytes(struct gl_chan *chan);
void gl_chan_reap(struct gl_chan *chan);
void gl_card_reap(struct gl_card *card);

/* ---- the kernel's dmaengine (dmaengine.c) ---- */

int gl_engine_init(void);
void gl_engine_exit(void);
void gl_engine_add(struct gl_card *card);
void gl_engine_remove(struct gl_card *card);

/* ---- channels that transfers share (share.c) ---- */

extern const struct gl_chan_user gl_share_user;

void gl_share_init(struct gl_chan *chan);
int gl_share_submit(struct gl_chan *chan, struct gl_xfer *xfer);
void gl_share_cancel(struct gl_chan *chan, struct gl_xfer *xfer);
void gl_share_peek(struct gl_card *card);
u64 gl_share_progress(struct gl_chan *chan, struct gl_xfer *xfer);

/* ---- card (pci.c) ---- */

struct gl_card {
	struct device chr;	/* the character device; owns this memory */
	struct cdev cdev;
	struct pci_dev *pdev;	/* a reference is held until the memory goes */
	int minor;

	struct srcu_struct srcu;
	bool gone;

	void __iomem *regs;
	u32 version;
	u32 addr_width;
	u32 max_ring;		/* log2 */
	u64 card_bytes;
	u64 max_xfer;
	u32 ops;			/* bit n: GL_OP_* n works */
	u32 align;			/* of host addresses */
	u64 boundary;			/* no piece crosses a multiple; 0: none */
	u64 piece;			/* most bytes of a descriptor */
	unsigned int nchan;
	struct mutex take_lock;		/* who takes a channel for itself */
	struct gl_engine *engine;	/* or NULL */
	struct gl_chan chan[GL_MAX_CHANNELS];
	atomic_t next_chan;
	int nvec;

	struct mutex files_lock;	/* the list, and who takes DMA mappings away */
	struct list_head files;
	struct mutex exports_lock;	/* the list, and as above where only they hold a lock */
	struct list_head exports;	/* of gl_export */
	struct mutex maps_lock;		/* the two below */
	struct rb_root maps;		/* of gl_mapping, by offset */
	u64 next_page;			/* where the next one is looked for */
	atomic_t locks;
	atomic64_t locked_bytes;

	spinlock_t log_lock;		/* the log and its number */
	u64 log_seq;
	struct gigalock_failure log[GIGALOCK_FAILURE_LOG];

	struct delayed_work recovery;	/* the bus has not recovered by then */

	struct dentry *debugfs;
	spinlock_t inject_lock;		/* all of inject */
	wait_queue_head_t inject_wait;
	struct gl_injection inject[GL_INJECT_POINTS];
};

static inline struct device *gl_dev(struct gl_card *card)
{
	return &card->pdev->dev;
}

bool gl_card_answers(struct gl_card *card);
bool gl_card_translates(struct gl_card *card);
u64 gl_card_dma_limit(struct gl_card *card);
size_t gl_buddy_max(void);

/* ---- open files (chardev.c) ---- */

struct gl_file {
	struct gl_card *card;
	struct list_head node;		/* in gl_card.files */
	struct address_space *mapping;
	struct mutex lock;		/* the two tables */
	struct xarray locks;
	struct gl_xfer **xfers;		/* GIGALOCK_MAX_XFERS, once there is one */
	unsigned int made_xfers;	/* places in it that are used */
	struct xarray queues;
	u32 next_queue;
	u32 next_lock;			/* ids go round: one given back is not soon another's */
	unsigned int nr_xfers;
	struct eventfd_ctx __rcu *eventfd;
	spinlock_t done_lock;		/* the list, and the state of its transfers */
	struct list_head done;		/* of gl_xfer, finished, not reaped */
	struct list_head spare;		/* of gl_xfer, for the next ones */
	wait_queue_head_t wait;
};

/*
 * Inside: the card's removal waits until who is in has left, so nothing that
 * user space can make last for ever is done there. -ENODEV when the card is
 * gone already; gl_leave() follows in any case.
 */
struct gl_inside {
	struct gl_card *card;
	int idx;
};

int gl_enter(struct gl_inside *in);
void gl_leave(struct gl_inside *in);

/* Something can be reaped: poll() and the eventfd are told. Any context. */
void gl_file_tell(struct gl_file *file);
int gl_file_eventfd(struct gl_file *file, struct gigalock_eventfd *arg);
int gl_chardev_init(void);
void gl_chardev_exit(void);
int gl_chardev_add(struct gl_card *card);
void gl_files_detach(struct gl_card *card);

/* ---- what user space maps (mmap.c) ---- */

struct gl_mapping;

/*
 * Who offers something to be mapped. It is told of every VMA that comes and
 * goes, the first while it is still found by its offset (under gl_file.lock),
 * and must exist from open() to close(). A queue, for one: take and drop a
 * reference there; gl_mapping_remove() when it is destroyed, whatever VMAs
 * there are.
 */
struct gl_mapping_ops {
	void (*open)(struct gl_mapping *map);
	void (*close)(struct gl_mapping *map);
	/* A new VMA, of the bytes from @offset on; sets flags, maps nothing. */
	int (*mmap)(struct gl_mapping *map, struct vm_area_struct *vma, u64 offset);
	/*
	 * Map page number @page of it, and others if it likes; with @order, that
	 * aligned block or VM_FAULT_FALLBACK.
	 */
	vm_fault_t (*fault)(struct gl_mapping *map, struct vm_fault *vmf,
			    u64 page, unsigned int order);
	bool read_only;			/* now and for ever */
	bool outlives_card;		/* faults are for it when the card is gone, too */
};

/* A range of mmap() offsets of a file; part of what is mapped there. */
struct gl_mapping {
	const struct gl_mapping_ops *ops;
	struct gl_card *card;
	struct gl_file *file;		/* while it is found by its offset */
	struct rb_node node;		/* in gl_card.maps */
	u64 base;			/* offset in pages, 0: none */
	u64 pages;
};

/* Under gl_file.lock. The offset for mmap() is base << PAGE_SHIFT. */
int gl_mapping_add(struct gl_file *file, struct gl_mapping *map, u64 bytes);
void gl_mapping_remove(struct gl_file *file, struct gl_mapping *map);
int gl_file_mmap(struct gl_file *file, struct vm_area_struct *vma);

extern const struct gl_mapping_ops gl_lock_mapping_ops;
int gl_mmap_pfns(struct gl_lock *lock, struct vm_area_struct *vma, u64 offset);
vm_fault_t gl_fault_pfns(struct gl_lock *lock, struct vm_fault *vmf, u64 page,
			 unsigned int order);

/* ---- locks (lock.c and one file a strategy) ---- */

struct gl_lock {
	struct kref ref;
	struct gl_file *file;
	struct gl_card *card;
	const struct gl_strategy *strategy;
	u32 id;
	u32 flags;			/* GIGALOCK_LOCK_* */
	u32 direction;			/* GIGALOCK_DIR_* */
	enum dma_data_direction dma_dir;
	u64 bytes;
	u64 top;			/* highest bus address it may get */
	u64 max_segment;		/* longest piece, whole pages */
	int node;			/* or NUMA_NO_NODE */
	u64 deadline_ns;		/* of ktime_get_ns(); 0: none */
	u32 timeout_ms;			/* as it was asked for */
	struct gl_inside *inside;	/* while it is made: who makes it is in */
	u32 backing;			/* GIGALOCK_BACKING_*, set by the strategy */
	u64 table_bytes;		/* kernel memory for its tables, likewise */
	u64 charged_bytes;		/* to the budgets (budget.c) */
	u64 charged_entries;
	bool attached;			/* DMA mappings exist */
	struct gl_mapping map;
	atomic_t mappings;		/* user VMAs */
	atomic_t exports;		/* as a dma-buf */
	atomic_t inflight;		/* transfers not done */

	/* What its transfers did (stats.c). */
	atomic64_t transfers;
	atomic64_t errors;
	atomic64_t cancelled;
	atomic64_t to_card_bytes;
	atomic64_t from_card_bytes;
	atomic64_t busy_ns;

	/* What the device sees: one run, or a table. */
	dma_addr_t dma_addr;
	struct sg_table *sgt;
	bool no_pages;			/* memory without struct pages */
	struct gl_marks marks;		/* places in a long table, by bytes */
	u32 segments;
	u64 longest;

	void *priv;			/* the strategy's */
};

/*
 * One way to lock. @lock gets memory and maps it for the device; on failure it
 * has undone everything and noted why. @detach takes the DMA mapping (and
 * whatever can't outlive the card) away; @free the rest. Both are called once,
 * in this order.
 */
struct gl_strategy {
	const char *name;
	u32 number;
	bool page_sized;		/* length must be whole pages */
	bool user_memory;		/* needs user_addr, can't be mapped again */
	bool allocates;			/* takes memory of the kernel's: a budget counts it */
	bool zero_is_all;		/* 0 bytes: as many as there are */
	int (*lock)(struct gl_lock *lock, const struct gigalock_lock *arg,
		    struct gl_fail *fail);
	void (*detach)(struct gl_lock *lock);
	void (*free)(struct gl_lock *lock);
	/*
	 * What can be mapped: @mmap prepares a VMA; then either @fault maps a page,
	 * or, with gl_mmap_pfns() as @mmap, @pfn says where one lies and how many
	 * follow it in a row (at least itself).
	 */
	int (*mmap)(struct gl_lock *lock, struct vm_area_struct *vma, u64 offset);
	vm_fault_t (*fault)(struct gl_lock *lock, struct vm_fault *vmf, u64 page);
	unsigned long (*pfn)(struct gl_lock *lock, u64 page, u64 *run);
	int (*sync)(struct gl_lock *lock, u64 offset, u64 len, bool for_cpu);
};

extern const struct gl_strategy gl_strategy_coherent;
extern const struct gl_strategy gl_strategy_contig_range;
extern const struct gl_strategy gl_strategy_sg;
extern const struct gl_strategy gl_strategy_hugetlb;
extern const struct gl_strategy gl_strategy_chunked;
extern const struct gl_strategy gl_strategy_dmabuf;
extern const struct gl_strategy gl_strategy_reserved;
extern const struct gl_strategy gl_strategy_pool;

/*
 * 0, or the errno of a caller that is to stop waiting (killed, time is up, the
 * card is gone), noted in @fail: for every loop that may take long.
 */
int gl_lock_give_up(struct gl_lock *lock, u32 stage, u64 done,
		    struct gl_fail *fail);
int gl_lock_create(struct gl_file *file, struct gigalock_lock *arg,
		   struct gl_inside *inside, struct gl_fail *fail);
u32 gl_lock_strategies(void);
int gl_lock_remove(struct gl_file *file, u32 id);
struct gl_lock *gl_lock_get(struct gl_file *file, u32 id, bool for_transfer);
void gl_lock_put(struct gl_lock *lock);
void gl_lock_detach(struct gl_lock *lock);
int gl_lock_sync(struct gl_file *file, struct gigalock_sync *arg);

/* ---- statistics (stats.c) ---- */

/* What ended of a lock's transfers, since the last time. */
struct gl_tally {
	struct gl_lock *lock;
	unsigned int transfers;
	unsigned int errors;
	unsigned int cancelled;
	u64 to_card;
	u64 from_card;
	u64 busy_ns;
};

void gl_tally_add(struct gl_tally *t, u32 direction, u64 bytes, int status);
void gl_tally_flush(struct gl_tally *t);
int gl_lock_stats(struct gl_file *file, struct gigalock_lock_stats *arg);

/* ---- segment tables (table.c) ---- */

struct gl_table {
	struct sg_table sgt;		/* orig_nents counts; nents once mapped */
	struct scatterlist *chunk;	/* the last page of it */
	struct scatterlist *last;	/* entry */
	unsigned int room;		/* entries free behind it */
	unsigned int most_entries;
	u64 most;			/* bytes an entry may span */
	u64 left;			/* of those, in the last one */
	unsigned long next_pfn;		/* that would make the last one longer */
	struct gl_marks marks;		/* places in a long one, by page */
	u64 bytes;
	u64 kernel_bytes;		/* that the table itself takes */
};

void gl_table_init(struct gl_table *table, u64 max_segment);
void gl_table_init_lock(struct gl_table *table, struct gl_lock *lock);
int gl_table_add(struct gl_table *table, struct page *page, unsigned int offset,
		 u64 bytes);
int gl_table_why(u64 bytes, struct gl_table *table, int err, struct gl_fail *fail);
unsigned long gl_table_pfn(struct gl_table *table, u64 page, u64 *run);
void gl_table_free(struct gl_table *table);
int gl_table_map(struct gl_lock *lock, struct gl_table *table,
		 struct gl_fail *fail);
/*
 * An importer of the lock may have written to its memory when the card goes: no
 * bounce buffer of the card's is copied over that.
 */
static inline unsigned long gl_unmap_attrs(struct gl_lock *lock)
{
	return atomic_read(&lock->exports) ? DMA_ATTR_SKIP_CPU_SYNC : 0;
}

/* What a strategy made of one table has for these. */
void gl_table_unmap(struct gl_lock *lock);
int gl_table_sync(struct gl_lock *lock, u64 offset, u64 len, bool for_cpu);

/* ---- blocks of the page allocator (chunked.c) ---- */

struct gl_blocks {
	struct gl_table table;		/* made ready by who wants the blocks */
};

struct gl_blocks_want {
	u64 bytes;			/* whole pages */
	u64 top;			/* highest physical address */
	int node;			/* or NUMA_NO_NODE */
	struct gl_lock *lock;		/* for whom; NULL: nobody yet */
};

int gl_blocks_alloc(struct gl_blocks *blocks, const struct gl_blocks_want *want,
		    struct gl_fail *fail);
void gl_blocks_free(struct gl_blocks *blocks);

/* ---- the caller's memory (pin.c) ---- */

/* A look at @n pages that were pinned at @addr, of a lock at @user_addr. */
typedef int gl_pin_check_t(struct gl_lock *lock, struct page **pages, int n,
			   u64 addr, u64 user_addr, struct gl_fail *fail);

int gl_pin_lock(struct gl_lock *lock, u64 user_addr, unsigned int read,
		gl_pin_check_t *check, struct gl_fail *fail);
void gl_pin_free(struct gl_lock *lock);
unsigned long gl_pin_pfn(struct gl_lock *lock, u64 page, u64 *run);

/* ---- handing on (dmabuf_export.c) ---- */

#ifdef CONFIG_DMA_SHARED_BUFFER
int gl_lock_export(struct gl_file *file, struct gigalock_export *arg,
		   struct file **made);
void gl_exports_detach(struct gl_card *card);
#else
static inline int gl_lock_export(struct gl_file *file, struct gigalock_export *arg,
				 struct file **made)
{
	return -EOPNOTSUPP;
}

static inline void gl_exports_detach(struct gl_card *card)
{
}
#endif

/* ---- what the machine has (memory.c) ---- */

u64 gl_ram_bytes(void);
u64 gl_ram_available(void);
u64 gl_ram_free(void);
unsigned long gl_ram_end_pfn(void);
u64 gl_node_bytes(int nid);
u64 gl_node_free(int nid);
u64 gl_cma_bytes(void);
u64 gl_cma_free(void);
int gl_lock_check_node(struct gl_lock *lock, struct gl_fail *fail);

/* ---- memory in one piece (run.c, contig_range.c, coherent.c), an IOMMU's no (iommu.c) ---- */

int gl_iommu_why(struct gl_lock *lock, int err, bool maybe_full, struct gl_fail *fail);
int gl_run_clear(struct gl_lock *lock, unsigned long pfn, u64 bytes,
		 struct gl_fail *fail);
int gl_run_map(struct gl_lock *lock, unsigned long pfn, struct gl_fail *fail);
int gl_run_map_why(struct gl_lock *lock, u64 phys, int err, bool bounces,
		   struct gl_fail *fail);
void gl_run_unmap(struct gl_lock *lock);
int gl_run_sync(struct gl_lock *lock, u64 offset, u64 len, bool for_cpu);
int gl_contig_alloc(struct gl_lock *lock, u64 bytes, unsigned long *pfn,
		    struct gl_fail *fail);
void gl_contig_free(unsigned long pfn, u64 bytes);
int gl_coherent_make(struct gl_lock *lock, struct gl_fail *fail);
void gl_coherent_unmake(struct gl_lock *lock);
void *gl_coherent_cpu(struct gl_lock *lock);
unsigned long gl_coherent_page(struct gl_lock *lock, u64 page, u64 *run);

/* ---- budgets (budget.c) ---- */

int gl_budget_charge_bytes(u64 bytes, struct gl_fail *fail);
void gl_budget_uncharge_bytes(u64 bytes);
int gl_budget_take(struct gl_lock *lock, const struct gigalock_lock *arg,
		   struct gl_fail *fail);
int gl_budget_take_table(struct gl_lock *lock, struct gl_fail *fail);
void gl_budget_give(struct gl_lock *lock);
void gl_budget_show(struct seq_file *m);

/* ---- module parameters (params.c) ---- */

extern const struct kernel_param_ops gl_size_ops;
int gl_size_parse(const char *text, char **end, u64 *value);

/* ---- regions kept free since boot (regions.c, reserved.c) ---- */

int gl_regions_init(void);
void gl_regions_exit(void);
void gl_regions_show(struct seq_file *m);

/* ---- the pool (pool.c, pooled.c) ---- */

int gl_pool_init(void);
void gl_pool_exit(void);
int gl_pool_card_add(struct gl_card *card);
void gl_pool_card_remove(struct gl_card *card);
void gl_pool_show(struct seq_file *m);

/* ---- the pieces of a lock (segments.c) ---- */

int gl_lock_verify(struct gl_lock *lock, struct gl_fail *fail);

/* A place in a lock, for walking its segments. */
struct gl_pos {
	struct scatterlist *sg;		/* NULL: one run */
	u64 offset;			/* in the segment, or in the run */
};

void gl_lock_seek(struct gl_lock *lock, u64 offset, struct gl_pos *pos);
u64 gl_lock_next(struct gl_lock *lock, struct gl_pos *pos, u64 most,
		 dma_addr_t *addr);

/* ---- descriptors (desc.c) ---- */

/* A transfer on its way into descriptors. */
struct gl_move {
	struct gl_lock *lock;
	struct gl_pos pos;
	u64 offset;		/* in the lock */
	u64 length;
	u64 queued;		/* of it, in descriptors */
	u64 card_offset;
	u64 pattern;
	u32 direction;		/* GIGALOCK_DIR_* */
	u16 flags;		/* GIGALOCK_XFER_* */
	u16 op;			/* GL_OP_* */
	bool card_side;		/* names card memory */
};

int gl_card_limits(struct gl_card *card);
int gl_move_parse(struct gl_card *card, const struct gigalock_queue_entry *req,
		  struct gl_move *move, struct gl_fail *fail);
int gl_move_check(struct gl_card *card, const struct gl_move *move,
		  struct gl_fail *fail);
int gl_move_aligned(struct gl_card *card, const struct gl_move *move,
		    struct gl_fail *fail);
u64 gl_move_desc(struct gl_card *card, struct gl_move *move, u32 cookie,
		 struct gl_desc *desc);

/* ---- queues (queue.c) ---- */

int gl_queue_create(struct gl_file *file, struct gigalock_queue_create *arg);
int gl_queue_submit(struct gl_file *file, struct gigalock_queue_submit *arg,
		    struct gl_inside *inside, u32 *lock, struct gl_fail *fail);
int gl_queue_wait(struct gl_file *file, struct gigalock_queue_wait *arg);
int gl_queue_destroy(struct gl_file *file, u32 id);
bool gl_queues_ready(struct gl_file *file);
void gl_queues_release(struct gl_file *file);
void gl_queues_detach(struct gl_file *file);

/* ---- transfers (xfer.c) ---- */

/* Memory for one is kept by its file and used again. */
struct gl_xfer {
	struct kref ref;
	struct gl_file *file;		/* valid until the file has let it go */
	struct gl_chan *chan;
	struct list_head node;		/* gl_chan.waiting or in_ring, gl_file.done or spare */
	u32 id;				/* 0: not to be found by user space */
	u32 place;			/* in gl_file.xfers, for ever */
	u32 last_id;
	u32 state;			/* GIGALOCK_XFER_*; under done_lock */
	u32 timeout_ms;
	unsigned long deadline;		/* jiffies */
	struct gl_who who;
	u64 cookie;

	/* The channel's, under its lock: */
	struct gl_move move;
	u64 bytes;			/* moved */
	u64 base;			/* BYTES register when it began */
	u32 tag;			/* cookie of its descriptors */
	u64 begin_ns;

	/* The outcome, once DONE: */
	int status;			/* 0 or negative errno */
	u32 crc;
	u64 fault_addr;
	u64 elapsed_ns;
	struct gigalock_failure failure;
};

int gl_xfer_submit(struct gl_file *file, struct gigalock_submit *arg,
		   struct gl_fail *fail);
int gl_xfer_wait(struct gl_file *file, struct gigalock_wait *arg,
		 struct gigalock_failure *failure);
int gl_xfer_cancel(struct gl_file *file, u32 id);
void gl_xfer_forget(struct gl_file *file, u32 id);
int gl_xfer_progress(struct gl_file *file, struct gigalock_progress *arg);
void gl_xfer_done(struct gl_xfer *xfer, int status, const struct gl_fail *fail);
void gl_xfer_put(struct gl_xfer *xfer);
void gl_xfer_release_all(struct gl_file *file);

#endif /* GIGALOCK_GL_H */
