/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What stands between memory and a device: card, IOMMU, swiotlb, CMA, huge pages. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "doctor.h"

#define CARD_VENDOR "0x1234"
#define CARD_DEVICE "0x10cc"
#define SLOT 2048		/* bytes of a swiotlb slot */

/* ---- the card, or whatever device was named --------------------------------- */

static bool is_card(struct facts *f, const char *bdf)
{
	char vendor[16], device[16];

	return facts_line(f, vendor, sizeof(vendor), "sys/bus/pci/devices/%s/vendor", bdf) &&
	       facts_line(f, device, sizeof(device), "sys/bus/pci/devices/%s/device", bdf) &&
	       !strcmp(vendor, CARD_VENDOR) && !strcmp(device, CARD_DEVICE);
}

static void find_card(struct facts *f, const char *bdf)
{
	static char names[512][96];
	unsigned int count;

	if (bdf) {
		snprintf(f->bdf, sizeof(f->bdf), "%.31s", bdf);
		f->have_card = facts_exists(f, "sys/bus/pci/devices/%s", f->bdf);
		if (!f->have_card)
			facts_missing(f, "/sys/bus/pci/devices/ (of the device named)");
		return;
	}
	count = facts_list(f, names, 512, "sys/bus/pci/devices");
	for (unsigned int i = 0; i < count && !f->have_card; i++)
		if (is_card(f, names[i])) {
			f->have_card = true;
			snprintf(f->bdf, sizeof(f->bdf), "%.31s", names[i]);
		}
}

static void read_card(struct facts *f, const char *bdf)
{
	f->dma_bits = f->locked_bytes = f->locks = UNKNOWN;
	find_card(f, bdf);
	f->driver_loaded = facts_exists(f, "sys/module/gigalock");
	if (f->have_card)
		f->dma_bits = facts_number(f, "sys/bus/pci/devices/%s/dma_mask_bits",
					   f->bdf);
}

/*
 * How much is locked on the card by whom we don't see: its driver says so. In
 * a recorded tree the answer of `gigalock --json info` stands for it.
 */
static void read_locks(struct facts *f)
{
	struct glk_card *card;
	struct gigalock_info info = { .size = sizeof(info) };
	char line[4096];

	if (!f->root[0]) {
		if (f->driver_loaded && !glk_card_open(NULL, &card, NULL)) {
			if (!glk_card_info(card, &info)) {
				f->locks = info.locks;
				f->locked_bytes = info.locked_bytes;
			}
			glk_card_close(card);
		}
		return;
	}
	if (facts_line(f, line, sizeof(line), "gigalock-info.json")) {
		const char *locks = strstr(line, "\"locks\":");
		const char *bytes = strstr(line, "\"locked_bytes\":");

		if (locks && bytes) {
			f->locks = strtoull(locks + 8, NULL, 10);
			f->locked_bytes = strtoull(bytes + 15, NULL, 10);
		}
	}
}

/* ---- IOMMU ------------------------------------------------------------------- */

static void read_iommu(struct facts *f)
{
	char names[64][96], type[32];

	f->iommu = UNKNOWN;
	f->dmar = facts_exists(f, "sys/firmware/acpi/tables/DMAR") ||
		  facts_exists(f, "sys/firmware/acpi/tables/IVRS");
	if (!facts_exists(f, "sys/class/iommu")) {
		f->iommu_units = UNKNOWN;
		facts_missing(f, "/sys/class/iommu");
		return;
	}
	f->iommu_units = facts_list(f, names, 64, "sys/class/iommu");
	if (!f->iommu_units) {
		f->iommu = 0;
		return;
	}
	/* The type of the device's own group; without a device, of the first. */
	if (f->have_card) {
		if (!facts_line(f, type, sizeof(type),
				"sys/bus/pci/devices/%s/iommu_group/type", f->bdf)) {
			f->iommu = 0;
			return;
		}
	} else if (!facts_line(f, type, sizeof(type), "sys/kernel/iommu_groups/0/type")) {
		facts_missing(f, "/sys/kernel/iommu_groups/0/type");
		return;
	}
	f->iommu = !strncmp(type, "DMA", 3);
}

/* ---- bounce buffers ------------------------------------------------------------ */

static void read_swiotlb(struct facts *f)
{
	char room[64];
	const char *given = facts_cmdline(f, "swiotlb", room, sizeof(room));
	bool off = false, noforce = false;
	uint64_t slots, end = facts_ram_end(f), asked = 0;

	if (given) {
		f->swiotlb_forced = strstr(given, "force") && !strstr(given, "noforce");
		noforce = strstr(given, "noforce");
		asked = strtoull(given, NULL, 0) * SLOT;
	}
	given = facts_cmdline(f, "iommu", room, sizeof(room));
	off = given && strstr(given, "off");
	slots = facts_number(f, "sys/kernel/debug/swiotlb/io_tlb_nslabs");
	if (slots != UNKNOWN) {
		f->swiotlb = slots * SLOT;
		f->swiotlb_used = facts_number(f, "sys/kernel/debug/swiotlb/io_tlb_used");
		if (f->swiotlb_used != UNKNOWN)
			f->swiotlb_used *= SLOT;
		return;
	}
	f->swiotlb_used = UNKNOWN;
	/*
	 * debugfs needs root; what the kernel does at boot is known without: a
	 * pool of 64 MiB, where RAM reaches above 4 GiB or bouncing is forced.
	 */
	if (off || noforce)
		f->swiotlb = 0;
	else if (end == UNKNOWN)
		f->swiotlb = UNKNOWN;
	else if (end > GIB(4) || f->swiotlb_forced)
		f->swiotlb = asked ? asked : MIB(64);
	else
		f->swiotlb = 0;
	facts_missing(f, "/sys/kernel/debug/swiotlb (needs root and debugfs)");
}

/* ---- CMA ----------------------------------------------------------------------- */

static void read_cma(struct facts *f)
{
	char names[MAX_CMA][96];
	unsigned int count = facts_list(f, names, MAX_CMA, "sys/kernel/debug/cma");

	for (unsigned int i = 0; i < count; i++) {
		struct cma_area *area = &f->cma[f->ncma];
		uint64_t pages, used, chunk, base;

		pages = facts_number(f, "sys/kernel/debug/cma/%s/count", names[i]);
		if (pages == UNKNOWN)
			continue;
		used = facts_number(f, "sys/kernel/debug/cma/%s/used", names[i]);
		chunk = facts_number(f, "sys/kernel/debug/cma/%s/maxchunk", names[i]);
		base = facts_number(f, "sys/kernel/debug/cma/%s/base_pfn", names[i]);
		if (base == UNKNOWN)
			base = facts_number(f, "sys/kernel/debug/cma/%s/ranges/0/base_pfn",
					    names[i]);
		snprintf(area->name, sizeof(area->name), "%.31s", names[i]);
		area->bytes = pages * PAGE;
		area->used = used == UNKNOWN ? UNKNOWN : used * PAGE;
		area->longest = chunk == UNKNOWN ? UNKNOWN : chunk * PAGE;
		area->base = base == UNKNOWN ? UNKNOWN : base * PAGE;
		f->ncma++;
	}
	if (f->cma_total != UNKNOWN && f->cma_total && !f->ncma)
		facts_missing(f, "/sys/kernel/debug/cma (CONFIG_CMA_DEBUGFS, root)");
}

/* ---- huge pages, CPU, module ------------------------------------------------------ */

static void read_huge(struct facts *f)
{
	char names[MAX_HUGE][96];
	unsigned int count = facts_list(f, names, MAX_HUGE, "sys/kernel/mm/hugepages");

	for (unsigned int i = 0; i < count; i++) {
		struct huge_size *huge = &f->huge[f->nhuge];
		unsigned long long kib;

		if (sscanf(names[i], "hugepages-%llukB", &kib) != 1)
			continue;
		huge->bytes = KIB(kib);
		huge->total = facts_number(f, "sys/kernel/mm/hugepages/%s/nr_hugepages", names[i]);
		huge->free = facts_number(f, "sys/kernel/mm/hugepages/%s/free_hugepages", names[i]);
		huge->reserved = facts_number(f, "sys/kernel/mm/hugepages/%s/resv_hugepages",
					      names[i]);
		huge->overcommit = facts_number(f, "sys/kernel/mm/hugepages/%s/"
						"nr_overcommit_hugepages", names[i]);
		f->nhuge++;
	}
	if (!f->nhuge)
		facts_missing(f, "/sys/kernel/mm/hugepages");
}

static void read_cpu(struct facts *f)
{
	FILE *file = facts_open(f, "proc/cpuinfo");
	char line[4096];

	f->pdpe1gb = UNKNOWN;
	if (!file) {
		facts_missing(f, "/proc/cpuinfo");
		return;
	}
	while (fgets(line, sizeof(line), file))
		if (!strncmp(line, "flags", 5)) {
			f->pdpe1gb = strstr(line, " pdpe1gb") != NULL;
			break;
		}
	fclose(file);
}

static void read_params(struct facts *f)
{
	char names[MAX_PARAMS][96];
	unsigned int count = facts_list(f, names, MAX_PARAMS,
					"sys/module/gigalock/parameters");

	for (unsigned int i = 0; i < count; i++) {
		struct param *param = &f->params[f->nparams];

		snprintf(param->name, sizeof(param->name), "%.39s", names[i]);
		if (facts_line(f, param->value, sizeof(param->value),
			       "sys/module/gigalock/parameters/%s", names[i]))
			f->nparams++;
	}
}

void facts_dma(struct facts *f, const char *bdf)
{
	read_card(f, bdf);
	read_locks(f);
	read_iommu(f);
	read_swiotlb(f);
	read_cma(f);
	read_huge(f);
	read_cpu(f);
	read_params(f);
}

const char *facts_param(const struct facts *f, const char *name)
{
	for (unsigned int i = 0; i < f->nparams; i++)
		if (!strcmp(f->params[i].name, name))
			return f->params[i].value;
	return NULL;
}

const struct huge_size *facts_huge(const struct facts *f, uint64_t bytes)
{
	for (unsigned int i = 0; i < f->nhuge; i++)
		if (f->huge[i].bytes == bytes)
			return &f->huge[i];
	return NULL;
}

uint64_t facts_width(const struct facts *f, const struct request *r)
{
	uint64_t bits = f->dma_bits == UNKNOWN || !f->dma_bits ? 64 : f->dma_bits;

	return r->address_width && r->address_width < bits ? r->address_width : bits;
}

uint64_t width_top(uint64_t bits)
{
	return bits >= 64 ? UINT64_MAX : ((uint64_t)1 << bits) - 1;
}

bool facts_translates(const struct facts *f)
{
	return f->iommu == 1;
}
