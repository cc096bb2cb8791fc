# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which own address a guest's echo requests come from."""

from __future__ import annotations

from ipaddress import ip_interface

import pytest

from ansible_collections.linux.vserver.plugins.module_utils._engine.chbind.policy import policy_of
from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel.route import Route
from ansible_collections.linux.vserver.plugins.module_utils._engine.ping import source_for

OWN = ["127.0.80.1/32", "198.51.100.10/32", "192.0.2.10/24", "192.0.2.130/25", "fe80::1/64", "2001:db8::10/64"]


@pytest.mark.parametrize(
    ("destination", "gateway", "own", "source"),
    [
        ("192.0.2.0/24", None, OWN, "192.0.2.10"),
        ("192.0.2.128/25", None, OWN, "192.0.2.130"),
        ("0.0.0.0/0", "192.0.2.1", OWN, "192.0.2.10"),
        ("0.0.0.0/0", "192.0.2.129", OWN, "192.0.2.130"),
        ("0.0.0.0/0", "203.0.113.1", OWN, "198.51.100.10"),
        ("203.0.113.0/24", None, OWN[:1], None),
        ("2001:db8::/64", None, OWN, "2001:db8::10"),
        ("::/0", "fe80::99", OWN, "2001:db8::10"),
        ("::/0", "fe80::99", OWN[:-1], None),
        ("0.0.0.0/0", "192.0.2.1", OWN[4:], None),
    ],
)
def test_source(destination: str, gateway: str | None, own: list[str], source: str | None) -> None:
    way = Route(destination, {"oif": 2, **({} if gateway is None else {"gateway": gateway})})
    policy = policy_of(514, [ip_interface(text) for text in own], ping=True)
    assert source_for(way, policy, 6 if ":" in destination else 4) == source
