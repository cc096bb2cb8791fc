# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of a guest, facet by facet: the one source of every module's argument spec.

Values that have several spellings (``512M``, ``CAP_CHOWN``, ``192.0.2.1/24``) are strings here; what they mean, and
which of them cannot be meant, only the engine's facets know.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Spec = dict[str, dict[str, Any]]

#: Options of each facet, by the name of its section in a guest's record. What is not given is left alone.
FACETS: dict[str, Spec] = {
    "root": {
        "template": {"type": "str"},
        "version": {"type": "str"},
        "method": {"type": "str", "choices": ["auto", "overlay", "copy"]},
    },
    "binding": {
        "addresses": {"type": "list", "elements": "str"},
        "interface": {"type": "str"},
        "prefix": {"type": "int"},
        "network": {"type": "str", "choices": ["bound", "host"]},
        "loopback": {"type": "str", "choices": ["private", "host", "none"]},
        "ping": {"type": "bool"},
        "multicast": {"type": "bool"},
        "shared": {"type": "bool"},
    },
    "capabilities": {
        "profile": {"type": "str", "choices": ["system", "classic", "none"]},
        "add": {"type": "list", "elements": "str"},
        "drop": {"type": "list", "elements": "str"},
    },
    "limits": {
        "memory": {"type": "str"},
        "memory_high": {"type": "str"},
        "memory_swap": {"type": "str"},
        "memory_low": {"type": "str"},
        "memory_min": {"type": "str"},
        "cpus": {"type": "str"},
        "cpu_period": {"type": "str"},
        "cpu_burst": {"type": "str"},
        "cpu_weight": {"type": "str"},
        "cpu_idle": {"type": "bool"},
        "cpuset": {"type": "str"},
        "processes": {"type": "str"},
        "sockets": {"type": "str"},
        "disk": {"type": "str"},
        "inodes": {"type": "str"},
        "io": {
            "type": "list",
            "elements": "dict",
            "options": {
                "device": {"type": "path", "required": True},
                "read": {"type": "str"},
                "write": {"type": "str"},
                "read_operations": {"type": "str"},
                "write_operations": {"type": "str"},
            },
        },
        "rlimits": {"type": "dict"},
        "sysctls": {"type": "dict"},
    },
    "context": {
        "xid": {"type": "int"},
        "hostname": {"type": "str"},
        "init": {"type": "list", "elements": "str"},
        "timeout": {"type": "int"},
        "autostart": {"type": "bool"},
        "user_namespace": {"type": "bool"},
        "spectator": {"type": "bool"},
    },
}

#: Every module that changes one guest takes these.
GUEST: Spec = {
    "name": {"type": "str", "required": True},
    "restart": {"type": "bool", "default": False},
}


#: What a guest can be asked to be; the first is what a module that has all facets asks for by itself.
STATES = ("present", "started", "stopped", "restarted", "frozen", "absent")

#: Facets whose options have no telling names once they stand among all others.
_PREFIXES = {"capabilities": "capabilities_"}


def guest_spec() -> Spec:
    """The argument spec of a whole guest: its name, all facets, and its state."""
    facets = {
        _PREFIXES.get(facet, "") + name: option for facet, options in FACETS.items() for name, option in options.items()
    }
    state: Spec = {"state": {"type": "str", "choices": list(STATES), "default": "started"}}
    return {**GUEST, **facets, **state, "keep_data": {"type": "bool"}}


def all_options(params: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Facet → its options, out of parameters of :func:`guest_spec`; None: leave alone."""
    return {
        facet: {name: params[_PREFIXES.get(facet, "") + name] for name in options} for facet, options in FACETS.items()
    }


def facet_spec(facet: str) -> Spec:
    """The argument spec of the module that stands for ``facet``."""
    return {**GUEST, **FACETS[facet]}


def state_spec(default: str, *others: str) -> Spec:
    """The argument spec of an option ``state``."""
    return {"state": {"type": "str", "choices": [default, *others], "default": default}}


def facet_options(facet: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """The options of ``facet`` out of a module's parameters, as the engine takes them; None: leave alone."""
    return {name: params[name] for name in FACETS[facet]}
