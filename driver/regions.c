// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reserved regions: physical memory that the kernel was told at boot to leave
 * alone (memmap=, reserve_mem=), named to this module by its parameter and by
 * nobody else. What the parameter says isn't believed: the resource tree, the
 * pages and the memory itself are asked.
 */
#include <linux/io.h>
#include <linux/ioport.h>
#include <linux/mm.h>
#include <linux/nospec.h>
#include <linux/module.h>
#include <linux/numa.h>
#include <linux/seq_file.h>
#include <linux/slab.h>

#include <asm/cacheflush.h>

#include "compat.h"
#include "regions.h"

static char *gl_reserved;
module_param_named(reserved, gl_reserved, charp, 0444);
MODULE_PARM_DESC(reserved, "memory kept free at boot, as ADDRESS+SIZE (memmap=) or name:LABEL (reserve_mem=), with commas between");

static struct gl_region gl_regions[GL_REGIONS];
static unsigned int gl_nr_regions;

unsigned int gl_region_count(void)
{
	return gl_nr_regions;
}

struct gl_region *gl_region(u32 number)
{
	if (number >= gl_nr_regions)
		return NULL;
	return &gl_regions[array_index_nospec(number, gl_nr_regions)];
}

/* ---- is it what it is said to be? ---- */

static int gl_region_add_up(struct resource *res, void *sum)
{
	*(u64 *)sum += resource_size(res);
	return 0;
}

/* How many bytes of it lie in resources of that kind. */
static u64 gl_region_share(const struct gl_region *r, unsigned long flags,
			   unsigned long desc)
{
	u64 sum = 0;

	walk_iomem_res_desc(desc, flags, r->start, r->start + r->bytes - 1, &sum,
			    gl_region_add_up);
	return sum;
}

/* Is there memory at all? What was there is put back. */
static bool gl_region_answers(void *at)
{
	static const u64 words[] = { 0x5a96c33c0ff01234, ~0x5a96c33c0ff01234 };
	u64 *word = at, was = READ_ONCE(*word);
	bool good = true;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(words); i++) {
		WRITE_ONCE(*word, words[i]);
		/* From the memory, not from the cache. */
		clflush_cache_range(word, sizeof(*word));
		good &= READ_ONCE(*word) == words[i];
	}
	WRITE_ONCE(*word, was);
	clflush_cache_range(word, sizeof(*word));
	return good;
}

/*
 * Memory without struct pages: all of it Reserved by the memory map, and none of
 * it somebody's.
 */
static const char *gl_region_check_map(struct gl_region *r)
{
	if (gl_region_share(r, IORESOURCE_SYSTEM_RAM, IORES_DESC_NONE))
		return "it is in use as System RAM";
	if (gl_region_share(r, IORESOURCE_MEM, IORES_DESC_ACPI_TABLES) ||
	    gl_region_share(r, IORESOURCE_MEM, IORES_DESC_ACPI_NV_STORAGE))
		return "ACPI has it";
	if (gl_region_share(r, IORESOURCE_MEM, IORES_DESC_PERSISTENT_MEMORY) ||
	    gl_region_share(r, IORESOURCE_MEM, IORES_DESC_PERSISTENT_MEMORY_LEGACY))
		return "it is persistent memory (memmap= with ! and not $)";
	if (gl_region_share(r, IORESOURCE_MEM | IORESOURCE_WINDOW, IORES_DESC_NONE))
		return "it is a bridge's window for devices";
	if (gl_region_share(r, IORESOURCE_MEM | IORESOURCE_BUSY, IORES_DESC_NONE))
		return "firmware or a device has it";
	if (gl_region_share(r, IORESOURCE_MEM, IORES_DESC_RESERVED) != r->bytes)
		return "the memory map doesn't say Reserved";
	/*
	 * Held for good: users' mappings take their cache mode from this one, and
	 * it is what the memory is cleared through.
	 */
	r->kernel = memremap(r->start, r->bytes, MEMREMAP_WB);
	if (!r->kernel)
		return "it can't be mapped";
	if (!gl_region_answers(r->kernel) ||
	    !gl_region_answers(r->kernel + r->bytes - sizeof(u64)))
		return "there is no memory: what is written can't be read back";
	return NULL;
}

/* Memory with struct pages: reserved before the page allocator got it. */
static const char *gl_region_check_pages(struct gl_region *r)
{
	unsigned long pfn = PHYS_PFN(r->start);
	unsigned long end = pfn + (r->bytes >> PAGE_SHIFT);

	if (gl_region_share(r, IORESOURCE_SYSTEM_RAM, IORES_DESC_NONE) != r->bytes)
		return "it is not System RAM";
	for (; pfn < end; pfn++) {
		if (!pfn_valid(pfn) || !PageReserved(pfn_to_page(pfn)))
			return "the page allocator has a part of it";
		if (!(pfn % 1024))
			cond_resched();
	}
	return NULL;
}

/* No two regions may share a page. */
static bool gl_region_overlaps(const struct gl_region *r)
{
	const struct gl_region *o;

	for (o = gl_regions; o < r; o++)
		if (o->start < r->start + r->bytes && r->start < o->start + o->bytes)
			return true;
	return false;
}

static void gl_region_check(struct gl_region *r)
{
	unsigned int number = r - gl_regions;
	u64 end = r->start + r->bytes - 1;

	if (!r->missing) {
		if (gl_region_overlaps(r))
			r->wrong = "it overlaps with another one";
		else if (r->pages)
			r->wrong = gl_region_check_pages(r);
		else
			r->wrong = gl_region_check_map(r);
	}
	if (r->missing)
		pr_err(GL_NAME ": reserved region %u: the kernel reserved nothing of the name '%s'\n",
		       number, r->label);
	else if (r->wrong)
		pr_err(GL_NAME ": reserved region %u, 0x%llx to 0x%llx, is not to be used: %s\n",
		       number, r->start, end, r->wrong);
	else
		pr_info(GL_NAME ": reserved region %u, 0x%llx to 0x%llx, %s struct pages\n",
			number, r->start, end, r->pages ? "with" : "without");
}

/* ---- what the parameter says ---- */

/* "name:LABEL". A label that isn't there is no bad parameter: RAM may have been short. */
static const char *gl_region_by_label(struct gl_region *r, const char *label)
{
	phys_addr_t start, bytes;

	if (!*label || strlen(label) >= sizeof(r->label))
		return "a label has 1 to 15 letters";
	strscpy(r->label, label, sizeof(r->label));
	r->pages = true;
	if (!gl_reserve_mem_find(label, &start, &bytes)) {
		r->missing = true;
		return NULL;
	}
	/* Only whole pages can be given away. */
	r->start = PAGE_ALIGN(start);
	r->bytes = (start + bytes - r->start) & PAGE_MASK;
	r->missing = start + bytes <= r->start || !r->bytes;
	return NULL;
}

static const char *gl_region_by_address(struct gl_region *r, const char *text)
{
	char *end;

	if (gl_size_parse(text, &end, &r->start) || *end != '+')
		return "it is neither ADDRESS+SIZE nor name:LABEL";
	if (gl_size_parse(end + 1, &end, &r->bytes) || *end)
		return "its size is no number";
	if (!PAGE_ALIGNED(r->start) || !PAGE_ALIGNED(r->bytes) || !r->bytes)
		return "address and size must be whole pages";
	if (r->start + r->bytes < r->start ||
	    r->start + r->bytes - 1 > DMA_BIT_MASK(boot_cpu_data.x86_phys_bits))
		return "it ends beyond what the CPU can address";
	return NULL;
}

static int gl_region_add(char *text)
{
	struct gl_region *r = &gl_regions[gl_nr_regions];
	const char *wrong;

	if (gl_nr_regions == GL_REGIONS)
		wrong = "there may be 16 regions and no more";
	else if (str_has_prefix(text, "name:"))
		wrong = gl_region_by_label(r, text + strlen("name:"));
	else
		wrong = gl_region_by_address(r, text);
	if (wrong) {
		pr_err(GL_NAME ": reserved='%s': %s\n", text, wrong);
		return -EINVAL;
	}
	mutex_init(&r->lock);
	INIT_LIST_HEAD(&r->parts);
	gl_nr_regions++;
	gl_region_check(r);
	return 0;
}

int gl_regions_init(void)
{
	char *text, *rest, *one;
	int err = 0;

	if (!gl_reserved || !*gl_reserved)
		return 0;
	text = kstrdup(gl_reserved, GFP_KERNEL);
	if (!text)
		return -ENOMEM;
	rest = text;
	while (!err && (one = strsep(&rest, ",")))
		err = gl_region_add(one);
	kfree(text);
	if (err)
		gl_regions_exit();
	return err;
}

void gl_regions_exit(void)
{
	struct gl_region *r;

	for (r = gl_regions; r < gl_regions + gl_nr_regions; r++)
		if (r->kernel)
			memunmap(r->kernel);
	gl_nr_regions = 0;
}

/* ---- sharing one out ---- */

/* Where @bytes fit between @from and the end of the gap, or the end if nowhere. */
static u64 gl_region_fit(u64 from, u64 end, u64 bytes)
{
	u64 align = bytes >= PMD_SIZE ? PMD_SIZE : PAGE_SIZE;
	u64 at = ALIGN(from, align);

	if (at < end && bytes <= end - at)
		return at;
	return bytes <= end - from ? from : end;
}

/*
 * The lowest free place for @part->bytes that ends at @top or below. 0, or
 * -ENOSPC with the longest free part, or -ERANGE with the end of the lowest
 * place there is.
 */
int gl_region_take(struct gl_region *r, struct gl_part *part, u64 top, u64 *what)
{
	struct list_head *above = &r->parts;
	u64 from = r->start, longest = 0;
	struct gl_part *next;
	int err = -ENOSPC;

	mutex_lock(&r->lock);
	list_for_each_entry(next, &r->parts, node) {
		u64 at = gl_region_fit(from, next->start, part->bytes);

		longest = max(longest, next->start - from);
		if (at < next->start) {
			part->start = at;
			above = &next->node;
			err = 0;
			break;
		}
		from = next->start + next->bytes;
	}
	if (err) {
		u64 end = r->start + r->bytes;

		longest = max(longest, end - from);
		part->start = gl_region_fit(from, end, part->bytes);
		if (part->start < end)
			err = 0;
	}
	*what = longest;
	if (!err && part->start + part->bytes - 1 > top) {
		*what = part->start + part->bytes - 1;
		err = -ERANGE;
	}
	if (!err)
		list_add_tail(&part->node, above);
	mutex_unlock(&r->lock);
	return err;
}

void gl_region_give(struct gl_region *r, struct gl_part *part)
{
	mutex_lock(&r->lock);
	list_del(&part->node);
	mutex_unlock(&r->lock);
}

void gl_regions_show(struct seq_file *m)
{
	struct gl_region *r;

	for (r = gl_regions; r < gl_regions + gl_nr_regions; r++) {
		struct gl_part *part;
		u64 taken = 0;

		mutex_lock(&r->lock);
		list_for_each_entry(part, &r->parts, node)
			taken += part->bytes;
		mutex_unlock(&r->lock);
		seq_printf(m, "%td 0x%llx+0x%llx %s: %s, %llu bytes taken\n",
			   r - gl_regions, r->start, r->bytes,
			   r->label[0] ? r->label : "memmap",
			   r->missing ? "missing" : r->wrong ?: "good", taken);
	}
}
