# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The addresses of a binding as an operator writes them: single ones and ranges, with and without prefix (pure)."""

from __future__ import annotations

import functools
import ipaddress

from .chbind.policy import ADDRESSES_MAX, Interface
from .errors import InvalidInput
from .model import address_of

_HOST_LOOPBACK = (ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1"))


@functools.lru_cache(maxsize=4096)
def parse(texts: tuple[str, ...], prefix: int | None = None) -> tuple[str, ...]:
    """Each address once, as ``address/prefix``.

    * texts: ``192.0.2.10``, ``192.0.2.10/24``, ``2001:db8::10/64``, or a range of either family: first and last
      address with a hyphen between, ``192.0.2.10-192.0.2.19/24``
    * prefix: of what is given without one; else it is a single address's, 32 or 128

    Raises :class:`InvalidInput`.
    """
    parsed: dict[str, str] = {}
    for text in texts:
        for own in _expand(text.strip(), prefix):
            host = own.ip
            mapped = host.version == 6 and host.ipv4_mapped is not None
            if mapped or host.is_multicast or host.is_unspecified or host in _HOST_LOOPBACK:
                raise InvalidInput(
                    f"address {host} cannot belong to a guest",
                    remedy="Give an address of its own: no multicast, wildcard, mapped or host's loopback address.",
                )
            if str(host) in parsed:
                raise InvalidInput(f"address {host} is given twice", remedy="Give each address once.")
            parsed[str(host)] = str(own)
    for version in (4, 6):
        count = sum(address_of(text).version == version for text in parsed.values())
        if count > ADDRESSES_MAX:
            raise InvalidInput(
                f"{count} addresses of IPv{version} are too many",
                remedy=f"A guest has at most {ADDRESSES_MAX} addresses of one family.",
            )
    return tuple(parsed.values())


def _expand(text: str, prefix: int | None) -> list[Interface]:
    """The addresses that one item of the list stands for."""
    addresses, slash, length = text.partition("/")
    first, hyphen, last = (part.strip() for part in addresses.partition("-"))
    suffix = f"/{length}" if slash else "" if prefix is None else f"/{prefix}"
    try:
        low = address_of(first + suffix)
        high = ipaddress.ip_interface(last + suffix) if hyphen else low
        count = int(high.ip) - int(low.ip) + 1
    except ValueError as error:
        raise InvalidInput(
            f"address {text!r}{'' if slash or prefix is None else f' with prefix {prefix}'} cannot be parsed",
            remedy="Write 192.0.2.10, 192.0.2.10/24, 2001:db8::10/64 or 192.0.2.10-192.0.2.19/24.",
        ) from error
    if low.version != high.version or not 0 < count <= ADDRESSES_MAX:
        raise InvalidInput(
            f"range {text!r} is not valid",
            remedy=f"Write the lower address first, of one family, and at most {ADDRESSES_MAX} addresses.",
        )
    if not hyphen:
        return [low]
    return [ipaddress.ip_interface(f"{low.ip + index}/{low.network.prefixlen}") for index in range(count)]
