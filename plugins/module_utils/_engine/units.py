# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Quantities as people write them."""

from __future__ import annotations

import re

from .errors import InvalidInput

_UNITS = {"": 1, **{letter: 1 << (10 * (power + 1)) for power, letter in enumerate("KMGTPE")}}
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGTPE]?)(?:i?B)?", re.ASCII | re.IGNORECASE)

#: What the kernel takes as a count fits into 32 bits where it is least.
_COUNT_DIGITS = 9


def parse_bytes(option: str, value: int | str) -> int:
    """``536870912``, ``512M``, ``1.5G``, ``512MiB`` → bytes (pure). K, M, G, T, P, E are powers of 1024."""
    match = _QUANTITY.fullmatch(str(value).strip())
    if not match:
        raise InvalidInput(f"{option} {value!r} is not a size", remedy="Write bytes, or a number with K, M, G or T.")
    size = (
        int(float(match[1]) * _UNITS[match[2].upper()]) if "." in match[1] else int(match[1]) * _UNITS[match[2].upper()]
    )
    if size >= 1 << 63:
        raise InvalidInput(f"{option} {value!r} is too large")
    return size


_MICROSECONDS = {"": 1, "us": 1, "µs": 1, "ms": 1000, "s": 1_000_000}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(us|µs|ms|s|)", re.ASCII | re.IGNORECASE)


def parse_duration(option: str, value: int | str) -> int:
    """``50ms``, ``0.1s``, ``100us``, ``50000`` → microseconds (pure)."""
    match = _DURATION.fullmatch(str(value).strip())
    if not match:
        raise InvalidInput(f"{option} {value!r} is not a time", remedy="Write a number with us, ms or s, such as 50ms.")
    microseconds = round(float(match[1]) * _MICROSECONDS[match[2].lower()])
    if microseconds >= 1 << 53:
        raise InvalidInput(f"{option} {value!r} is too large")
    return microseconds


def parse_number(option: str, value: float | str) -> float:
    """``1.5`` → 1.5 (pure)."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if not 0 <= number < 1 << 20:
        raise InvalidInput(f"{option} {value!r} is not a number", remedy="Write a number such as 2 or 1.5.")
    return round(number, 4)


def parse_count(option: str, value: int | str) -> int:
    """``100`` → 100 (pure)."""
    text = str(value).strip()
    if not (text.isascii() and text.isdigit()):
        raise InvalidInput(f"{option} {value!r} is not a whole number", remedy="Write a number such as 100.")
    if len(text) > _COUNT_DIGITS:
        raise InvalidInput(f"{option} {value!r} is too large", remedy=f"Write at most {_COUNT_DIGITS} digits.")
    return int(text)
