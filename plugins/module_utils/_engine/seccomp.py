# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which system calls a guest may not make, and why: a deny-list fit for system containers.

A guest boots an unmodified distribution inside a user namespace and shares the host's network stack, so everything is
allowed but what :data:`DENIALS` names: calls that act on the whole kernel, calls that are a large attack surface
without a use in a guest, and sockets that the address binding cannot hold. Many of the calls already answer EPERM
because of the user namespace; they are here because a guest can be run without one, and because a bug is then not
reachable at all.

**Arguments.** A filter sees every argument as 64 bits, the kernel uses the low 32 of an ``int``. A rule "family == 40"
is passed by ``socket(0x100000028, …)``, which the kernel takes for 40 (the mistake of CVE-2019-7303). So conditions
here only ever test masked low bits (``SCMP_CMP_MASKED_EQ``); an allow-list is written as its complement in power-of-two
blocks, as routers subtract a network from a prefix (:func:`outside`). Ordered comparisons are not used at all:
libseccomp before 2.4 compiled them wrongly for 64 bits (CVE-2019-9893).

**Other ABIs.** The list holds for each ABI the processor can enter: i386 (``int 0x80``) and x32 on x86-64, arm on
aarch64; any other is killed by libseccomp. i386's ``socketcall`` keeps the arguments in memory, where no filter can
look, so opening sockets through it is denied altogether: 32-bit programs whose C library goes that way (glibc built to
run on kernels before 4.3, as Debian's for i386 is) get no sockets in a guest.

**What remains.** Names that the runtime's libseccomp does not know are skipped, and a system call younger than this
list is allowed: it is a deny-list. Mounting (both APIs), user namespaces and network namespaces of the guest's own stay
allowed, systemd needs them; so file systems with FS_USERNS_MOUNT and rtnetlink inside a network namespace of the
guest's own (tc, but not nftables, xfrm or generic netlink) are reachable. ``clone3`` and ``adjtimex`` take structures
and cannot be filtered. NETLINK_ROUTE lists the host's links and addresses, kobject events of the host can be heard (not
sent); ``TCP_ULP`` can turn a TCP socket into another protocol where its module is loaded. A descriptor that somebody
hands in over a unix socket is used without any ``socket`` call. A process that joins the guest's namespaces by itself
(nsenter) has no filter: the way in is :mod:`.enter`.

Sources: kernel net/socket.c (``__sock_create``, ``__sys_socket``), net/netlink/af_netlink.c, kernel/seccomp.c,
arch/x86/entry/syscalls; systemd's nspawn-seccomp.c for what systemd lives without; OCI runtime-spec config-linux.md.
"""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from .errors import Unsupported

#: machine (uname -m) → the ABIs its processes can enter, the native one first.
ARCHITECTURES = {
    "x86_64": ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"),
    "aarch64": ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
}

_INT = 0xFFFFFFFF

AF_UNIX, AF_INET, AF_INET6, AF_NETLINK = 1, 2, 10, 16
SOCK_STREAM, SOCK_DGRAM, SOCK_RAW = 1, 2, 3
#: The bits of socket's second argument that are the type (kernel include/linux/net.h).
SOCK_TYPE_MASK = 0xF
NETLINK_ROUTE, NETLINK_AUDIT, NETLINK_KOBJECT_UEVENT = 0, 9, 15
TIOCSTI, TIOCLINUX = 0x5412, 0x541C


@dataclass(frozen=True)
class Condition:
    """Argument number ``argument``, seen through ``mask``, is ``value``."""

    argument: int
    mask: int
    value: int

    def holds(self, arguments: Collection[int]) -> bool:
        return tuple(arguments)[self.argument] & self.mask == self.value


@dataclass(frozen=True)
class Denial:
    """System calls that answer ``errno`` instead of being made.

    * reason: why a guest may not
    * when: alternatives, each a group of conditions that hold together; empty: always
    """

    syscalls: tuple[str, ...]
    errno: int
    reason: str
    when: tuple[tuple[Condition, ...], ...] = ()


def outside(argument: int, allowed: Collection[int], width: int = 8) -> Iterator[Condition]:
    """Yield disjoint conditions that together hold for every value of the low ``width`` bits not in ``allowed``.

    Splits the range in halves: a half without an allowed value is one condition. Eight bits are enough for socket's
    numbers: the kernel itself refuses a family from 64 (NPROTO) and a netlink protocol from 32 (MAX_LINKS) on.
    """

    def blocks(value: int, bits: int) -> Iterator[Condition]:
        inside = [number for number in allowed if number >> bits == value >> bits]
        if not inside:
            yield Condition(argument, (1 << width) - (1 << bits), value)
        elif bits:
            yield from blocks(value, bits - 1)
            yield from blocks(value | 1 << bits - 1, bits - 1)

    return blocks(0, width)


def is_(argument: int, value: int) -> Condition:
    """The low 32 bits of an argument are ``value``."""
    return Condition(argument, _INT, value)


_SOCKET = ("socket", "socketpair")
_INTERNET = (AF_INET, AF_INET6)

DENIALS: tuple[Denial, ...] = (
    # The kernel itself.
    Denial(("init_module", "finit_module", "delete_module"), errno.EPERM, "kernel modules are the host's, and its end"),
    Denial(("kexec_load", "kexec_file_load"), errno.EPERM, "boots another kernel under all guests"),
    Denial(("bpf",), errno.EPERM, "programs inside the kernel; could replace or watch the address binding's own"),
    Denial(("perf_event_open",), errno.EPERM, "observes other contexts and the kernel; a long record of escapes"),
    Denial(
        ("io_uring_setup", "io_uring_enter", "io_uring_register"),
        errno.ENOSYS,
        "opens sockets and files without a system call, so past this list; ENOSYS makes libraries fall back",
    ),
    Denial(("userfaultfd",), errno.EPERM, "stops the kernel inside a copy from user memory: makes its races winnable"),
    # What has no namespace.
    Denial(
        ("add_key", "request_key", "keyctl"),
        errno.ENOSYS,
        "keyrings have global serial numbers and quotas per user; ENOSYS is a kernel without them, systemd ignores it",
    ),
    Denial(
        ("open_by_handle_at",),
        errno.EPERM,
        "opens any inode of the file system by guessed number, past the guest's root; name_to_handle_at, which only "
        "names a file, stays: systemd finds mount points and cgroups with it",
    ),
    Denial(("syslog",), errno.EPERM, "the kernel's log is the host's, with addresses and other guests' names"),
    Denial(
        ("settimeofday", "clock_settime", "clock_settime64", "stime"),
        errno.EPERM,
        "the clock is the host's; adjtimex and clock_adjtime stay: time daemons read with them, and setting needs "
        "CAP_SYS_TIME over the host",
    ),
    Denial(("swapon", "swapoff"), errno.EPERM, "swap belongs to the whole host"),
    Denial(("acct",), errno.EPERM, "process accounting would make the kernel write files for the guest"),
    Denial(("quotactl", "quotactl_fd"), errno.EPERM, "quotas hold the guests; the host sets them"),
    # Hardware.
    Denial(("iopl", "ioperm"), errno.EPERM, "input and output ports of the machine"),
    # Leftovers that nothing current calls.
    Denial(("vm86", "vm86old"), errno.ENOSYS, "16-bit mode of i386: entry code with a record of bugs"),
    Denial(("lookup_dcookie",), errno.ENOSYS, "names files of the whole host for the old profiler; gone in 6.7"),
    Denial(("nfsservctl",), errno.ENOSYS, "control of the kernel's NFS server; gone in 3.1"),
    Denial(("uselib",), errno.ENOSYS, "loads a.out libraries inside the kernel"),
    Denial(("_sysctl",), errno.ENOSYS, "kernel settings past /proc/sys, which is read-only; gone in 5.5"),
    # The terminal of whoever enters the guest.
    Denial(
        ("ioctl",),
        errno.EIO,
        "TIOCSTI types into the terminal of the operator who entered; EIO is a kernel with it disabled",
        when=((is_(1, TIOCSTI),),),
    ),
    Denial(
        ("ioctl",),
        errno.EPERM,
        "TIOCLINUX pastes into the virtual console, the same as typing",
        when=((is_(1, TIOCLINUX),),),
    ),
    # Sockets: what the address binding holds, and nothing beside it.
    Denial(
        _SOCKET,
        errno.EAFNOSUPPORT,
        "only unix, internet and netlink sockets: AF_VSOCK talks to the hypervisor, AF_ALG to the kernel's crypto, "
        "AF_PACKET and AF_XDP to the wire, the others load protocol modules on demand; none passes the address hooks",
        when=tuple((block,) for block in outside(0, (AF_UNIX, AF_INET, AF_INET6, AF_NETLINK))),
    ),
    Denial(
        _SOCKET,
        errno.EPROTONOSUPPORT,
        "only stream, datagram and raw: AF_INET with SOCK_PACKET is AF_PACKET (__sock_create rewrites it), "
        "SOCK_SEQPACKET and SOCK_DCCP load SCTP and DCCP",
        when=tuple(
            (is_(0, family), block)
            for family in _INTERNET
            for block in outside(1, (SOCK_STREAM, SOCK_DGRAM, SOCK_RAW), SOCK_TYPE_MASK.bit_length())
        ),
    ),
    Denial(
        _SOCKET,
        errno.EPROTONOSUPPORT,
        "DCCP, L2TP, SCTP, UDP-Lite and SMC have a bind or connect of their own that skips the address hooks, and are "
        "loaded on demand before any hook runs",
        when=tuple((is_(0, family), is_(2, protocol)) for family in _INTERNET for protocol in (33, 115, 132, 136, 256)),
    ),
    Denial(
        _SOCKET,
        errno.EPROTONOSUPPORT,
        "netlink reaches most of the kernel's network code; a guest needs ROUTE (its addresses), AUDIT (PAM asks, the "
        "kernel refuses) and KOBJECT_UEVENT (systemd-logind); no socket lists, nftables, xfrm, connector, generic",
        when=tuple(
            (is_(0, AF_NETLINK), block) for block in outside(2, (NETLINK_ROUTE, NETLINK_AUDIT, NETLINK_KOBJECT_UEVENT))
        ),
    ),
    Denial(
        ("socketcall",),
        errno.EAFNOSUPPORT,
        "i386's multiplexer hides family and protocol in memory: socket (1) and socketpair (8) through it are refused",
        when=((is_(0, 1),), (is_(0, 8),)),
    ),
)


def profile(architecture: str) -> dict[str, Any]:
    """Return OCI ``linux.seccomp`` for a host whose ``uname -m`` is ``architecture``.

    Shape: ``{"defaultAction", "architectures": [...], "syscalls": [{"names", "action", "errnoRet", "args"?}, ...]}``.
    Entries with arguments carry one group of conditions each: entries are alternatives, conditions of one hold
    together. No entry tests the same argument twice (the runtimes would take that for alternatives).
    Raises :class:`~.errors.Unsupported` for an architecture whose ABIs this table does not know.
    """
    try:
        abis = ARCHITECTURES[architecture]
    except KeyError:
        raise Unsupported(
            f"choose the system call filter for {architecture}",
            why="its ABIs are not known to linux.vserver",
            remedy=f"Use a host with {' or '.join(ARCHITECTURES)}.",
        ) from None
    return {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": list(abis),
        "syscalls": [entry for denial in DENIALS for entry in _entries(denial)],
    }


def _entries(denial: Denial) -> Iterator[dict[str, Any]]:
    base = {"names": list(denial.syscalls), "action": "SCMP_ACT_ERRNO", "errnoRet": denial.errno}
    if not denial.when:
        yield base
    for group in denial.when:
        yield {**base, "args": [_argument(condition) for condition in group]}


def _argument(condition: Condition) -> dict[str, Any]:
    return {
        "index": condition.argument,
        "value": condition.mask,
        "valueTwo": condition.value,
        "op": "SCMP_CMP_MASKED_EQ",
    }
