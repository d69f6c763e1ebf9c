// SPDX-License-Identifier: GPL-2.0-only
/*
 * A card that can only begin at multiples of ALIGN: what begins elsewhere is
 * refused before it starts, by SUBMIT and by a queue; what doesn't is moved,
 * whatever its length.
 *
 *   gl-align ALIGN
 */
#include "queue.h"

int main(int argc, char **argv)
{
	uint64_t align = argc > 1 ? strtoull(argv[1], NULL, 0) : 0;
	struct gigalock_submit s = { .size = sizeof(s),
				     .direction = GIGALOCK_DIR_TO_CARD };
	struct gigalock_failure why;
	struct gigalock_completion c;
	struct gigalock_queue_entry e;
	struct gigalock_lock a;
	struct queue q;
	uint8_t *mem;
	char what[64];

	if (!align)
		bail("usage: gl-align ALIGN");
	card_open();
	mem = lock_map(&a, GIGALOCK_STRATEGY_SG, GIGALOCK_DIR_BOTH, 1 << 20);
	queue_make(&q, 1024, 0);
	s.id = a.id;
	s.failure_addr = (uintptr_t)&why;
	for (uint64_t off = 1; off < align; off *= 2) {
		why = (struct gigalock_failure){ .size = sizeof(why) };
		s.offset = 4096 + off;
		s.length = 4096;
		snprintf(what, sizeof(what), "beginning at %llu",
			 (unsigned long long)s.offset);
		errno = 0;
		fails(ioctl(card, GIGALOCK_IOC_SUBMIT, &s), EINVAL, what);
		is(why.reason, GIGALOCK_REASON_BAD_ARGUMENT, "  its reason");
		is(why.limit, align, "  what it has to be a multiple of");
		is(why.request, s.offset, "  what it was");
		e = move_of(&a, GIGALOCK_DIR_TO_CARD, s.offset, s.length);
		fails(queue_put(&q, &e, 1), EINVAL, "  in a queue, too");
		is(q.why.limit, align, "  with the same limit");
	}
	scribble(mem, 1 << 20, 3);
	do_move(a.id, GIGALOCK_DIR_TO_CARD, align, 777777, 1);
	memset(mem, 0, 1 << 20);
	e = move_of(&a, GIGALOCK_DIR_FROM_CARD, 2 * align, 777777);
	e.card_offset = 1;
	is(queue_put(&q, &e, 1), 1, "a length and a place in the card that are odd");
	queue_next(&q, &c);
	is(c.status, 0, "  are fine");
	is(c.bytes, 777777, "  all of it");
	queue_destroy(&q);
	fails(try_unlock(a.id), 0, "the lock is free");
	return tap_done();
}
