# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs inside a guest, as its init, and makes the system calls of the attacks in ``attacks.py``.

A request is a line of JSON, and so is the answer. An attack is a text of steps, ``"option IP_FREEBIND 1; bind HOST"``:
every step is tried whatever became of the one before, and the answer tells which failed, and how. What the steps have
opened stays open until it is asked to close, so that others can try to reach it.

Nothing but the standard library: the guest has no more. System calls are made raw, or put on an io_uring.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import mmap
import os
import select
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

LIBC = ctypes.CDLL(None, use_errno=True)
#: How long to wait for what should not come, in seconds.
PATIENCE = 0.05
#: How long for what has to come.
LATE = 10.0
TOKEN = b"attack"

TCP, UDP, RAW = socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW
V4, V6 = socket.AF_INET, socket.AF_INET6
UNSPECIFIED = struct.pack("=H26x", socket.AF_UNSPEC)
MSG_MORE, MSG_PROXY, MSG_FASTOPEN = 0x8000, 0x10, 0x20000000

KINDS = {
    "tcp4": (V4, TCP, 0),
    "tcp6": (V6, TCP, 0),
    "udp4": (V4, UDP, 0),
    "udp6": (V6, UDP, 0),
    "mptcp4": (V4, TCP, 262),
    "mptcp6": (V6, TCP, 262),
    "udplite4": (V4, UDP, 136),
    "udplite6": (V6, UDP, 136),
    "sctp4": (V4, TCP, 132),
    "sctp6": (V6, 5, 132),
    "dccp4": (V4, 6, 33),
    "dccp6": (V6, 6, 33),
    "l2tp4": (V4, UDP, 115),
    "smc4": (43, TCP, 0),
    "smc6": (V6, TCP, 256),
    "raw4": (V4, RAW, 255),
    "raw6": (V6, RAW, 255),
    "icmp4": (V4, RAW, 1),
    "icmp6": (V6, RAW, 58),
    "ping4": (V4, UDP, 1),
    "ping6": (V6, UDP, 58),
    "packet": (17, RAW, 0x300),
    "oldpacket": (V4, 10, 0x300),
    "xdp": (44, RAW, 0),
    "vsock": (40, TCP, 0),
    "alg": (38, 5, 0),
    "tipc": (30, 5, 0),
    "rds": (21, 5, 0),
    "kcm": (41, 5, 0),
    "rxrpc": (33, UDP, V4),
    "usersock": (16, RAW, 2),
    "sock_diag": (16, RAW, 4),
    "xfrm": (16, RAW, 6),
    "nfnetlink": (16, RAW, 12),
    "generic": (16, RAW, 16),
}

#: name → level and number; of the kernel's headers, as Python does not know all of them.
OPTIONS = {
    "SO_REUSEADDR": (1, 2),
    "SO_DONTROUTE": (1, 5),
    "SO_BROADCAST": (1, 6),
    "SO_REUSEPORT": (1, 15),
    "SO_BINDTODEVICE": (1, 25),
    "SO_RCVBUFFORCE": (1, 33),
    "SO_MARK": (1, 36),
    "SO_ATTACH_REUSEPORT_CBPF": (1, 51),
    "SO_ATTACH_REUSEPORT_EBPF": (1, 52),
    "SO_BINDTOIFINDEX": (1, 62),
    "IP_OPTIONS": (0, 4),
    "IP_TRANSPARENT": (0, 19),
    "IP_RECVORIGDSTADDR": (0, 20),
    "IP_NODEFRAG": (0, 22),
    "IP_BIND_ADDRESS_NO_PORT": (0, 24),
    "IP_FREEBIND": (0, 15),
    "IP_MULTICAST_IF": (0, 32),
    "IP_ADD_MEMBERSHIP": (0, 35),
    "IP_UNICAST_IF": (0, 50),
    "IP_LOCAL_PORT_RANGE": (0, 51),
    "IPV6_ADDRFORM": (41, 1),
    "IPV6_2292PKTOPTIONS": (41, 6),
    "IPV6_MULTICAST_IF": (41, 17),
    "IPV6_ADD_MEMBERSHIP": (41, 20),
    "IPV6_V6ONLY": (41, 26),
    "IPV6_JOIN_ANYCAST": (41, 27),
    "IPV6_PKTINFO": (41, 50),
    "IPV6_HOPOPTS": (41, 54),
    "IPV6_RTHDR": (41, 57),
    "IPV6_ADDR_PREFERENCES": (41, 72),
    "IPV6_TRANSPARENT": (41, 75),
    "IPV6_UNICAST_IF": (41, 76),
    "IPV6_FREEBIND": (41, 78),
    "TCP_REPAIR": (6, 19),
    "TCP_FASTOPEN": (6, 23),
    "TCP_FASTOPEN_CONNECT": (6, 30),
    "TCP_ULP": (6, 31),
    "TCP_DEFER_ACCEPT": (6, 9),
    "UDP_CORK": (17, 1),
    "UDP_ENCAP": (17, 100),
    "UDP_SEGMENT": (17, 103),
}


def checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


class Plain:
    """Each step is a system call."""

    def socket(self, family: int, kind: int, protocol: int) -> int:
        return checked(LIBC.socket(family, kind, protocol))

    def bind(self, descriptor: int, address: bytes) -> None:
        checked(LIBC.bind(descriptor, address, len(address)))

    def listen(self, descriptor: int, backlog: int) -> None:
        checked(LIBC.listen(descriptor, backlog))

    def connect(self, descriptor: int, address: bytes) -> None:
        """Wait a little; what has not happened by then does not count as an error."""
        try:
            checked(LIBC.connect(descriptor, address, len(address)))
        except BlockingIOError:
            if not select.select([], [descriptor], [], PATIENCE)[1]:
                raise TimeoutError(errno.ETIMEDOUT, "") from None
            with borrowed(descriptor) as made:
                number = made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if number:
                raise OSError(number, os.strerror(number)) from None

    def send(self, descriptor: int, data: bytes, address: bytes, control: bytes, flags: int) -> None:
        with message(data, address, control) as header:
            checked(LIBC.sendmsg(descriptor, header, flags))

    def set_option(self, descriptor: int, level: int, name: int, value: bytes) -> None:
        checked(LIBC.setsockopt(descriptor, level, name, value, len(value)))


@contextlib.contextmanager
def message(data: bytes, address: bytes, control: bytes) -> Iterator[Any]:
    """A struct msghdr, with what it points to."""
    parts = [ctypes.create_string_buffer(part, len(part) + 1) for part in (data, address, control)]
    where = [ctypes.addressof(part) for part in parts]
    vector = ctypes.create_string_buffer(struct.pack("=QQ", where[0], len(data)))
    pointers = (where[1] if address else 0, len(address), ctypes.addressof(vector), 1)
    yield ctypes.create_string_buffer(
        struct.pack("=QI4xQQQQi4x", *pointers, where[2] if control else 0, len(control), 0)
    )


@contextlib.contextmanager
def borrowed(descriptor: int) -> Iterator[socket.socket]:
    made = socket.socket(fileno=descriptor)
    try:
        yield made
    finally:
        made.detach()


class Ring(Plain):
    """Each step goes through an io_uring, with ``polled`` on a thread of the kernel.

    Before Linux 6.11 a ring cannot bind, listen, or (6.7) set options: those are calls then, and the rest goes through
    it.
    """

    SETUP, ENTER, REGISTER, PROBE = 425, 426, 427, 8
    SENDMSG, CONNECT, SOCKET, COMMAND, BIND, LISTEN = 9, 16, 45, 46, 56, 57
    SET_OPTION = 3
    SQPOLL, WAKEUP, NEED_WAKEUP = 2, 2, 1

    def __init__(self, polled: bool) -> None:
        self.polled, self.count = polled, 0
        parameters = ctypes.create_string_buffer(struct.pack("=4xI I 4x I 100x", 0, self.SQPOLL * polled, 1), 120)
        self.ring = checked(LIBC.syscall(self.SETUP, 8, parameters))
        numbers = struct.unpack("=30I", parameters.raw)
        self.sq, self.cq = numbers[10:20], numbers[20:30]
        size = max(self.sq[6] + 4 * numbers[0], self.cq[5] + 16 * numbers[1])
        self.rings = mmap.mmap(self.ring, size, flags=mmap.MAP_SHARED)
        self.entries = mmap.mmap(self.ring, 64 * numbers[0], flags=mmap.MAP_SHARED, offset=0x10000000)
        operations = ctypes.create_string_buffer(16 + 8 * 256)
        checked(LIBC.syscall(self.REGISTER, self.ring, self.PROBE, operations, 256))
        self.binds = bool(struct.unpack_from("=H", operations, 16 + 8 * self.BIND + 2)[0] & 1)

    def _number(self, offset: int) -> int:
        return int(struct.unpack_from("=I", self.rings, offset)[0])

    def submit(
        self, operation: int, descriptor: int, offset: int = 0, address: int = 0, length: int = 0, **more: int
    ) -> int:
        """Do one thing; return its result or raise its error."""
        self.count += 1
        tail = self._number(self.sq[1])
        index = tail & self._number(self.sq[2])
        entry = struct.pack("=BBHiQQII", operation, 0, 0, descriptor, offset, address, length, more.get("flags", 0))
        entry += struct.pack("=QHHiQQ", self.count, 0, 0, more.get("extra", 0), more.get("address3", 0), 0)
        self.entries[64 * index : 64 * index + 64] = entry
        struct.pack_into("=I", self.rings, self.sq[6] + 4 * index, index)
        struct.pack_into("=I", self.rings, self.sq[1], tail + 1)
        if not self.polled:
            checked(LIBC.syscall(self.ENTER, self.ring, 1, 0, 0, None, 0))
        # Only a connection may stay without an answer; the rest is late where the kernel's thread gets no processor.
        deadline = time.monotonic() + (PATIENCE + self.polled if operation == self.CONNECT else LATE)
        while (result := self._result()) is None:
            if self.polled and self._number(self.sq[4]) & self.NEED_WAKEUP:
                checked(LIBC.syscall(self.ENTER, self.ring, 0, 0, self.WAKEUP, None, 0))
            if time.monotonic() > deadline:
                raise TimeoutError(errno.ETIMEDOUT, "")
            time.sleep(0.0002)
        if result < 0:
            raise OSError(-result, os.strerror(-result))
        return result

    def _result(self) -> int | None:
        """Of the last one that was submitted; an earlier one that took too long may come before it."""
        head = self._number(self.cq[0])
        if head == self._number(self.cq[1]):
            return None
        place = self.cq[5] + 16 * (head & self._number(self.cq[2]))
        which, result, _ignored = struct.unpack_from("=QiI", self.rings, place)
        struct.pack_into("=I", self.rings, self.cq[0], head + 1)
        return int(result) if which == self.count else self._result()

    def socket(self, family: int, kind: int, protocol: int) -> int:
        return self.submit(self.SOCKET, family, kind, 0, protocol)

    def bind(self, descriptor: int, address: bytes) -> None:
        if not self.binds:
            return super().bind(descriptor, address)
        place = ctypes.create_string_buffer(address, len(address))
        self.submit(self.BIND, descriptor, len(address), ctypes.addressof(place))
        return None

    def listen(self, descriptor: int, backlog: int) -> None:
        if not self.binds:
            return super().listen(descriptor, backlog)
        self.submit(self.LISTEN, descriptor, length=backlog)
        return None

    def connect(self, descriptor: int, address: bytes) -> None:
        # The kernel copies the address when it takes the entry.
        place = ctypes.create_string_buffer(address, len(address))
        self.submit(self.CONNECT, descriptor, len(address), ctypes.addressof(place))

    def send(self, descriptor: int, data: bytes, address: bytes, control: bytes, flags: int) -> None:
        with message(data, address, control) as header:
            self.submit(self.SENDMSG, descriptor, address=ctypes.addressof(header), length=1, flags=flags)

    def set_option(self, descriptor: int, level: int, name: int, value: bytes) -> None:
        if not self.binds:
            return super().set_option(descriptor, level, name, value)
        place = ctypes.create_string_buffer(value, len(value) or 1)
        where = ctypes.addressof(place)
        self.submit(self.COMMAND, descriptor, self.SET_OPTION, level | name << 32, extra=len(value), address3=where)
        return None


class Attacker:
    """Runs steps. ``names`` stand for addresses and ports: given by the tests, as they know the world around."""

    def __init__(self, names: dict[str, Any], via: str = "plain") -> None:
        self.names = names
        self.calls = Plain() if via == "plain" else Ring(polled=via == "sqpoll")
        self.kind = "tcp4"
        self.open: list[int] = []

    def run(self, kind: str, text: str) -> list[str]:
        """Return the steps that failed, and how."""
        self.kind, failed = kind, []
        for step in ["socket", *filter(None, (part.strip() for part in text.split(";")))]:
            verb, *arguments = step.split()
            if self.is_pointless(verb, failed):
                continue
            try:
                getattr(self, f"step_{verb}")(*arguments)
            except OSError as error:
                failed.append(f"{verb} {errno.errorcode[error.errno or 0]}")
                if verb == "socket":
                    break
        return failed

    def is_pointless(self, verb: str, failed: list[str]) -> bool:
        """Steps that are for other kinds of sockets, so that one text serves all."""
        streams = self.kind.startswith("tcp")
        return (verb == "listen" and not streams) or (
            verb == "send" and streams and " ".join(failed[-1:])[:7] == "connect"
        )

    def close(self) -> None:
        while self.open:
            os.close(self.open.pop())

    # What sockets are open, and what has reached them.

    def ports(self) -> list[tuple[str, int]]:
        """The port of every socket that can be reached: listening, or of datagrams."""
        found = []
        for descriptor in self.open:
            with borrowed(descriptor) as made:
                if made.family not in (V4, V6) or made.type == RAW:
                    continue
                listening = made.type == TCP and made.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
                port = made.getsockname()[1]
                if port and (made.type == UDP or listening):
                    found.append((f"{'udp' if made.type == UDP else 'tcp'}{4 if made.family == V4 else 6}", port))
        return found

    def heard(self) -> list[tuple[str, str, str]]:
        """What arrived at open sockets: of a datagram the content, the local address of a connection, the sender."""
        found = []
        for descriptor in self.open:
            with borrowed(descriptor) as made:
                made.setblocking(False)
                with contextlib.suppress(OSError, ValueError):
                    while made.family in (V4, V6) and made.type == UDP:
                        data, peer = made.recvfrom(99)
                        found.append((data.decode(errors="replace"), "", peer[0]))
                    while made.family in (V4, V6) and made.type == TCP:
                        connection, peer = made.accept()
                        with connection:
                            found.append(("connection", connection.getsockname()[0], peer[0]))
        return found

    # Words of the steps.

    def address(self, text: str, port: str | int = 0) -> bytes:
        """A socket address of NAME, 192.0.2.1, 2001:db8::1%eth0, mapped:NAME, or unspec:NAME for AF_UNSPEC."""
        prefix, _colon, rest = text.partition(":")
        if prefix not in ("mapped", "unspec"):
            prefix, rest = "", text
        rest, _percent, device = str(self.names.get(rest, rest)).partition("%")
        scope = socket.if_nametoindex(device) if device else 0
        number = struct.pack("!H", self.port(port))
        if prefix == "mapped":
            rest = f"::ffff:{rest}"
        if ":" in rest:
            return struct.pack("=H2sI16sI", V6, number, 0, socket.inet_pton(V6, rest), scope)
        return struct.pack("=H2s4s8x", 0 if prefix == "unspec" else V4, number, socket.inet_pton(V4, rest))

    def port(self, text: str | int) -> int:
        if text == "self":
            with borrowed(self.open[-1]) as made:
                return int(made.getsockname()[1])
        return int(self.names.get(text, text))

    def packed(self, name: str) -> bytes:
        if name.startswith("mapped:"):
            return bytes(10) + b"\xff\xff" + self.packed(name[7:])
        text = str(self.names.get(name, name)).partition("%")[0]
        return socket.inet_pton(V6 if ":" in text else V4, text)

    def value(self, text: str) -> bytes:
        """Of an option: a number, an address, or a form (``hex:…``, ``index:DEVICE``); several are joined by "+"."""
        if "+" in text:
            return b"".join(self.value(part) for part in text.split("+"))
        form, _colon, rest = text.partition(":")
        if form == "hex":
            return bytes.fromhex(rest)
        if form == "text":
            return rest.encode()
        if form == "index":
            return struct.pack("=I", socket.if_nametoindex(rest))
        if form == "bigindex":
            return struct.pack("!I", socket.if_nametoindex(rest))
        if form == "range":
            return struct.pack("=I", self.port(rest) << 16 | self.port(rest))
        if form == "segment":  # a segment routing header with one segment, none left
            return struct.pack("!BBBBBBH", 0, 2, 4, 0, 0, 0, 0) + self.packed(rest)
        if form == "filter":  # a classic filter: always the first socket
            code = ctypes.create_string_buffer(struct.pack("=HBBI", 6, 0, 0, 0))
            self.kept = code
            return struct.pack("=H6xQ", 1, ctypes.addressof(code))
        if text.lstrip("-").isdigit():
            return struct.pack("=i", int(text))
        return self.packed(text)

    # The steps.

    def step_socket(self, kind: str | None = None) -> None:
        family, type_, protocol = KINDS[kind or self.kind]
        self.open.append(self.calls.socket(family, type_, protocol))
        os.set_blocking(self.open[-1], False)

    def step_option(self, name: str, value: str) -> None:
        self.calls.set_option(self.open[-1], *OPTIONS[name], self.value(value))

    def step_bind(self, where: str, port: str = "0") -> None:
        self.calls.bind(self.open[-1], self.address(where, port))

    def step_listen(self, backlog: str = "8") -> None:
        self.calls.listen(self.open[-1], int(backlog))

    def step_connect(self, where: str, port: str) -> None:
        self.calls.connect(self.open[-1], self.address(where, port))

    def step_dissolve(self) -> None:
        self.calls.connect(self.open[-1], UNSPECIFIED)

    def step_send(self, flags: str = "0") -> None:
        self.calls.send(self.open[-1], TOKEN, b"", b"", int(flags, 0))

    def step_sendto(self, where: str, port: str, flags: str = "0") -> None:
        with contextlib.suppress(BlockingIOError):
            self.calls.send(self.open[-1], TOKEN, self.address(where, port), b"", int(flags, 0))

    def step_big(self, where: str, port: str) -> None:
        """More than fits into one packet."""
        self.calls.send(self.open[-1], TOKEN * 5000, self.address(where, port), b"", 0)

    def step_many(self, *where: str) -> None:
        """sendmmsg(2): one call, several destinations (address and port in turn)."""
        with contextlib.ExitStack() as stack:
            targets = [self.address(address, port) for address, port in zip(where[::2], where[1::2])]
            headers = [stack.enter_context(message(TOKEN, target, b"")).raw[:56] for target in targets]
            block = ctypes.create_string_buffer(b"".join(header + bytes(8) for header in headers))
            checked(LIBC.sendmmsg(self.open[-1], block, len(targets), 0) - len(targets))

    def step_from(self, source: str, where: str = "", port: str = "0") -> None:
        """Send with the source named in a control message (IP_PKTINFO, IPV6_PKTINFO)."""
        packed = self.packed(source)
        if len(packed) == 4:
            level, kind, content = 0, 8, struct.pack("=I4s4x", 0, packed)
        else:
            level, kind, content = 41, 50, packed + bytes(4)
        self._control(level, kind, content, where, port)

    def step_routed(self, header: str, where: str = "", port: str = "0") -> None:
        """Send with a routing header (IPV6_RTHDR) or options (IP_RETOPTS) in a control message."""
        content = self.value(header)
        level, kind = (41, 57) if header.startswith("segment") else (0, 7)
        self._control(level, kind, content, where, port)

    def _control(self, level: int, kind: int, content: bytes, where: str, port: str) -> None:
        control = struct.pack("=Qii", 16 + len(content), level, kind) + content + bytes(-len(content) % 8)
        target = self.address(where, port) if where else b""
        self.calls.send(self.open[-1], TOKEN, target, control, 0)

    def step_poke(self, where: str, port: str) -> None:
        """Begin a connection, or send a datagram, without waiting for what becomes of it."""
        self.step_socket()
        with borrowed(self.open[-1]) as made, contextlib.suppress(OSError):
            made.setblocking(False)
            address = self.address(where, port)
            if made.type == UDP:
                Plain().send(made.fileno(), b"probe", address, b"", 0)
            else:
                checked(LIBC.connect(made.fileno(), address, len(address)))

    def step_close(self, which: str = "-1") -> None:
        os.close(self.open.pop(int(which)))


def open_abstract_services(name: str) -> list[socket.socket]:
    """Unix sockets in the namespace that guests share with the host: they answer nothing."""
    listener, receiver = socket.socket(socket.AF_UNIX, TCP), socket.socket(socket.AF_UNIX, UDP)
    listener.bind(f"\0attack-{name}")
    listener.listen()
    receiver.bind(f"\0attack-{name}-datagrams")
    return [listener, receiver]


def serve(reader: IO[str], writer: IO[str], actions: Callable[[dict[str, Any]], Any]) -> None:
    for line in reader:
        answer = actions(json.loads(line))
        writer.write(json.dumps(answer) + "\n")
        writer.flush()


class Session:
    """Answers requests: ``run``, ``heard``, ``close`` on an attacker per way of making calls, and the tricks."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {}
        self.attackers: dict[str, Attacker] = {}

    def __call__(self, request: dict[str, Any]) -> Any:
        what = request["do"]
        if what == "names":
            self.names.update(request["names"])
            return None
        if what == "trick":
            return self.trick(request["name"])
        who, via = request.get("who", ""), request.get("via", "plain")
        attacker = self.attackers.get(who + via) or Attacker(self.names, via)
        self.attackers[who + via] = attacker
        if what == "run":
            return {"failed": attacker.run(request["kind"], request["steps"]), "ports": attacker.ports()}
        if what == "heard":
            return attacker.heard()
        attacker.close()
        return None

    def trick(self, name: str) -> Any:
        """In a process of its own: it may change its namespaces and groups."""
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.close(reader)
                answer = TRICKS[name](Attacker(self.names))
            except OSError as error:
                answer = [errno.errorcode[error.errno or 0]]
            except BaseException as error:
                answer = [repr(error)]
            os.write(writer, json.dumps(answer).encode())
            os._exit(0)
        os.close(writer)
        with open(reader) as stream:
            answer = json.loads(stream.read())
        with contextlib.suppress(ChildProcessError):
            os.waitpid(child, 0)
        return answer


# --- what is no sequence of socket calls

NEWNET, NEWUSER, NEWCGROUP = 0x40000000, 0x10000000, 0x02000000
GROUPS = Path("/sys/fs/cgroup")
TAKE = "bind HOST; bind HOST6; bind B; listen"


def answer_of(call: Callable[[], Any]) -> str:
    try:
        call()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "done"


def take(attacker: Attacker) -> list[str]:
    """Try to take the addresses of others, and to speak from them, with new sockets."""
    found = []
    for kind, steps in (
        ("tcp4", "bind HOST"),
        ("tcp6", "bind HOST6"),
        ("udp4", "bind B"),
        ("udp4", "from HOST HOST WILD"),
        ("tcp4", "connect 127.0.0.1 LOOP"),
    ):
        found += attacker.run(kind, steps) or ["done"]
    attacker.close()
    return found


def in_a_network_of_its_own(attacker: Attacker) -> list[str]:
    """Make sockets in a new network namespace, and come back with them."""
    old = os.open("/proc/self/ns/net", os.O_RDONLY)
    checked(LIBC.unshare(NEWNET))
    made = attacker.run("tcp4", "bind HOST")
    back = answer_of(lambda: checked(LIBC.setns(old, NEWNET)))
    return [*made, back, answer_of(lambda: move_link(old))]


def move_link(namespace: int) -> None:
    """Make a pair of virtual interfaces, one end in another network namespace."""
    IFLA_IFNAME, IFLA_NET_NS_FD, IFLA_LINKINFO, IFLA_INFO_KIND, IFLA_INFO_DATA, VETH_INFO_PEER = 3, 28, 18, 1, 2, 1
    blank = struct.pack("=BxHiII", 0, 0, 0, 0, 0)

    def attribute(kind: int, content: bytes) -> bytes:
        return struct.pack("=HH", 4 + len(content), kind) + content + bytes(-len(content) % 4)

    peer = blank + attribute(IFLA_IFNAME, b"stolen0\0") + attribute(IFLA_NET_NS_FD, struct.pack("=I", namespace))
    data = attribute(IFLA_INFO_DATA, attribute(VETH_INFO_PEER, peer))
    request(16, blank + attribute(IFLA_LINKINFO, attribute(IFLA_INFO_KIND, b"veth") + data), 0x605)


def request(kind: int, body: bytes, flags: int) -> None:
    """One request of rtnetlink; raises the error it is answered with."""
    with socket.socket(socket.AF_NETLINK, RAW, 0) as channel:
        channel.send(struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body)
        (number,) = struct.unpack_from("=i", channel.recv(9999), 16)
    if number:
        raise OSError(-number, os.strerror(-number))


def add_an_address(attacker: Attacker) -> list[str]:
    """Give the host an address, a route and a neighbour of the guest's choice."""
    index = socket.if_nametoindex("lo")
    address = struct.pack("=BBBBI", V4, 32, 0, 0, index) + struct.pack("=HH4s", 8, 2, bytes([192, 0, 2, 99]))
    route = struct.pack("=BBBBBBBBI", V4, 0, 0, 0, 254, 4, 0, 1, 0) + struct.pack("=HHI", 8, 4, index)
    return [answer_of(lambda: request(20, address, 0x605)), answer_of(lambda: request(24, route, 0x605))]


def into_a_network(attacker: Attacker) -> list[str]:
    """Enter the network namespace of the guest's process 1, and the own one: both are the host's."""

    def enter(process: str) -> None:
        checked(LIBC.setns(os.open(f"/proc/{process}/ns/net", os.O_RDONLY), NEWNET))

    return [answer_of(lambda: enter("1")), answer_of(lambda: enter("self"))]


def in_a_group_of_its_own(attacker: Attacker) -> list[str]:
    """A control group made by the guest, below its own."""
    group = GROUPS / f"attack{os.getpid()}"
    group.mkdir()
    (group / "cgroup.procs").write_text(str(os.getpid()))
    return take(attacker)


def born_in_a_group(attacker: Attacker) -> list[str]:
    """clone3(2) with CLONE_INTO_CGROUP."""
    group = GROUPS / f"attack{os.getpid()}"
    group.mkdir()
    directory = os.open(group, os.O_RDONLY)
    arguments = ctypes.create_string_buffer(struct.pack("=11Q", 0x200000000, 0, 0, 0, 17, 0, 0, 0, 0, 0, directory))
    reader, writer = os.pipe()
    child = checked(LIBC.syscall(435, arguments, 88))
    if child == 0:
        os.write(writer, json.dumps(take(attacker)).encode())
        os._exit(0)
    os.close(writer)
    with open(reader) as stream:
        return list(json.load(stream))


def out_of_its_group(attacker: Attacker) -> list[str]:
    """Into a group above the guest's: there is none to be seen, also not in a new mount, nor as a new view."""
    me = str(os.getpid())
    answers = [answer_of(lambda: (GROUPS / ".." / "cgroup.procs").write_text(me))]
    checked(LIBC.unshare(0x20000))
    place = Path("/mnt")
    answers.append(answer_of(lambda: checked(LIBC.mount(b"none", b"/mnt", b"cgroup2", 0, None))))
    for parent in ("..", "../..", "."):
        with contextlib.suppress(OSError):
            (place / parent / "cgroup.procs").write_text(me)
    with contextlib.suppress(OSError):
        checked(LIBC.unshare(NEWCGROUP))
    return [*answers, *take(attacker)]


def made_elsewhere(attacker: Attacker) -> list[str]:
    """A socket made by a process in another group of the guest's, handed over."""
    here, there = socket.socketpair()
    if os.fork() == 0:
        group = GROUPS / f"attack{os.getpid()}"
        with contextlib.suppress(OSError):
            group.mkdir()
            (group / "cgroup.procs").write_text(str(os.getpid()))
            with socket.socket(V4, TCP) as made:
                socket.send_fds(there, [b"x"], [made.fileno()])
        os._exit(0)
    there.close()
    attacker.open.append(socket.recv_fds(here, 1, 1)[1][0])
    return [
        answer_of(lambda: attacker.step_bind("HOST")),
        answer_of(lambda: attacker.step_connect("127.0.0.1", "LOOP")),
    ]


def as_somebody_else(attacker: Attacker) -> list[str]:
    os.setgid(1000)
    os.setuid(1000)
    return take(attacker)


def as_a_new_root(attacker: Attacker) -> list[str]:
    """A user namespace in the guest's: all capabilities there, none over the network."""
    checked(LIBC.unshare(NEWUSER))
    options = attacker.run("tcp4", "option IP_TRANSPARENT 1; option TCP_REPAIR 1; option SO_MARK 1")
    return [*options, *take(attacker)]


def abstract(attacker: Attacker) -> list[str]:
    """The unix sockets of the network namespace: by connection, and by datagram, to the host and to another guest."""
    answers = []
    for name in ("\0attack-host", "\0attack-b"):
        with socket.socket(socket.AF_UNIX, TCP) as client, socket.socket(socket.AF_UNIX, UDP) as sender:
            answers.append(answer_of(lambda: client.connect(name)))  # noqa: B023
            answers.append(answer_of(lambda: sender.sendto(TOKEN, name + "-datagrams")))  # noqa: B023
    return answers


def io_uring(attacker: Attacker) -> list[str]:
    buffer = ctypes.create_string_buffer(120)
    return [
        answer_of(lambda: checked(LIBC.syscall(425, 8, buffer))),
        answer_of(lambda: checked(LIBC.syscall(426, 0, 0, 0, 0, None, 0))),
        answer_of(lambda: checked(LIBC.syscall(427, 0, 0, None, 0))),
    ]


def configure_by_ioctl(attacker: Attacker) -> list[str]:
    """SIOCSIFADDR, SIOCADDMULTI, SIOCSARP on the host's interface."""
    answers = []
    with socket.socket(V4, UDP) as made:
        for command in (0x8916, 0x8931, 0x8955):
            argument = struct.pack("=16sH2s4s", b"lo", V4, b"", bytes([127, 0, 0, 9])).ljust(64, b"\0")
            answers.append(answer_of(lambda: fcntl.ioctl(made, command, argument)))  # noqa: B023
    return answers


TRICKS: dict[str, Callable[[Attacker], list[str]]] = {
    trick.__name__: trick
    for trick in (
        in_a_network_of_its_own,
        into_a_network,
        add_an_address,
        configure_by_ioctl,
        in_a_group_of_its_own,
        born_in_a_group,
        out_of_its_group,
        made_elsewhere,
        as_somebody_else,
        as_a_new_root,
        abstract,
        io_uring,
    )
}


def main(how: str, place: str = "", name: str = "") -> None:
    if how == "here":
        os.setgroups([])
        os.setgid(int(place))
        os.setuid(int(place))
        serve(sys.stdin, sys.stdout, Session())
    elif how == "relay":
        with socket.socket(socket.AF_UNIX) as channel:
            channel.connect(place)
            stream = channel.makefile("rw")

            def forward(wanted: dict[str, Any]) -> Any:
                stream.write(json.dumps(wanted) + "\n")
                stream.flush()
                return json.loads(stream.readline())

            serve(sys.stdin, sys.stdout, forward)
    elif how == "init":
        abstract_services = open_abstract_services(name)
        assert abstract_services
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(place)
        listener.listen()
        while True:
            channel = listener.accept()[0]
            if os.fork() == 0:
                stream = channel.makefile("rw")
                serve(stream, stream, Session())
                os._exit(0)
            channel.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
