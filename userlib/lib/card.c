/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Cards: open, close, what they are, what failed on them.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "internal.h"

#define STRINGIFY2(x) #x
#define STRINGIFY(x) STRINGIFY2(x)

/* The same for 32-bit callers of a 64-bit driver. */
_Static_assert(sizeof(struct gigalock_failure) == 96, "failure has no holes");
_Static_assert(sizeof(struct gigalock_info) == 120, "info has no holes");
_Static_assert(sizeof(struct gigalock_lock) == 112, "lock has no holes");
_Static_assert(sizeof(struct gigalock_submit) == 80, "submit has no holes");
_Static_assert(sizeof(struct gigalock_wait) == 64, "wait has no holes");
_Static_assert(sizeof(struct gigalock_lock_stats) == 64, "stats have no holes");
_Static_assert(sizeof(struct gigalock_queue_create) == 40, "create has no holes");
_Static_assert(sizeof(struct gigalock_queue_submit) == 40, "submit has no holes");

const char *glk_version(void)
{
	return STRINGIFY(GLK_VERSION_MAJOR) "." STRINGIFY(GLK_VERSION_MINOR);
}

int glk_ioctl(int fd, unsigned long request, void *arg)
{
	return ioctl(fd, request, arg) < 0 ? -errno : 0;
}

bool glk_copy_options(void *to, size_t to_size, const void *from)
{
	size_t size;

	if (!from)
		return false;
	memcpy(&size, from, sizeof(size));
	if (size < sizeof(size))
		return false;
	/* A newer caller may not use what this library doesn't know. */
	for (size_t i = to_size; i < size; i++)
		if (((const unsigned char *)from)[i])
			return false;
	memset(to, 0, to_size);
	memcpy(to, from, size < to_size ? size : to_size);
	return true;
}

void glk_copy_result(void *to, const void *from, size_t from_size)
{
	size_t size;

	if (!to)
		return;
	memcpy(&size, to, sizeof(size));
	if (size <= sizeof(size))
		return;
	if (size > from_size)
		memset((char *)to + from_size, 0, size - from_size);
	memcpy((char *)to + sizeof(size), (const char *)from + sizeof(size),
	       (size < from_size ? size : from_size) - sizeof(size));
}

static int path_of(const char *device, char **path)
{
	if (!device)
		device = GLK_DEFAULT_DEVICE;
	if (*device && strspn(device, "0123456789") == strlen(device))
		return asprintf(path, "/dev/gigalock%s", device) < 0 ? -ENOMEM : 0;
	*path = strdup(device);
	return *path ? 0 : -ENOMEM;
}

static int fail_open(struct gigalock_failure *failure, int err)
{
	struct glk_cause cause = {
		.stage = GIGALOCK_STAGE_OPEN,
		.err = err,
		.unit = GIGALOCK_UNIT_COUNT,
	};

	switch (err) {
	case EACCES:
	case EPERM:
	case EROFS:
		cause.reason = GIGALOCK_REASON_PERMISSION;
		break;
	case ENOMEM:
		cause.reason = GIGALOCK_REASON_KERNEL_METADATA;
		break;
	case EMFILE:
	case ENFILE:
	case EINTR:
		cause.reason = GIGALOCK_REASON_BAD_ARGUMENT;
		break;
	default:
		cause.reason = GIGALOCK_REASON_NO_DEVICE;
		break;
	}
	return glk_fail(failure, &cause, GIGALOCK_OP_LOCK, GLK_STRATEGY_AUTO, 0);
}

int glk_card_open(const char *device, struct glk_card **out,
		  struct gigalock_failure *failure)
{
	struct gigalock_info info = { .size = sizeof(info) };
	struct glk_card *card;
	int ret;

	if (!out)
		return fail_open(failure, EINVAL);
	*out = NULL;
	card = calloc(1, sizeof(*card));
	if (!card)
		return fail_open(failure, ENOMEM);
	ret = path_of(device, &card->device);
	if (ret)
		goto fail_path;
	/* NONBLOCK: a path that is a pipe, say, must not hold us. */
	card->fd = open(card->device, O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (card->fd < 0) {
		ret = -errno;
		goto fail_open;
	}
	fcntl(card->fd, F_SETFL, 0);
	ret = glk_ioctl(card->fd, GIGALOCK_IOC_INFO, &info);
	if (ret) {
		/* Other files refuse unknown calls in their own ways. */
		if (ret != -ENODEV)
			ret = -ENOTTY;
		goto fail_info;
	}
	if (info.abi_version != GIGALOCK_ABI_VERSION) {
		ret = -EPROTO;
		goto fail_info;
	}
	card->strategies = info.strategies;
	memcpy(card->bus, info.bus, sizeof(info.bus));
	pthread_mutex_init(&card->mutex, NULL);
	atomic_init(&card->refs, 1);
	*out = card;
	return 0;

fail_info:
	close(card->fd);
fail_open:
	free(card->device);
fail_path:
	free(card);
	return fail_open(failure, -ret);
}

struct glk_card *glk_card_get(struct glk_card *card)
{
	atomic_fetch_add(&card->refs, 1);
	return card;
}

void glk_card_put(struct glk_card *card)
{
	if (atomic_fetch_sub(&card->refs, 1) > 1)
		return;
	close(card->fd);
	pthread_mutex_destroy(&card->mutex);
	free(card->device);
	free(card);
}

void glk_card_close(struct glk_card *card)
{
	if (card)
		glk_card_put(card);
}

const char *glk_card_device(const struct glk_card *card)
{
	return card->device;
}

int glk_card_fd(const struct glk_card *card)
{
	return card->fd;
}

int glk_card_info(struct glk_card *card, struct gigalock_info *info)
{
	return glk_ioctl(card->fd, GIGALOCK_IOC_INFO, info);
}

int glk_card_failures(struct glk_card *card, uint64_t since,
		      struct gigalock_failure *records, unsigned int capacity)
{
	struct gigalock_failures call = {
		.size = sizeof(call),
		.capacity = capacity,
		.records = (uintptr_t)records,
		.since = since,
		.record_size = sizeof(*records),
	};
	int ret = glk_ioctl(card->fd, GIGALOCK_IOC_FAILURES, &call);

	return ret ? ret : (int)call.count;
}

int64_t glk_card_failure_seq(struct glk_card *card)
{
	struct gigalock_info info = { .size = sizeof(info) };
	int ret = glk_card_info(card, &info);

	return ret ? ret : (int64_t)info.failures;
}

bool glk_module_has(const char *sys, const char *bus, const char *parameter)
{
	char path[300], value[8] = "";
	FILE *file;
	size_t got;

	snprintf(path, sizeof(path),
		 "%s/bus/pci/devices/%s/driver/module/parameters/%s", sys, bus,
		 parameter);
	file = fopen(path, "re");
	if (!file)
		return true;
	got = fread(value, 1, sizeof(value) - 1, file);
	fclose(file);
	value[got] = 0;
	value[strcspn(value, "\n")] = 0;
	return *value && strcmp(value, "(null)") != 0 && strcmp(value, "0") != 0;
}

int glk_card_set_eventfd(struct glk_card *card, int fd)
{
	struct gigalock_eventfd call = { .size = sizeof(call), .fd = fd };

	return glk_ioctl(card->fd, GIGALOCK_IOC_EVENTFD, &call);
}
