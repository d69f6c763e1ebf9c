// SPDX-License-Identifier: GPL-2.0-only
/*
 * Keeps pages of CMA memory busy: pages of a process that pipes refer to can't be
 * moved away, wherever they lie. Fills memory first, so that some come from
 * there; then one page in STEP is given to a pipe and all is unmapped again.
 *
 *   gl-cma-hold MIB STEP_MIB
 *
 * Prints "holding N pages" and stays until killed.
 */
#include <fcntl.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tap.h"

#define PER_PIPE 16	/* what any pipe takes */

int main(int argc, char **argv)
{
	uint64_t bytes, step, held = 0;
	int ends[2] = { -1, -1 };
	uint8_t *mem;

	if (argc != 3)
		bail("usage: gl-cma-hold MIB STEP_MIB");
	bytes = strtoull(argv[1], NULL, 0) << 20;
	step = strtoull(argv[2], NULL, 0) << 20;
	if (!bytes || !step)
		bail("MIB and STEP_MIB are at least 1");
	mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mem == MAP_FAILED)
		bail("mmap");
	/* Small pages: of a huge one all would stay. */
	madvise(mem, bytes, MADV_NOHUGEPAGE);
	for (uint64_t i = 0; i < bytes; i += 4096)
		mem[i] = 1;
	for (uint64_t i = 0; i < bytes; i += step) {
		struct iovec one = { mem + i, 4096 };

		if (held % PER_PIPE == 0 && pipe(ends))
			bail("pipe");
		if (vmsplice(ends[1], &one, 1, 0) != 4096)
			bail("vmsplice");
		held++;
	}
	munmap(mem, bytes);
	printf("holding %llu pages\n", (unsigned long long)held);
	fflush(stdout);
	for (;;)
		pause();
}
