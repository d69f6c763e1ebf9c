/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The data of xfer, and the look at them.
 *
 * By the host: the seeded pattern, no two words of which are the same, and a
 * look at every byte.
 *
 * By the device, for a CPU that is emulated touches a byte slowly: the device
 * fills each slice of the buffer with a word of its own (word number k of the
 * seeded pattern for slice k) and computes checksums, which are compared with
 * those computed here from the words alone. So what is missing, stale, or in
 * another slice's place is seen; what changed places within a slice is not. At
 * the end the CPU looks at the first and the last word of each slice, if the
 * buffer is mapped: that the device's memory is also ours.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>

#include "xfer.h"

/* In pieces, so that progress can be told. */
#define PIECE ((uint64_t)16 << 20)
#define SLICE ((uint64_t)1 << 20)
/* The card's error code of a comparison, see its datasheet. */
#define ERR_COMPARE 0x0c

/* ---- by the host --------------------------------------------------------- */

static void host_fill(const struct xfer_args *args, const char *what,
		      uint64_t from, uint64_t to)
{
	unsigned char *data = glk_lock_data(args->report.lock);

	for (uint64_t at = from; at < to; at += PIECE) {
		progress(what, at - from, to - from);
		glk_pattern_fill(data + at,
				 (size_t)(to - at < PIECE ? to - at : PIECE),
				 args->seed, at);
	}
}

static bool host_verify(const struct xfer_args *args, uint64_t to,
			struct glk_difference *first)
{
	const unsigned char *data = glk_lock_data(args->report.lock);

	for (uint64_t at = 0; at < to; at += PIECE) {
		progress("verifying", at, to);
		if (!glk_pattern_verify(data + at,
					(size_t)(to - at < PIECE ? to - at : PIECE),
					args->seed, at, first)) {
			first->offset += at;
			return false;
		}
	}
	return true;
}

/*
 * What can be compared: a round trip, everything; to the card, what the device
 * says it saw; from the card, what an earlier run with this seed left there.
 */
static void host_check(struct xfer_args *args, struct result *r)
{
	uint32_t direction = args->report.want.direction;
	uint64_t end = args->report.want.bytes;
	bool same = true;

	if (direction == GIGALOCK_DIR_FROM_CARD &&
	    (!args->seeded || r->windows > 1))
		return;
	if (!args->no_crc) {
		progress("computing the checksum", 0, 0);
		r->have_expected = true;
		r->crc_expected = glk_pattern_crc32c(0, args->seed, args->offset,
						     end - args->offset);
	}
	if (direction == GIGALOCK_DIR_TO_CARD && args->no_crc)
		return;
	if (r->have_to && r->have_from && r->crc_to != r->crc_from)
		same = false;
	if (r->have_to && r->have_expected && r->crc_to != r->crc_expected)
		same = false;
	if (r->have_from && r->have_expected && r->crc_from != r->crc_expected)
		same = false;
	/* All of it, what was before the offset and not to be touched too. */
	if (!host_verify(args, end, &r->difference)) {
		r->have_difference = true;
		same = false;
	}
	r->verdict = same ? SAME : DIFFERENT;
}

/* ---- by the device -------------------------------------------------------- */

static uint64_t word_of(const struct xfer_args *args, uint64_t slice, bool inverse)
{
	unsigned char bytes[8];
	uint64_t word = 0;

	glk_pattern_fill(bytes, sizeof(bytes), args->seed, slice * 8);
	for (int i = 7; i >= 0; i--)
		word = word << 8 | bytes[i];
	return inverse ? ~word : word;
}

/* From @at to the end of its slice, but not beyond @to. */
static uint64_t slice_end(uint64_t at, uint64_t to)
{
	uint64_t end = (at / SLICE + 1) * SLICE;

	return end < to ? end : to;
}

static int device_fill(struct xfer_args *args, const char *what, uint64_t from,
		       uint64_t to, bool inverse)
{
	struct glk_xfer_options options = {
		.size = sizeof(options),
		.direction = GIGALOCK_DIR_FROM_CARD,
		.op = GIGALOCK_XFER_OP_FILL,
	};
	struct glk_xfer_result done = { .size = sizeof(done) };
	int ret = 0;

	for (uint64_t at = from; at < to && !ret; at += options.length) {
		progress(what, at - from, to - from);
		options.offset = at;
		options.length = slice_end(at, to) - at;
		options.pattern = word_of(args, at / SLICE, inverse);
		ret = transfer(args, &options, &done);
	}
	return ret;
}

static uint32_t expected_crc(const struct xfer_args *args, uint64_t from,
			     uint64_t to, bool inverse)
{
	uint32_t crc = 0;
	uint64_t end;

	for (uint64_t at = from; at < to; at = end) {
		end = slice_end(at, to);
		crc = glk_crc32c_combine(crc,
			glk_word_crc32c(word_of(args, at / SLICE, inverse), end - at),
			end - at);
	}
	return crc;
}

static void differs(struct result *r, const char *what)
{
	if (r->verdict != DIFFERENT)
		r->differs = what;
	r->verdict = DIFFERENT;
}

/* Is the lock's memory there what it should be, says the device? */
static int device_crc(struct xfer_args *args, uint64_t from, uint64_t to,
		      bool inverse, const char *what, struct result *r)
{
	const struct glk_xfer_options options = {
		.size = sizeof(options),
		.direction = GIGALOCK_DIR_TO_CARD,
		.flags = GIGALOCK_XFER_CRC,
		.op = GIGALOCK_XFER_OP_CRC,
		.offset = from,
		.length = to - from,
	};
	struct glk_xfer_result done = { .size = sizeof(done) };
	int ret = transfer(args, &options, &done);

	if (!ret && done.crc32c != expected_crc(args, from, to, inverse))
		differs(r, what);
	return ret;
}

static int device_compare(struct xfer_args *args, uint64_t at, uint64_t length,
			  struct result *r)
{
	const struct glk_xfer_options options = {
		.size = sizeof(options),
		.direction = GIGALOCK_DIR_TO_CARD,
		.op = GIGALOCK_XFER_OP_COMPARE,
		.offset = at,
		.length = length,
		.card_offset = args->card_offset,
	};
	struct glk_xfer_result done = { .size = sizeof(done) };
	int ret = transfer(args, &options, &done);

	if (ret != -EIO ||
	    args->report.failure.reason != GIGALOCK_REASON_DEVICE_ERROR ||
	    args->report.failure.request != ERR_COMPARE)
		return ret;
	/* Not a failure, but a finding. */
	args->report.failed = false;
	differs(r, "the card's comparison of a window that came back");
	return 0;
}

/* The first and the last word of each slice, read by the CPU. */
static void spot_check(struct xfer_args *args, uint64_t end, struct result *r)
{
	const unsigned char *data = glk_lock_data(args->report.lock);
	uint64_t last;

	for (uint64_t at = 0; data && at < end; at = last) {
		unsigned char word[8];
		uint64_t value = word_of(args, at / SLICE, false);

		last = slice_end(at, end);
		for (int i = 0; i < 8; i++)
			word[i] = (unsigned char)(value >> (8 * i));
		for (uint64_t i = 0; i < 16 && last - at >= 16; i++) {
			uint64_t where = i < 8 ? at + i
					       : (last - at) / 8 * 8 + at - 16 + i;

			if (!(i % 8))
				glk_lock_sync_for_cpu(args->report.lock, where, 8);
			if (data[where] == word[i % 8])
				continue;
			r->have_difference = true;
			r->difference.offset = where;
			r->difference.expected = word[i % 8];
			r->difference.found = data[where];
			differs(r, "a word that the CPU reads");
			return;
		}
	}
}

static int device_check(struct xfer_args *args, struct result *r)
{
	uint64_t end = args->report.want.bytes;
	int ret = 0;

	r->have_expected = true;
	r->crc_expected = expected_crc(args, args->offset, end, false);
	if (r->crc_to != r->crc_expected || r->crc_from != r->crc_expected)
		differs(r, "the checksums of what was moved");
	/* Once more, now that all windows were moved: none hit another. */
	for (uint64_t at = 0; at < end && !ret; at += 64 * SLICE) {
		uint64_t to = end - at < 64 * SLICE ? end : at + 64 * SLICE;

		progress("verifying", at, end);
		ret = device_crc(args, at, to, false,
				 "the buffer's checksum at the end", r);
	}
	if (ret)
		return ret;
	spot_check(args, end, r);
	if (r->verdict == NOT_COMPARED)
		r->verdict = SAME;
	return 0;
}

/* ---- either --------------------------------------------------------------- */

int make_data(struct xfer_args *args, const char *what, uint64_t from,
	      uint64_t to, bool inverse)
{
	unsigned char *data = glk_lock_data(args->report.lock);

	if (args->check == CHECK_DEVICE) {
		return device_fill(args, what, from, to, inverse);
	} else if (!data) {
		return 0;	/* not mapped, and nothing will be looked at */
	} else if (inverse) {
		glk_pattern_fill_inverse(data + from, (size_t)(to - from),
					 args->seed, from);
	} else {
		host_fill(args, what, from, to);
	}
	return 0;
}

int check_inverse(struct xfer_args *args, uint64_t at, uint64_t length,
		  struct result *r)
{
	if (args->check != CHECK_DEVICE)
		return 0;
	return device_crc(args, at, at + length, true,
			  "a window that was to be overwritten", r);
}

int check_window(struct xfer_args *args, uint64_t at, uint64_t length,
		 struct result *r)
{
	int ret;

	if (args->check != CHECK_DEVICE)
		return 0;
	ret = device_compare(args, at, length, r);
	return ret ? ret : device_crc(args, at, at + length, false,
				      "a window that came back", r);
}

int check_all(struct xfer_args *args, struct result *r)
{
	double start = now_ms();
	int ret = 0;

	if (args->check == CHECK_HOST)
		host_check(args, r);
	else if (args->check == CHECK_DEVICE)
		ret = device_check(args, r);
	r->verify_ms = now_ms() - start;
	return ret;
}
