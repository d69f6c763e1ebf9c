# SPDX-License-Identifier: GPL-2.0-or-later
"""Machines that nobody wrote down: drawn from a seed, for the doctor's trial.

A draw begins with a theme, one way in which locks fail, and draws the numbers around the point
where it begins to: about half of them fail. The theme says nothing about the outcome, and the
doctor is not told of it.

Every cause of the catalogue can come but for two. 14, a piece that is too long to be bounced: the
driver asks how long one may be and cuts there, so no lock of it ends so; without the cut pieces
are forced to bounce, which is 17. 18 is a success. 29 comes where the kernel 6.12 is built: older
ones don't know reserve_mem=.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, field
from typing import Any

from .sizes import GIB, MIB, format_size

USER = 1000
RAMS = (512, 768, 1024, 1200, 1536, 2048, 3072, 4096, 6144)
REQUESTS = (64, 256, 512, 768, 1024, 1536, 2048)


@dataclass
class Draw:
    """One machine and one request. Sizes in bytes but for RAM and nodes, in MiB."""

    number: int = 0
    theme: str = ""
    ram_mib: int = 2048
    kernel: str = "stock"
    cmdline: list[str] = field(default_factory=list)
    driver_params: list[str] = field(default_factory=list)
    nodes_mib: list[int] = field(default_factory=list)
    low_ram_mib: int | None = None
    cpu: str = "max"
    iommu: str | None = None
    kaslr: bool = False
    card_bits: int = 64
    late: bool = False  # the driver comes when the guest has been used
    strategy: str = "sg"
    bytes: int = GIB
    options: list[str] = field(default_factory=list)
    user: bool = False
    memlock: int | None = None
    address_space: int | None = None
    group: int | None = None  # memory.max
    overcommit: int = 0
    left_free: int | None = None
    fragmented: int | None = None
    hold: int = 0  # bytes that another lock of the same strategy holds
    hold_cma: bool = False
    huge: tuple[int, int] | None = None  # page size, how many asked for at run time
    program: str = "gigalock"  # who asks, as scenarios name it
    mapped: int | None = None  # bytes that gl-32 has mapped before

    def request(self) -> str:
        """The request as the tool and the doctor take it."""
        words = [f"--size {self.bytes}", f"--strategy {self.strategy}", *self.options]
        return " ".join(words)

    def has(self, word: str) -> bool:
        return any(w.partition("=")[0] == word for w in self.cmdline)

    def gigabyte_pages(self) -> bool:
        return "--page-size 1G" in self.options

    def describe(self) -> str:
        """What differs from a plain machine, in one line."""
        words = [f"{format_size(self.ram_mib * MIB)} {self.kernel}", *self.cmdline]
        words += self.driver_params
        if self.nodes_mib:
            words.append("nodes " + "+".join(map(str, self.nodes_mib)))
        if self.low_ram_mib:
            words.append(f"{self.low_ram_mib}M below 4 GiB")
        if self.iommu:
            words.append(f"{self.iommu}-iommu")
        if self.program != "gigalock":
            words.append(self.program)
        for name in ("kaslr", "user", "late", "hold_cma"):
            if getattr(self, name):
                words.append(name.replace("_", "-"))
        if self.card_bits != 64:
            words.append(f"card of {self.card_bits} bits")
        for name in ("memlock", "address_space", "group", "left_free", "fragmented", "mapped"):
            value = getattr(self, name)
            if value is not None:
                words.append(f"{name.replace('_', '-')} {format_size(value) if value else 0}")
        if self.overcommit:
            words.append(f"overcommit {self.overcommit}")
        if self.hold:
            words.append(f"{format_size(self.hold)} held")
        if self.huge:
            words.append(f"{self.huge[1]} pages of {format_size(self.huge[0])}")
        if self.cpu != "max":
            words.append(self.cpu)
        options = "".join(f" {o}" for o in self.options)
        return f"{' '.join(words)}: {format_size(self.bytes)} by {self.strategy}{options}"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def _near(rng: random.Random, size: int, low: float, high: float, step: int = 2 * MIB) -> int:
    """A size around another, spread evenly over the logarithm."""
    factor = low * (high / low) ** rng.random()
    return max(step, int(size * factor) // step * step)


def _request(rng: random.Random, draw: Draw, *, most: int | None = None) -> None:
    """Mostly the classic gigabyte."""
    sizes = [m * MIB for m in REQUESTS if most is None or m * MIB <= most]
    draw.bytes = GIB if rng.random() < 0.5 and GIB in sizes else rng.choice(sizes)


# ---- themes: each sets what it is about; the rest stays plain ----


def coherent(rng: random.Random, d: Draw) -> None:
    d.strategy = "coherent"
    d.bytes = rng.choice((MIB, 2 * MIB, 4 * MIB, 8 * MIB, 64 * MIB, GIB))
    if rng.random() < 0.4:
        d.cmdline.append(f"cma={rng.choice((256, 1200))}M")


def lab_coherent(rng: random.Random, d: Draw) -> None:
    """CMA that is there: none, too small, just right, impossible."""
    d.kernel, d.strategy = "lab", "coherent"
    d.ram_mib = rng.choice((1024, 2048, 3072, 4096))
    d.bytes = rng.choice((256 * MIB, 512 * MIB, GIB))
    if rng.random() < 0.85:
        area = _near(rng, d.bytes, 0.5, 2.2, 16 * MIB)
        if 0.7 < area / (d.ram_mib * MIB) < 1.1:
            area = d.ram_mib * MIB * 5 // 4  # nearly all of RAM: the kernel would not boot
        d.cmdline.append(f"cma={area // MIB}M")


def cma_held(rng: random.Random, d: Draw) -> None:
    d.kernel, d.strategy, d.ram_mib = "lab", "coherent", rng.choice((3072, 4096))
    d.bytes = rng.choice((256 * MIB, 512 * MIB))
    d.cmdline.append(f"cma={rng.choice((640, 1024, 1200))}M")
    if rng.random() < 0.4:
        d.hold_cma = True
    else:
        d.hold = rng.choice((128 * MIB, 256 * MIB, 512 * MIB))


def cma_high(rng: random.Random, d: Draw) -> None:
    d.kernel, d.strategy, d.ram_mib = "lab", "coherent", rng.choice((4096, 6144))
    d.card_bits = rng.choice((32, 32, 40))
    d.bytes = rng.choice((256 * MIB, 512 * MIB))
    d.cmdline.append("cma=640M" + rng.choice(("", "", "@0-4G")))


def ram(rng: random.Random, d: Draw) -> None:
    """RAM against the request, by what takes most of it."""
    d.ram_mib = rng.choice(RAMS)
    d.strategy = rng.choice(("sg", "sg", "contig-range", "chunked"))
    d.bytes = _near(rng, d.ram_mib * MIB, 0.6, 1.1)


def pressure(rng: random.Random, d: Draw) -> None:
    d.ram_mib = rng.choice((1536, 2048, 3072))
    d.strategy = rng.choice(("sg", "sg", "contig-range", "chunked"))
    d.bytes = rng.choice((512 * MIB, GIB))
    d.left_free = _near(rng, d.bytes, 0.5, 1.8)
    d.left_free = min(d.left_free, (d.ram_mib - 256) * MIB)


def memlock(rng: random.Random, d: Draw) -> None:
    d.user = True
    d.ram_mib = rng.choice((2048, 3072))
    _request(rng, d, most=GIB)
    d.memlock = rng.choice((0, 8 * MIB, _near(rng, d.bytes, 0.3, 3.0)))


def group(rng: random.Random, d: Draw) -> None:
    d.ram_mib = rng.choice((2048, 4096))
    _request(rng, d, most=GIB)
    d.group = _near(rng, d.bytes, 0.4, 2.0)
    d.strategy = rng.choice(("sg", "sg", "sg", "contig-range"))


def bounced(rng: random.Random, d: Draw) -> None:
    """A card of few bits on a machine with RAM above its reach, or with little of it."""
    d.card_bits = rng.choice((32, 32, 32, 40))
    d.ram_mib = rng.choice((2048, 3072, 4096, 6144))
    d.strategy = rng.choice(("sg", "sg", "contig-range"))
    d.bytes = rng.choice((16 * MIB, 32 * MIB, 128 * MIB, 512 * MIB, GIB))
    if rng.random() < 0.25:
        d.cmdline.append("iommu=off")


def forced(rng: random.Random, d: Draw) -> None:
    d.cmdline.append("swiotlb=force")
    d.ram_mib = rng.choice((1024, 2048, 4096))
    d.strategy = rng.choice(("sg", "contig-range", "coherent"))
    d.bytes = rng.choice((128 * 1024, 4 * MIB, 32 * MIB, 256 * MIB, GIB))


def translated(rng: random.Random, d: Draw) -> None:
    d.iommu = "intel"
    d.ram_mib = rng.choice((1536, 2048, 4096))
    d.strategy = rng.choice(("coherent", "coherent", "sg"))
    d.card_bits = rng.choice((64, 64, 32))
    _request(rng, d, most=GIB)
    if d.card_bits == 32 and d.ram_mib >= 4096 and rng.random() < 0.6:
        d.bytes, d.hold = GIB, GIB
    if d.strategy == "coherent" and rng.random() < 0.3:
        d.bytes = _near(rng, d.ram_mib * MIB, 0.8, 1.2)


def address_space(rng: random.Random, d: Draw) -> None:
    d.ram_mib = rng.choice((2048, 3072))
    _request(rng, d, most=GIB)
    d.address_space = _near(rng, d.bytes, 0.5, 2.0)


def promises(rng: random.Random, d: Draw) -> None:
    d.overcommit = 2
    d.ram_mib = rng.choice((1024, 1536, 2048, 3072, 4096))
    d.bytes = _near(rng, d.ram_mib * MIB, 0.25, 0.9)


def nodes(rng: random.Random, d: Draw) -> None:
    first = rng.choice((512, 1024, 1536))
    d.nodes_mib = [first, 2048 - first]
    d.ram_mib = 2048
    d.strategy = rng.choice(("contig-range", "contig-range", "chunked"))
    d.bytes = rng.choice((256 * MIB, 512 * MIB, 768 * MIB, GIB))
    d.options.append(f"--node {rng.choice((0, 1))}")


def fragmented(rng: random.Random, d: Draw) -> None:
    d.ram_mib = rng.choice((512, 768, 1024))
    d.strategy = rng.choice(("contig-range", "contig-range", "contig-range", "sg"))
    d.bytes = rng.choice((16 * MIB, 64 * MIB, 128 * MIB, 256 * MIB, 384 * MIB))
    d.fragmented = rng.choice((d.ram_mib // 2, d.ram_mib // 4, 150)) * MIB


def moved_kernel(rng: random.Random, d: Draw) -> None:
    d.kaslr, d.strategy = True, "contig-range"
    d.ram_mib = rng.choice((1200, 1536, 2048))
    d.bytes = _near(rng, d.ram_mib * MIB, 0.45, 0.85)


def huge_pages(rng: random.Random, d: Draw) -> None:
    d.strategy = "hugetlb"
    if rng.random() < 0.6:
        d.options.append("--page-size 1G")
        d.ram_mib = rng.choice((2048, 4096, 6144))
        d.bytes = GIB
        if rng.random() < 0.5:
            d.cmdline += ["hugepagesz=1G", "hugepages=1"]
        else:
            d.huge = (GIB, 1)
            d.cpu = rng.choice(("qemu64", "max"))
    else:
        d.options.append("--page-size 2M")
        d.ram_mib = rng.choice((1024, 2048))
        d.bytes = rng.choice((64 * MIB, 256 * MIB, 512 * MIB))
        d.huge = (2 * MIB, max(1, _near(rng, d.bytes, 0.5, 1.6) // (2 * MIB)))


def movable(rng: random.Random, d: Draw) -> None:
    d.ram_mib = rng.choice((2048, 3072))
    d.strategy = rng.choice(("sg", "contig-range", "chunked"))
    kernel = rng.choice((512, 768, 1024, 1536))
    d.cmdline.append(f"kernelcore={kernel}M")
    d.bytes = _near(rng, kernel * MIB, 0.4, 1.4)


def small_table(rng: random.Random, d: Draw) -> None:
    d.options.append("--small-table")
    if rng.random() < 0.5:
        d.options.append("--entry-per-page")
        d.bytes = rng.choice((512 * 1024, MIB, 2 * MIB, 64 * MIB))
    else:
        segment = rng.choice((64 * 1024, 256 * 1024, MIB, 4 * MIB))
        d.options.append(f"--max-segment {segment}")
        d.bytes = rng.choice((8 * MIB, 64 * MIB, 256 * MIB, GIB))


def budget(rng: random.Random, d: Draw) -> None:
    d.strategy = rng.choice(("contig-range", "chunked", "sg"))
    d.ram_mib = rng.choice((2048, 3072))
    _request(rng, d, most=GIB)
    if rng.random() < 0.5:
        d.driver_params.append(f"nonpaged_pool_bytes={_near(rng, d.bytes, 0.5, 2.0, 4 * MIB)}")
    else:
        d.driver_params.append(f"mapping_entries={_near(rng, d.bytes, 0.5, 2.0) // 4096}")


def reserved(rng: random.Random, d: Draw) -> None:
    d.strategy = "reserved"
    d.ram_mib = rng.choice((2048, 4096, 6144))
    d.bytes = rng.choice((512 * MIB, GIB))
    place, kept = rng.choice((4 * GIB, GIB)), rng.choice((512 * MIB, GIB))
    if rng.random() < 0.8:
        d.cmdline.append(f"memmap={kept // MIB}M${place:#x}")
    if rng.random() < 0.85:
        d.driver_params.append(f"reserved={place:#x}+{kept // MIB}M")
    d.card_bits = rng.choice((64, 64, 64, 32))


def reserved_by_name(rng: random.Random, d: Draw) -> None:
    """reserve_mem=, which the kernel has from 6.12 on. No more of RAM than it can boot without."""
    d.kernel, d.strategy = "6.12", "reserved"
    d.ram_mib = rng.choice((1024, 1536, 2048, 3072))
    sizes = (256, 512, 1024, 1536, 3072, 4096)
    kept = rng.choice([m for m in sizes if not 0.6 < m / d.ram_mib < 1])
    d.bytes = kept * MIB // rng.choice((1, 1, 2))
    d.cmdline.append(f"reserve_mem={kept}M:4K:big")
    d.driver_params.append("reserved=name:big")
    d.card_bits = rng.choice((64, 64, 32))


def kinds_of_memory(rng: random.Random, d: Draw) -> None:
    """Memory of a program's own: some kinds can't be pinned, or not for that direction."""
    d.program = "gl-user"
    d.ram_mib = rng.choice((1024, 2048))
    d.bytes = rng.choice((16 * MIB, 64 * MIB, 256 * MIB))
    d.options.append(f"--memory {rng.choice(('anonymous', 'readonly', 'readonly', 'io'))}")
    d.options.append(f"--direction {rng.choice(('to-card', 'both', 'from-card'))}")


def ring(rng: random.Random, d: Draw) -> None:
    """Memory that is a fixed buffer of an io_uring, too."""
    d.program = "gl-uring"
    d.kernel = rng.choice(("stock", "lab"))
    d.ram_mib = rng.choice((3072, 4096))
    d.bytes = rng.choice((GIB, GIB + 4096, _near(rng, GIB, 0.6, 1.6)))


def process_32(rng: random.Random, d: Draw) -> None:
    """A 32-bit process that has used much of its addresses."""
    d.program = "gl-32"
    d.ram_mib = rng.choice((2048, 3072))
    d.bytes = rng.choice((256 * MIB, 512 * MIB, GIB, GIB + 512 * MIB))
    d.mapped = max(0, _near(rng, 4 * GIB - d.bytes, 0.6, 1.2, 16 * MIB))
    d.mapped = min(d.mapped, 3 * GIB + 512 * MIB)


def pool(rng: random.Random, d: Draw) -> None:
    d.strategy = "pool"
    d.ram_mib = rng.choice((768, 1024))
    d.bytes = rng.choice((128 * MIB, 256 * MIB))
    d.driver_params += [f"pool_bytes={_near(rng, d.bytes, 0.6, 1.6, 4 * MIB)}", "pool_count=1"]
    if rng.random() < 0.6:
        d.late = True
        d.fragmented = 200 * MIB
    elif rng.random() < 0.6:
        # RAM above the card's reach, which the pool is told of or not.
        d.card_bits, d.low_ram_mib, d.ram_mib = 32, 512, 1024
        # Ranges are looked for from below; blocks come from above.
        d.driver_params.append(f"pool_strategy={rng.choice(('contig-range', 'chunked'))}")
        if rng.random() < 0.5:
            d.driver_params.append("pool_address_width=32")


def plain(rng: random.Random, d: Draw) -> None:
    d.ram_mib = rng.choice(RAMS)
    d.strategy = rng.choice(("coherent", "contig-range", "sg", "chunked"))
    d.kernel = rng.choice(("stock", "lab"))
    _request(rng, d)


THEMES: dict[Callable[[random.Random, Draw], None], int] = {
    coherent: 3,
    lab_coherent: 4,
    cma_held: 3,
    cma_high: 2,
    ram: 6,
    pressure: 4,
    memlock: 4,
    group: 3,
    bounced: 4,
    forced: 3,
    translated: 4,
    address_space: 2,
    promises: 3,
    nodes: 3,
    fragmented: 4,
    moved_kernel: 3,
    huge_pages: 4,
    movable: 4,
    small_table: 3,
    budget: 3,
    reserved: 3,
    reserved_by_name: 2,
    kinds_of_memory: 2,
    ring: 2,
    process_32: 2,
    pool: 3,
    plain: 4,
}


def draw(seed: int, number: int, kernels: Collection[str], strategies: Collection[str]) -> Draw:
    """The machine of that number. What can't be had here (kernels, strategies) is drawn anew."""
    for attempt in range(1000):
        rng = random.Random(f"{seed}/{number}/{attempt}")
        (theme,) = rng.choices(list(THEMES), list(THEMES.values()))
        d = Draw(number=number, theme=theme.__name__)
        theme(rng, d)
        if d.kernel in kernels and d.strategy in strategies:
            return d
    raise ValueError(f"no theme fits kernels {sorted(kernels)} and strategies {sorted(strategies)}")
