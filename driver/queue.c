// SPDX-License-Identifier: GPL-2.0-only
/*
 * Queues: a channel of one's own. User space gives many transfers in one call
 * and reads their completions where the card writes them.
 *
 * The kernel alone writes descriptors, from locks and ranges that it checked.
 * It looks at the completion ring only to learn what is over: to use places
 * again, to let locks go, to count. What the card says there can at worst end a
 * transfer of this queue too early in the books. What user space says it has
 * seen protects nothing but its own unread completions.
 *
 * While a transfer is under way its lock counts it as in flight and so can't be
 * given back; a queue ends before the locks of its file do. That is why a slot
 * holds no reference.
 *
 * Lock order: gl_queue.submit_lock > the card's SRCU > gl_file.lock >
 * gl_chan.lock.
 * gl_queue.map_lock comes with mmap_lock held; nothing is taken inside.
 */
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "compat.h"
#include "queue.h"

#define GL_QUEUE_DEFAULT	1024	/* entries, when the caller leaves it to us */

static struct gl_queue *gl_queue_get(struct gl_file *file, u32 id)
{
	struct gl_queue *q;

	rcu_read_lock();
	q = xa_load(&file->queues, id);
	if (q && !kref_get_unless_zero(&q->ref))
		q = NULL;
	rcu_read_unlock();
	return q;
}

int gl_queue_create(struct gl_file *file, struct gigalock_queue_create *arg)
{
	struct gl_card *card = file->card;
	struct gl_chan *chan;
	struct gl_queue *q;
	int err;

	if (arg->flags & ~GIGALOCK_QUEUE_IRQ || arg->reserved)
		return -EINVAL;
	if (!arg->entries)
		arg->entries = min_t(u32, GL_QUEUE_DEFAULT, BIT(card->max_ring));
	if (!is_power_of_2(arg->entries) ||
	    arg->entries < BIT(GL_MIN_RING_LOG2) ||
	    arg->entries > BIT(card->max_ring))
		return -EINVAL;

	q = kzalloc(sizeof(*q), GFP_KERNEL_ACCOUNT);
	if (!q)
		return -ENOMEM;
	kref_init(&q->ref);
	q->card = card;
	q->file = file;
	q->irq = arg->flags & GIGALOCK_QUEUE_IRQ;
	q->entries = arg->entries;
	q->map.ops = &gl_queue_mapping_ops;
	q->map.card = card;
	mutex_init(&q->submit_lock);
	mutex_init(&q->map_lock);
	init_waitqueue_head(&q->wait);
	err = gl_queue_alloc_rings(q);
	if (err)
		goto free;

	chan = gl_chan_take(card, &gl_queue_user, q);
	if (IS_ERR(chan)) {
		err = PTR_ERR(chan);
		goto free;
	}
	mutex_lock(&chan->lock);
	q->chan = chan;
	if (chan->dead || chan->resting)
		gl_queue_end(q);
	else
		gl_chan_run(chan, q->ring_dma, q->cpl_dma, q->entries, q->irq);
	mutex_unlock(&chan->lock);

	mutex_lock(&file->lock);
	err = gl_mapping_add(file, &q->map, gl_queue_ring_bytes(q));
	if (!err) {
		err = xa_alloc_cyclic(&file->queues, &q->id, q,
				      XA_LIMIT(1, INT_MAX), &file->next_queue,
				      GFP_KERNEL_ACCOUNT);
		if (err < 0)
			gl_mapping_remove(file, &q->map);
	}
	/* Read here: once the mutex is free, another thread may destroy it. */
	arg->id = q->id;
	arg->mmap_offset = q->map.base << PAGE_SHIFT;
	mutex_unlock(&file->lock);
	if (err < 0)
		goto give_back;
	arg->ring_bytes = (u64)arg->entries * sizeof(struct gl_cpl);
	arg->channel = chan->index;
	return 0;
give_back:
	mutex_lock(&chan->lock);
	gl_chan_stop(chan);
	gl_chan_give_back(chan);
	mutex_unlock(&chan->lock);
free:
	gl_queue_free_rings(q);
	gl_queue_put(q);
	return err;
}

/* It is out of the file's table: nobody finds it any more. */
static void gl_queue_undo(struct gl_queue *q, u64 base)
{
	struct gl_chan *chan = q->chan;

	mutex_lock(&chan->lock);
	gl_chan_stop(chan);
	gl_queue_end(q);
	gl_chan_give_back(chan);
	mutex_unlock(&chan->lock);
	gl_queue_freeze(q, base);
	gl_queue_put(q);
}

int gl_queue_destroy(struct gl_file *file, u32 id)
{
	struct gl_queue *q;
	u64 base = 0;

	mutex_lock(&file->lock);
	q = xa_erase(&file->queues, id);
	if (q) {
		base = q->map.base;
		gl_mapping_remove(file, &q->map);
	}
	mutex_unlock(&file->lock);
	if (!q)
		return -ENOENT;
	gl_queue_undo(q, base);
	return 0;
}

/* At the last close, before the locks go. */
void gl_queues_release(struct gl_file *file)
{
	struct gl_queue *q;
	unsigned long id;

	xa_for_each(&file->queues, id, q)
		gl_queue_destroy(file, id);
	xa_destroy(&file->queues);
}

/* The card is gone, its channels are stopped and no call is inside. */
void gl_queues_detach(struct gl_file *file)
{
	struct gl_queue *q;
	unsigned long id;

	xa_for_each(&file->queues, id, q)
		gl_queue_freeze(q, q->map.base);
}

/* Under gl_chan.lock: is that a count of completions it can have read? */
static bool gl_queue_seen_ok(struct gl_queue *q, u32 seen)
{
	u32 unread_or_running = q->submitted - seen;

	return unread_or_running <= q->entries &&
	       unread_or_running >= q->submitted - q->reaped;
}

/* Why a queue doesn't answer any more. */
static int gl_queue_over(struct gl_queue *q)
{
	if (READ_ONCE(q->card->gone))
		return -ENODEV;
	/* Destroyed by another thread. */
	if (q->chan->priv != q)
		return -ENOENT;
	return q->stopped ? -EPIPE : 0;
}

/* Where an entry ended: the next one mostly begins there, and needs no search. */
struct gl_walk {
	struct gl_lock *lock;
	u64 offset;
	struct gl_pos pos;
};

/*
 * Put one entry into the descriptor ring. 0, or why not: -EAGAIN when it has to
 * wait for room, else noted in @fail.
 */
static int gl_queue_put_entry(struct gl_queue *q, struct gl_lock *lock,
			      const struct gigalock_queue_entry *e, u32 room,
			      struct gl_walk *walk, struct gl_fail *fail)
{
	struct gl_slot *slot = &q->slots[q->submitted & (q->entries - 1)];
	u32 first = q->tail, last = q->tail + room;
	struct gl_card *card = q->card;
	struct gl_desc *desc = NULL;
	struct gl_move move;
	int err;

	if (e->reserved)
		return gl_fail_argument(fail, e->reserved, 0);
	err = gl_move_parse(card, e, &move, fail);
	if (err)
		return err;
	if (!lock) {
		gl_fail_argument(fail, e->lock, 0);
		fail->err = -ENOENT;
		return -ENOENT;
	}
	move.lock = lock;
	err = gl_move_check(card, &move, fail);
	if (err)
		return err;
	if (walk->lock == lock && walk->offset == move.offset)
		move.pos = walk->pos;
	else
		gl_lock_seek(lock, move.offset, &move.pos);
	err = gl_move_aligned(card, &move, fail);
	if (err)
		return err;

	/* The doorbell has not been told of them: they can be taken back. */
	while (move.queued < move.length) {
		if (q->tail == last) {
			q->tail = first;
			if (room < q->entries)
				return -EAGAIN;
			gl_fail_set(fail, GIGALOCK_REASON_TOO_MANY_SEGMENTS,
				    GIGALOCK_STAGE_TRANSFER, -E2BIG, q->entries,
				    move.length, move.queued);
			return -E2BIG;
		}
		desc = &q->ring[q->tail & (q->entries - 1)];
		gl_move_desc(card, &move, e->cookie, desc);
		q->tail++;
	}
	desc->flags |= cpu_to_le16(q->irq ? GL_DESC_F_CPL | GL_DESC_F_IRQ :
					    GL_DESC_F_CPL);
	slot->lock = move.lock;
	slot->bytes = move.length;
	slot->descs = q->tail - first;
	slot->direction = move.direction;
	slot->cookie = e->cookie;
	/* Whatever the card has put there ahead of time is no completion of this. */
	WRITE_ONCE(q->cpl[q->submitted & (q->entries - 1)].seq,
		   cpu_to_le32(q->submitted));
	atomic_inc(&move.lock->inflight);
	q->submitted++;
	*walk = (struct gl_walk){ lock, move.offset + move.length, move.pos };
	return 0;
}

/* A bite of entries, under gl_file.lock and gl_chan.lock. */
static int gl_queue_take(struct gl_queue *q, struct gl_file *file, u32 count,
			 u32 seen, u32 *taken, struct gl_fail *fail)
{
	struct gl_lock *lock = NULL;
	struct gl_walk walk = {};
	u32 i;
	int err;

	if (!q->stopped && gl_queue_reap(q))
		wake_up_all(&q->wait);
	err = gl_queue_over(q);
	if (err)
		return err;
	if (!gl_queue_seen_ok(q, seen))
		return gl_fail_argument(fail, seen, q->reaped);
	q->seen = seen;
	for (i = 0; i < count; i++) {
		const struct gigalock_queue_entry *e = &q->bite[i];

		/* Mostly one after the other of the same lock. */
		if (!lock || lock->id != e->lock)
			lock = xa_load(&file->locks, e->lock);
		err = -EAGAIN;
		if (q->submitted - seen < q->entries)
			err = gl_queue_put_entry(q, lock, e,
						 gl_queue_free_descs(q), &walk,
						 fail);
		if (err)
			break;
		++*taken;
	}
	/* Full of what doesn't end: it may be over. */
	if (err == -EAGAIN && !i)
		gl_queue_look(q);
	return q->stopped ? gl_queue_over(q) : err;
}

static int gl_queue_bite(struct gl_queue *q, u64 from, u32 count, u32 size)
{
	u32 i;

	if (size == sizeof(q->bite[0]))
		return copy_from_user(q->bite, u64_to_user_ptr(from),
				      count * sizeof(q->bite[0])) ? -EFAULT : 0;
	for (i = 0; i < count; i++) {
		int err = copy_struct_from_user(&q->bite[i], sizeof(q->bite[0]),
						u64_to_user_ptr(from +
								(u64)i * size),
						size);
		if (err)
			return err;
	}
	return 0;
}

/* @lock: of the first entry that was not taken. */
static int gl_queue_submit_bites(struct gl_queue *q, struct gl_file *file,
				 struct gigalock_queue_submit *arg,
				 struct gl_inside *inside, u32 *done, u32 *lock,
				 struct gl_fail *fail)
{
	u32 taken = 0;
	int err;

	do {
		u32 bite = min_t(u32, arg->count - taken, GL_QUEUE_BITE);
		u32 before = taken;

		err = gl_queue_bite(q, arg->entries + (u64)taken * arg->entry_size,
				    bite, arg->entry_size);
		/* If the card is gone, the queue is over, and says so. */
		gl_enter(inside);
		mutex_lock(&file->lock);
		mutex_lock(&q->chan->lock);
		if (!err)
			err = gl_queue_take(q, file, bite, arg->seen, &taken, fail);
		if (fail->reason && taken - before < bite)
			*lock = q->bite[taken - before].lock;
		/* One doorbell a call: at its end, however it ends. */
		if ((err || taken == arg->count) && q->rung != q->tail &&
		    !gl_queue_over(q)) {
			q->rung = q->tail;
			gl_chan_ring(q->chan, q->tail);
		}
		mutex_unlock(&q->chan->lock);
		mutex_unlock(&file->lock);
		gl_leave(inside);
	} while (!err && taken < arg->count);
	*done = taken;
	return taken ? 0 : err;
}

/*
 * Not inside: reading the entries, and waiting for who reads them, may take as
 * long as user space likes.
 */
int gl_queue_submit(struct gl_file *file, struct gigalock_queue_submit *arg,
		    struct gl_inside *inside, u32 *lock, struct gl_fail *fail)
{
	u32 size = arg->entry_size;
	struct gl_queue *q;
	int err;

	if (arg->reserved)
		return gl_fail_argument(fail, arg->reserved, 0);
	if (size < sizeof(struct gigalock_queue_entry) || size > PAGE_SIZE)
		return gl_fail_argument(fail, size,
					sizeof(struct gigalock_queue_entry));
	q = gl_queue_get(file, arg->id);
	if (!q) {
		gl_fail_argument(fail, arg->id, 0);
		fail->err = -ENOENT;
		return -ENOENT;
	}
	err = mutex_lock_killable(&q->submit_lock);
	if (!err) {
		err = gl_queue_submit_bites(q, file, arg, inside, &arg->count, lock,
					    fail);
		mutex_unlock(&q->submit_lock);
	}
	gl_queue_put(q);
	return err;
}

/* Under gl_chan.lock. */
static int gl_queue_news(struct gl_queue *q, u32 seen, u32 *now)
{
	int err = gl_queue_over(q);

	if (err == -ENOENT)
		return err;
	if (!q->stopped && gl_queue_reap(q))
		gl_queue_tell(q);
	if (!gl_queue_seen_ok(q, seen))
		return -EINVAL;
	q->seen = seen;
	*now = q->reaped;
	if (q->reaped != seen)
		return 0;
	return err ?: -ETIMEDOUT;
}

static bool gl_queue_woken(struct gl_queue *q, u32 seen)
{
	return READ_ONCE(q->reaped) != seen || READ_ONCE(q->stopped);
}

int gl_queue_wait(struct gl_file *file, struct gigalock_queue_wait *arg)
{
	ktime_t nap = ns_to_ktime(50 * NSEC_PER_USEC);
	ktime_t most = ms_to_ktime(1);
	ktime_t end = ktime_add_ms(ktime_get(), max(arg->timeout_ms, 0));
	bool look = !arg->timeout_ms;
	struct gl_queue *q;
	u32 now = 0;
	int err;

	if (arg->flags || arg->reserved || arg->timeout_ms < -1)
		return -EINVAL;
	q = gl_queue_get(file, arg->id);
	if (!q)
		return -ENOENT;
	/* An interrupt wakes us, unless it gets lost. */
	if (q->irq) {
		most = ms_to_ktime(250);
		nap = most;
	}
	for (;;) {
		ktime_t left = nap;

		mutex_lock(&q->chan->lock);
		err = gl_queue_news(q, arg->seen, &now);
		if (err == -ETIMEDOUT && look) {
			gl_queue_look(q);
			err = gl_queue_news(q, arg->seen, &now);
		}
		mutex_unlock(&q->chan->lock);
		if (err != -ETIMEDOUT)
			break;
		if (arg->timeout_ms >= 0) {
			left = min(left, ktime_sub(end, ktime_get()));
			if (left <= 0)
				break;
		}
		/* Without interrupts nobody wakes us but the end. */
		err = wait_event_interruptible_hrtimeout(q->wait,
							 gl_queue_woken(q, arg->seen),
							 left);
		if (err && err != -ETIME) {
			/* EINTR if a handler ran; else the call goes on. */
			err = -ERESTARTNOHAND;
			break;
		}
		look = nap == most;
		nap = min(most, ktime_add(nap, nap));
	}
	gl_queue_put(q);
	arg->seen = now;
	return err;
}

/* For poll(): a call on one of the queues with interrupts has something to say. */
bool gl_queues_ready(struct gl_file *file)
{
	struct gl_queue *q;
	unsigned long id;
	bool ready = false;

	rcu_read_lock();
	xa_for_each(&file->queues, id, q)
		if (q->irq && (READ_ONCE(q->reaped) != READ_ONCE(q->seen) ||
			       READ_ONCE(q->stopped)))
			ready = true;
	rcu_read_unlock();
	return ready;
}
