/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Every difference between the kernels we build against (6.1 and later), and
 * nothing else. The rest of the driver is written for the newest of them.
 */
#ifndef GIGALOCK_COMPAT_H
#define GIGALOCK_COMPAT_H

#include <linux/device/class.h>
#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/version.h>

/* class_create() lost its owner argument in 6.4. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 4, 0)
#define gl_class_create(name)	class_create(THIS_MODULE, name)
#else
#define gl_class_create(name)	class_create(name)
#endif

/* The VMA's flags became read-only to drivers in 6.3. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 3, 0)
static inline void gl_vm_flags_set(struct vm_area_struct *vma, unsigned long flags)
{
	vma->vm_flags |= flags;
}

static inline void gl_vm_flags_clear(struct vm_area_struct *vma, unsigned long flags)
{
	vma->vm_flags &= ~flags;
}
#else
#define gl_vm_flags_set(vma, flags)	vm_flags_set(vma, flags)
#define gl_vm_flags_clear(vma, flags)	vm_flags_clear(vma, flags)
#endif

/* The largest order of the page allocator: exclusive until 6.4, renamed in 6.8. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 4, 0)
#define GL_MAX_PAGE_ORDER	(MAX_ORDER - 1)
#elif LINUX_VERSION_CODE < KERNEL_VERSION(6, 8, 0)
#define GL_MAX_PAGE_ORDER	MAX_ORDER
#else
#define GL_MAX_PAGE_ORDER	MAX_PAGE_ORDER
#endif

/*
 * Third argument of alloc_contig_range(): the migrate type until the kernel
 * that brought acr_flags_t.
 */
#ifdef ACR_FLAGS_NONE
#define GL_CONTIG_KIND		ACR_FLAGS_NONE
#else
#define GL_CONTIG_KIND		MIGRATE_MOVABLE
#endif

/*
 * A long-term pin for reading only: until 6.2 it could be left with a page that
 * copy-on-write takes away, so it is asked for as a forced write.
 */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 2, 0)
#define GL_GUP_READ		(FOLL_WRITE | FOLL_FORCE)
#else
#define GL_GUP_READ		0
#endif

/* Always one, since 6.8. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 8, 0)
#define gl_eventfd_signal(ctx)	eventfd_signal(ctx, 1)
#else
#define gl_eventfd_signal(ctx)	eventfd_signal(ctx)
#endif

/* .llseek = no_llseek was dropped when NULL came to mean the same, in 6.12. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 12, 0)
#define GL_NO_LLSEEK		.llseek = no_llseek,
#else
#define GL_NO_LLSEEK
#endif

/*
 * Huge page-table entries for memory that the core has no claim on: safe where
 * they can be marked as such, from 6.12 on. They want addresses that are aligned
 * as the offsets are. pfn_t was dropped in 6.17.
 */
#ifdef CONFIG_ARCH_SUPPORTS_PMD_PFNMAP
#define GL_HUGE_PFNS
#include <linux/huge_mm.h>
#define GL_GET_UNMAPPED_AREA	.get_unmapped_area = thp_get_unmapped_area,
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 17, 0)
#include <linux/pfn_t.h>
#define gl_huge_pfn(pfn)	__pfn_to_pfn_t(pfn, PFN_DEV)
#else
#define gl_huge_pfn(pfn)	(pfn)
#endif
static inline vm_fault_t gl_insert_huge(struct vm_fault *vmf, unsigned long pfn,
					unsigned int order)
{
	bool write = vmf->flags & FAULT_FLAG_WRITE;

	if (order == PMD_ORDER)
		return vmf_insert_pfn_pmd(vmf, gl_huge_pfn(pfn), write);
#ifdef CONFIG_ARCH_SUPPORTS_PUD_PFNMAP
	if (order == PUD_ORDER)
		return vmf_insert_pfn_pud(vmf, gl_huge_pfn(pfn), write);
#endif
	return VM_FAULT_FALLBACK;
}
#else
#define GL_GET_UNMAPPED_AREA
static inline vm_fault_t gl_insert_huge(struct vm_fault *vmf, unsigned long pfn,
					unsigned int order)
{
	return VM_FAULT_FALLBACK;
}
#endif

/* reserve_mem= came with 6.11, modules can ask for its regions since 6.12. */
static inline bool gl_reserve_mem_find(const char *name, phys_addr_t *start,
				       phys_addr_t *size)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 12, 0)
	return false;
#else
	return reserve_mem_find_by_name(name, start, size);
#endif
}

/* Until 6.1 the plain calls take the dma-buf's lock themselves. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 2, 0)
#define gl_dma_buf_vmap		dma_buf_vmap
#define gl_dma_buf_vunmap	dma_buf_vunmap
#else
#define gl_dma_buf_vmap		dma_buf_vmap_unlocked
#define gl_dma_buf_vunmap	dma_buf_vunmap_unlocked
#endif

/* The name of a symbol namespace became a string in 6.13. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 13, 0)
#define GL_IMPORT_DMA_BUF	MODULE_IMPORT_NS(DMA_BUF)
#else
#define GL_IMPORT_DMA_BUF	MODULE_IMPORT_NS("DMA_BUF")
#endif

#endif /* GIGALOCK_COMPAT_H */
