// SPDX-License-Identifier: GPL-2.0-only
/*
 * What user space maps: whatever a file offers gets a range of mmap() offsets
 * of its own, and everything is mapped by faults, so that the core finds it
 * again when the card goes.
 *
 * Offsets stay below 2^44, as far as 32-bit callers can count. They go round:
 * one given back is not soon another's. Large ranges begin at a multiple of a
 * huge page, as the address they are mapped at does. No two files of a card have
 * the same: taking away what one has mapped is done by offset, for all files of
 * the node at once.
 */
#include <linux/align.h>
#include <linux/mm.h>

#include "compat.h"
#include "gl.h"

/* Offsets in pages; 0 stands for none. */
#define GL_MAPPING_PAGES	BIT_ULL(44 - PAGE_SHIFT)

/* ---- ranges of offsets, under gl_card.maps_lock ---- */

static struct gl_mapping *gl_mapping_of(struct rb_node *node)
{
	return rb_entry_safe(node, struct gl_mapping, node);
}

/* The range that @page lies in, or else the next one above it. */
static struct gl_mapping *gl_mapping_at(struct gl_card *card, u64 page)
{
	struct rb_node *node = card->maps.rb_node;
	struct gl_mapping *found = NULL;

	while (node) {
		struct gl_mapping *map = gl_mapping_of(node);

		if (map->base + map->pages > page) {
			found = map;
			node = node->rb_left;
		} else {
			node = node->rb_right;
		}
	}
	return found;
}

static void gl_mapping_insert(struct gl_card *card, struct gl_mapping *map)
{
	struct rb_node **link = &card->maps.rb_node, *parent = NULL;

	while (*link) {
		parent = *link;
		link = map->base < gl_mapping_of(parent)->base ?
		       &parent->rb_left : &parent->rb_right;
	}
	rb_link_node(&map->node, parent, link);
	rb_insert_color(&map->node, &card->maps);
}

/* The first place of that many free pages in [from, to), or 0. */
static u64 gl_mapping_gap(struct gl_card *card, u64 from, u64 to, u64 pages,
			  u64 align)
{
	u64 base = ALIGN(from, align);

	while (base < to && pages <= to - base) {
		struct gl_mapping *next = gl_mapping_at(card, base);

		if (!next || next->base >= base + pages)
			return base;
		base = ALIGN(next->base + next->pages, align);
	}
	return 0;
}

int gl_mapping_add(struct gl_file *file, struct gl_mapping *map, u64 bytes)
{
	u64 pages = bytes >> PAGE_SHIFT;
	u64 align = bytes >= PUD_SIZE ? PUD_SIZE / PAGE_SIZE :
		    bytes >= PMD_SIZE ? PMD_SIZE / PAGE_SIZE : 1;
	struct gl_card *card = file->card;
	u64 base = 0;

	lockdep_assert_held(&file->lock);
	mutex_lock(&card->maps_lock);
	if (card->next_page)
		base = gl_mapping_gap(card, card->next_page, GL_MAPPING_PAGES,
				      pages, align);
	if (!base)
		base = gl_mapping_gap(card, 1, GL_MAPPING_PAGES, pages, align);
	if (base) {
		map->file = file;
		map->base = base;
		map->pages = pages;
		card->next_page = base + pages;
		gl_mapping_insert(card, map);
	}
	mutex_unlock(&card->maps_lock);
	return base ? 0 : -ENOMEM;
}

void gl_mapping_remove(struct gl_file *file, struct gl_mapping *map)
{
	struct gl_card *card = file->card;

	lockdep_assert_held(&file->lock);
	if (!map->pages)
		return;
	mutex_lock(&card->maps_lock);
	rb_erase(&map->node, &card->maps);
	mutex_unlock(&card->maps_lock);
	map->pages = 0;
}

/* What @page belongs to, if that is the file's. It stays while gl_file.lock is held. */
static struct gl_mapping *gl_mapping_find(struct gl_file *file, u64 page)
{
	struct gl_card *card = file->card;
	struct gl_mapping *map;

	lockdep_assert_held(&file->lock);
	mutex_lock(&card->maps_lock);
	map = gl_mapping_at(card, page);
	if (map && (page < map->base || map->file != file))
		map = NULL;
	mutex_unlock(&card->maps_lock);
	return map;
}

/* ---- VMAs ---- */

static void gl_vma_open(struct vm_area_struct *vma)
{
	struct gl_mapping *map = vma->vm_private_data;

	map->ops->open(map);
}

static void gl_vma_close(struct vm_area_struct *vma)
{
	struct gl_mapping *map = vma->vm_private_data;

	map->ops->close(map);
}

/* Once the card is gone most have nothing more to show: SIGBUS. */
static vm_fault_t gl_vma_fault_order(struct vm_fault *vmf, unsigned int order)
{
	struct gl_mapping *map = vmf->vma->vm_private_data;
	struct gl_card *card = map->card;
	vm_fault_t ret = VM_FAULT_SIGBUS;
	int idx;

	idx = srcu_read_lock(&card->srcu);
	if (!READ_ONCE(card->gone) || map->ops->outlives_card)
		ret = map->ops->fault(map, vmf, vmf->pgoff - map->base, order);
	srcu_read_unlock(&card->srcu, idx);
	return ret;
}

static vm_fault_t gl_vma_fault(struct vm_fault *vmf)
{
	return gl_vma_fault_order(vmf, 0);
}

#ifdef GL_HUGE_PFNS
static vm_fault_t gl_vma_huge_fault(struct vm_fault *vmf, unsigned int order)
{
	return gl_vma_fault_order(vmf, order);
}
#endif

static const struct vm_operations_struct gl_vm_ops = {
	.open = gl_vma_open,
	.close = gl_vma_close,
	.fault = gl_vma_fault,
#ifdef GL_HUGE_PFNS
	.huge_fault = gl_vma_huge_fault,
#endif
};

int gl_file_mmap(struct gl_file *file, struct vm_area_struct *vma)
{
	u64 len = vma->vm_end - vma->vm_start;
	u64 page = vma->vm_pgoff;
	struct gl_mapping *map;
	u64 offset = 0;
	int err = 0;

	/*
	 * A private mapping would copy on write and never reach the device. Of a
	 * file that is open for reading only, the core takes VM_SHARED away.
	 */
	if (!(vma->vm_flags & VM_MAYSHARE))
		return -EINVAL;

	mutex_lock(&file->lock);
	map = gl_mapping_find(file, page);
	if (!map) {
		err = -ENOENT;
	} else {
		offset = (page - map->base) << PAGE_SHIFT;
		if (len > (map->pages << PAGE_SHIFT) - offset)
			err = -EINVAL;
		else if (map->ops->read_only && vma->vm_flags & VM_WRITE)
			err = -EACCES;
		else
			map->ops->open(map);
	}
	mutex_unlock(&file->lock);
	if (err)
		return err;

	gl_vm_flags_set(vma, VM_DONTEXPAND | VM_DONTDUMP);
	if (map->ops->read_only)
		gl_vm_flags_clear(vma, VM_MAYWRITE);
	err = map->ops->mmap(map, vma, offset);
	if (err) {
		map->ops->close(map);
		return err;
	}
	vma->vm_private_data = map;
	vma->vm_ops = &gl_vm_ops;
	return 0;
}

/* ---- locks ---- */

static struct gl_lock *gl_mapped_lock(struct gl_mapping *map)
{
	return container_of(map, struct gl_lock, map);
}

static void gl_lock_vma_open(struct gl_mapping *map)
{
	struct gl_lock *lock = gl_mapped_lock(map);

	kref_get(&lock->ref);
	atomic_inc(&lock->mappings);
}

static void gl_lock_vma_close(struct gl_mapping *map)
{
	struct gl_lock *lock = gl_mapped_lock(map);

	/* Never the last: while it counts as mapped, the file keeps the lock. */
	gl_lock_put(lock);
	atomic_dec(&lock->mappings);
}

static int gl_lock_vma_mmap(struct gl_mapping *map, struct vm_area_struct *vma,
			    u64 offset)
{
	struct gl_lock *lock = gl_mapped_lock(map);

	return lock->strategy->mmap(lock, vma, offset);
}

/* ---- memory without a claim of the core's on it, by page number ---- */

/*
 * Mapped by faults: only a mapping that the core knows can fault, so whatever is
 * mapped when the card goes is found and taken away again.
 */
int gl_mmap_pfns(struct gl_lock *lock, struct vm_area_struct *vma, u64 offset)
{
	gl_vm_flags_set(vma, VM_IO | VM_PFNMAP);
	return 0;
}

/* The aligned block around the fault in one entry, if it lies in one piece. */
static vm_fault_t gl_fault_block(struct gl_lock *lock, struct vm_fault *vmf,
				 u64 page, unsigned int order)
{
	struct vm_area_struct *vma = vmf->vma;
	unsigned long size = PAGE_SIZE << order;
	unsigned long addr = ALIGN_DOWN(vmf->address, size);
	unsigned long pfn;
	u64 run;

	if (addr < vma->vm_start || size > vma->vm_end - addr)
		return VM_FAULT_FALLBACK;
	page -= (vmf->address - addr) >> PAGE_SHIFT;
	pfn = lock->strategy->pfn(lock, page, &run);
	if (run < BIT(order) || !IS_ALIGNED(pfn, BIT(order)))
		return VM_FAULT_FALLBACK;
	return gl_insert_huge(vmf, pfn, order);
}

/* The page, and with it those around that one table of entries has. */
static vm_fault_t gl_fault_pages(struct gl_lock *lock, struct vm_fault *vmf, u64 page)
{
	struct vm_area_struct *vma = vmf->vma;
	unsigned long here = vmf->address & PAGE_MASK;
	unsigned long addr = max(ALIGN_DOWN(here, PMD_SIZE), vma->vm_start);
	unsigned long end = min(ALIGN(here + 1, PMD_SIZE), vma->vm_end);
	vm_fault_t ret = VM_FAULT_NOPAGE;

	page -= (here - addr) >> PAGE_SHIFT;
	while (addr < end && ret == VM_FAULT_NOPAGE) {
		u64 run;
		unsigned long pfn = lock->strategy->pfn(lock, page, &run);

		if (!run)
			return VM_FAULT_SIGBUS;
		page += run;
		for (; run && addr < end && ret == VM_FAULT_NOPAGE; run--) {
			ret = vmf_insert_pfn(vma, addr, pfn++);
			addr += PAGE_SIZE;
		}
	}
	return ret;
}

vm_fault_t gl_fault_pfns(struct gl_lock *lock, struct vm_fault *vmf, u64 page,
			 unsigned int order)
{
	if (order)
		return gl_fault_block(lock, vmf, page, order);
	return gl_fault_pages(lock, vmf, page);
}

static vm_fault_t gl_lock_vma_fault(struct gl_mapping *map, struct vm_fault *vmf,
				    u64 page, unsigned int order)
{
	struct gl_lock *lock = gl_mapped_lock(map);

	if (lock->strategy->pfn)
		return gl_fault_pfns(lock, vmf, page, order);
	if (order)
		return VM_FAULT_FALLBACK;
	if (!lock->strategy->fault)
		return VM_FAULT_SIGBUS;
	return lock->strategy->fault(lock, vmf, page);
}

const struct gl_mapping_ops gl_lock_mapping_ops = {
	.open = gl_lock_vma_open,
	.close = gl_lock_vma_close,
	.mmap = gl_lock_vma_mmap,
	.fault = gl_lock_vma_fault,
};
