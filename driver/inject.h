/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Fault injection: what calls that may fail ask first.
 */
#ifndef GIGALOCK_INJECT_H
#define GIGALOCK_INJECT_H

#include <linux/types.h>

struct gl_card;

enum gl_inject_point {
	GL_INJECT_ACCOUNT,
	GL_INJECT_METADATA,
	GL_INJECT_BATCH,
	GL_INJECT_ALLOC,
	GL_INJECT_PIN,
	GL_INJECT_TABLE,
	GL_INJECT_MAP,
	GL_INJECT_STOP,
	GL_INJECT_RESET,
	GL_INJECT_POINTS,
};

/* What is to happen at a point; under gl_card.inject_lock, armed is read without. */
struct gl_injection {
	bool armed;
	unsigned int after;	/* calls that pass before */
	int err;		/* positive */
	unsigned int delay_ms;
	unsigned int turn;	/* counts writes: who stands still goes on at the next */
	unsigned int standing;	/* who stand still here */
};

/*
 * 0, or the negative errno that the call at this place shall seem to give. It may
 * stand still first; killable, where the call itself is ended by a fatal signal.
 */
int gl_inject(struct gl_card *card, enum gl_inject_point point);
int gl_inject_killable(struct gl_card *card, enum gl_inject_point point);
void gl_inject_add(struct gl_card *card);
void gl_inject_remove(struct gl_card *card);

#endif /* GIGALOCK_INJECT_H */
