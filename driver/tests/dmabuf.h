/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * dma-bufs that the kernel makes, and what the CPU sees of them.
 */
#ifndef GIGALOCK_TEST_DMABUF_H
#define GIGALOCK_TEST_DMABUF_H

#include <fcntl.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/dma-heap.h>
#include <linux/udmabuf.h>

#include "tap.h"

static inline int make_udmabuf(uint64_t bytes, char **mem)
{
	int memfd = memfd_create("test", MFD_ALLOW_SEALING), dev = open("/dev/udmabuf", O_RDWR);
	struct udmabuf_create c = { .memfd = memfd, .size = bytes, .flags = UDMABUF_FLAGS_CLOEXEC };
	int fd;

	if (memfd < 0 || ftruncate(memfd, bytes) || fcntl(memfd, F_ADD_SEALS, F_SEAL_SHRINK))
		bail("memfd");
	if (dev < 0)
		bail("/dev/udmabuf");
	*mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
	fd = ioctl(dev, UDMABUF_CREATE, &c);
	if (fd < 0 || *mem == MAP_FAILED)
		bail("UDMABUF_CREATE");
	return fd;
}

static inline int make_heap(const char *name, uint64_t bytes, char **mem)
{
	struct dma_heap_allocation_data a = { .len = bytes, .fd_flags = O_RDWR | O_CLOEXEC };
	char path[64];
	int dev;

	snprintf(path, sizeof(path), "/dev/dma_heap/%s", name);
	dev = open(path, O_RDWR);
	if (dev < 0)
		bail("%s", path);
	if (ioctl(dev, DMA_HEAP_IOCTL_ALLOC, &a))
		bail("DMA_HEAP_IOCTL_ALLOC");
	*mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, a.fd, 0);
	if (*mem == MAP_FAILED)
		bail("mmap of a heap's buffer");
	return a.fd;
}

/* From udmabuf, or the heap of that name. */
static inline int make_dmabuf(const char *from, uint64_t bytes, char **mem)
{
	return !strcmp(from, "udmabuf") ? make_udmabuf(bytes, mem) :
					  make_heap(from, bytes, mem);
}

#endif /* GIGALOCK_TEST_DMABUF_H */
