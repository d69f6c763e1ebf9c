# SPDX-License-Identifier: GPL-2.0-or-later
"""Remedies as the doctor prints them, applied to the cell that failed.

A cured guest is the failing one with exactly one remedy's kind and value applied; so what the
cure proves is the remedy itself, not a guest that somebody wrote beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from . import prepare
from .cells import RLIMITS, UNLIMITED, Cell, Remedy, Step
from .machine import MIN_RAM
from .sizes import MIB, parse_size


class RemedyError(Exception):
    """A remedy that can't be applied, and why."""


def _pair(value: str, what: str) -> tuple[str, str]:
    key, equals, rest = value.partition("=")
    if not key or not equals or not rest:
        raise RemedyError(f"{value!r:.80} is not {what}=VALUE")
    return key, rest


def _key(word: str) -> str:
    return word.partition("=")[0]


def _words(value: str) -> list[str]:
    words = value.split()
    if not words:
        raise RemedyError("it has no value")
    return words


def _with(now: Iterable[str], words: list[str]) -> tuple[str, ...]:
    """Words in place of those of the same names; for the kernel's and for the driver's."""
    keys = {_key(word) for word in words}
    return (*(word for word in now if _key(word) not in keys), *words)


def _without(now: tuple[str, ...], value: str, missing: str) -> tuple[str, ...]:
    keys = {_key(word) for word in _words(value)}
    kept = tuple(word for word in now if _key(word) not in keys)
    if kept == now:
        raise RemedyError(f"{missing} {value!r:.60}")
    return kept


def _kernel_parameter(cell: Cell, value: str) -> Cell:
    return replace(cell, cmdline=_with(cell.cmdline, _words(value)))


def _drop_kernel_parameter(cell: Cell, value: str) -> Cell:
    kept = _without(cell.cmdline, value, "the guest has no kernel parameter")
    return replace(cell, cmdline=kept)


def _module_parameter(cell: Cell, value: str) -> Cell:
    words = _words(value)
    for word in words:
        _pair(word, "PARAMETER")
    return replace(cell, driver_params=_with(cell.driver_params, words))


def _drop_module_parameter(cell: Cell, value: str) -> Cell:
    kept = _without(cell.driver_params, value, "the driver was loaded without")
    return replace(cell, driver_params=kept)


def _limit(cell: Cell, value: str) -> Cell:
    key, text = _pair(value, "LIMIT")
    if key not in RLIMITS:
        raise RemedyError(f"limit {key!r:.40}; known: {', '.join(RLIMITS)}")
    try:
        size = UNLIMITED if text == "unlimited" else parse_size(text, key)
    except ValueError as error:
        raise RemedyError(str(error)) from None
    kept = [one for one in cell.rlimit if one[0] != key]
    return replace(cell, rlimit=(*kept, (key, size)))


def _cgroup(cell: Cell, value: str) -> Cell:
    key, text = _pair(value, "FILE")
    if key not in dict(cell.cgroup):
        raise RemedyError(f"the guest's cgroup does not set {key!r:.60}")
    return replace(cell, cgroup=tuple((k, text if k == key else v) for k, v in cell.cgroup))


def _sysctl(cell: Cell, value: str) -> Cell:
    key, text = _pair(value, "SYSCTL")
    kept = [one for one in cell.sysctl if one[0] != key]
    return replace(cell, sysctl=(*kept, (key, text)))


def _ram(cell: Cell, value: str) -> Cell:
    try:
        size = parse_size(value, "ram")
    except ValueError as error:
        raise RemedyError(str(error)) from None
    if size < MIN_RAM or size % (2 * MIB):
        raise RemedyError(f"ram {value:.40} must be a multiple of 2M, 64M or more")
    mib, nodes = size // MIB, len(cell.nodes_mib)
    if nodes and (len(set(cell.nodes_mib)) > 1 or mib % (2 * nodes)):
        raise RemedyError(f"ram {value:.40} can't be divided like the guest's nodes")
    return replace(cell, ram_mib=mib, nodes_mib=(mib // nodes,) * nodes if nodes else ())


def _strategy(cell: Cell, value: str) -> Cell:
    return replace(cell, strategy=value)


def _option(cell: Cell, key: str, value: str | None) -> Cell:
    kept = [one for one in cell.options if one[0] != key]
    return replace(cell, options=(*kept, *([] if value is None else [(key, value)])))


def _address_width(cell: Cell, value: str) -> Cell:
    """Another card, and no narrower request."""
    if not value.isdecimal() or not 12 <= int(value) <= 64:
        raise RemedyError(f"address width {value!r:.40}; 12 to 64 are possible")
    card = tuple((k, value if k == "addr-width" else v) for k, v in cell.card)
    cell = replace(cell, card=card)
    if "address-width" in dict(cell.options):
        cell = _option(cell, "address-width", value)
    return cell


def _max_segment(cell: Cell, value: str) -> Cell:
    try:
        return _option(cell, "max-segment", str(parse_size(value, "max-segment")))
    except ValueError as error:
        raise RemedyError(str(error)) from None


def _iommu(cell: Cell, value: str) -> Cell:
    if value not in ("on", "intel", "amd"):
        raise RemedyError(f"iommu {value!r:.40}; on, intel and amd are possible")
    kept = tuple(w for w in cell.cmdline if _key(w) not in ("iommu", "intel_iommu", "amd_iommu"))
    return replace(cell, iommu="intel" if value == "on" else value, cmdline=kept)


def _cpu(cell: Cell, value: str) -> Cell:
    return replace(cell, cpu=f"{cell.cpu},{value}" if value[:1] in "+-" else value)


def _kernel(cell: Cell, value: str) -> Cell:
    return replace(cell, kernel=value)


def _node(cell: Cell, value: str) -> Cell:
    return _option(cell, "node", None if value == "any" else value)


def _request_option(cell: Cell, value: str) -> Cell:
    sign, key = value[:1], value[1:]
    if sign not in ("+", "-") or not key:
        raise RemedyError(f"option {value!r:.40} is not -OPTION or +OPTION")
    if sign == "-" and key not in dict(cell.options):
        raise RemedyError(f"the request has no option {key!r:.40}")
    return _option(cell, key, "" if sign == "+" else None)


def _command(cell: Cell, value: str) -> Cell:
    return replace(cell, prepare=(*cell.prepare, Step("run", command=value)))


def _size(cell: Cell, value: str) -> Cell:
    try:
        return replace(cell, bytes=parse_size(value, "size"))
    except ValueError as error:
        raise RemedyError(str(error)) from None


# What holds memory in a prepared guest, and how it lets go.
FREE = {
    "tmpfs": f"{prepare.TOOL} free",
    "locks": "kill $(pidof gigalock) && sleep 0.5",
    "cma": "kill $(cat /run/hold-cma.pid) && sleep 0.5",
}


def _free(cell: Cell, value: str) -> Cell:
    if value not in FREE:
        raise RemedyError(f"free {value!r:.40}; known: {', '.join(FREE)}")
    return _command(cell, FREE[value])


def _early(cell: Cell, value: str) -> Cell:
    if cell.load == "early":
        raise RemedyError("the driver is loaded early already")
    return replace(cell, load="early")


def _several_buffers(cell: Cell, value: str) -> Cell:
    if not value.isdecimal() or not 2 <= int(value) <= 1024:
        raise RemedyError(f"{value!r:.40} buffers; 2 to 1024 are possible")
    return _option(cell, "buffers", value)


KINDS: dict[str, Callable[[Cell, str], Cell]] = {
    "kernel-parameter": _kernel_parameter,
    "drop-kernel-parameter": _drop_kernel_parameter,
    "module-parameter": _module_parameter,
    "drop-module-parameter": _drop_module_parameter,
    "limit": _limit,
    "cgroup": _cgroup,
    "sysctl": _sysctl,
    "ram": _ram,
    "strategy": _strategy,
    "address-width": _address_width,
    "max-segment": _max_segment,
    "iommu": _iommu,
    "cpu": _cpu,
    "kernel": _kernel,
    "node": _node,
    "option": _request_option,
    "command": _command,
    "size": _size,
    "free": _free,
    "early": _early,
    "several-buffers": _several_buffers,
}


def apply(cell: Cell, remedy: Remedy) -> Cell:
    """The cell with the remedy; RemedyError says why it can't be."""
    how = KINDS.get(remedy.kind)
    if how is None:
        raise RemedyError(f"kind {remedy.kind!r:.40}; known: {', '.join(KINDS)}")
    try:
        return how(cell, remedy.value)
    except RemedyError as error:
        raise RemedyError(f"remedy {remedy.kind}: {error}") from None


def printed(remedy: Remedy, remedies: Iterable[object]) -> bool:
    """Whether the doctor's list has exactly this kind and value."""
    return any(
        isinstance(one, dict)
        and one.get("kind") == remedy.kind
        and str(one.get("value") or "") == remedy.value
        for one in remedies
    )
