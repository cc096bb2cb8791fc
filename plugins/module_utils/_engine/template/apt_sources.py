# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's apt configuration, as the sources and settings with which another tree is installed.

Nothing is read from /etc/apt: ``apt-get indextargets`` and ``apt-config dump`` say what apt itself understands
(apt-get(8); acquire-additional-files in apt-doc).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from ..errors import InvalidInput, ToolFailed, Unsupported

# Suites by distribution, oldest first, to tell that a Debian host's mirror has no Ubuntu.
_DEBIAN_SUITES = """
    jessie stretch buster bullseye bookworm trixie forky duke sid
    oldoldstable oldstable stable testing unstable experimental
"""
_UBUNTU_SUITES = """
    trusty xenial bionic cosmic disco eoan focal groovy hirsute impish jammy kinetic lunar mantic noble
    oracular plucky questing resolute devel
"""
_SUITES: Mapping[str, frozenset[str]] = {
    "debian": frozenset(_DEBIAN_SUITES.split()),
    "ubuntu": frozenset(_UBUNTU_SUITES.split()),
}
_COMPONENTS: Mapping[str, frozenset[str]] = {
    "debian": frozenset({"main", "contrib", "non-free", "non-free-firmware"}),
    "ubuntu": frozenset({"main", "restricted", "universe", "multiverse"}),
}
#: Suites that never get updates beside themselves.
_ROLLING = frozenset({"sid", "unstable", "experimental"})
#: Before these had it, the firmware was in non-free.
_NO_FIRMWARE_COMPONENT = frozenset({"jessie", "stretch", "buster", "bullseye"})
_COMPANIONS = ("-updates", "-security")
_KEYRINGS = {
    "debian": "/usr/share/keyrings/debian-archive-keyring.gpg",
    "ubuntu": "/usr/share/keyrings/ubuntu-archive-keyring.gpg",
}
_KEYRING_PACKAGES = {"debian": "debian-archive-keyring", "ubuntu": "ubuntu-keyring"}
#: How apt reaches a mirror. Not among them: anything that makes it accept what it should refuse.
_SETTINGS = re.compile(
    r"Acquire::(?:(?:https?|ftp|Retries|ForceIPv[46])(?:::|$)|Check-(?:Valid-Until|Date)$|Max-FutureTime$)"
)


@dataclass(frozen=True)
class Target:
    """One index that the host's apt would fetch: release ``bookworm-updates``, component ``main`` at ``uri``.

    * origin: who made the release, as its Release file says; None before the first ``apt-get update``
    """

    uri: str
    release: str
    component: str
    origin: str | None = None
    codename: str | None = None


@dataclass(frozen=True)
class Distribution:
    """Who the host is: os-release(5)'s ID, and the code names it gives."""

    vendor: str
    codenames: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """One line of sources.list(5).

    * signed_by: the keyring's path on the host, which is also where the distribution's own package puts it
    """

    uri: str
    suite: str
    components: tuple[str, ...]
    signed_by: str | None = None

    def __str__(self) -> str:
        option = f"[signed-by={self.signed_by}] " if self.signed_by else ""
        return f"deb {option}{self.uri} {self.suite} {' '.join(self.components)}"


def parse_targets(text: str) -> list[Target]:
    """The package indices in the output of ``apt-get indextargets``, without flat repositories (pure)."""
    found: list[Target] = []
    for stanza in re.split(r"\n\s*\n", text):
        fields = dict(re.findall(r"^([A-Za-z-]+): *(.*?) *$", stanza, re.MULTILINE))
        if fields.get("Created-By") != "Packages" or fields.get("Target-Of") != "deb":
            continue
        uri, release, component = (fields.get(key, "") for key in ("Repo-URI", "Release", "Component"))
        if not uri or not component or release.endswith("/"):
            continue
        target = Target(
            _without_login(uri), release, component, fields.get("Origin") or None, fields.get("Codename") or None
        )
        if target not in found:
            found.append(target)
    return found


def _without_login(uri: str) -> str:
    """The URI without user and password: it will be readable in every guest. apt_auth.conf(5) is the place for them."""
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def parse_distribution(os_release: str) -> Distribution:
    """Read os-release(5) (pure)."""
    fields = {key: value.strip("\"'") for key, value in re.findall(r"^(\w+)=(.*?)\s*$", os_release, re.MULTILINE)}
    names = (fields.get(key) for key in ("VERSION_CODENAME", "UBUNTU_CODENAME", "DEBIAN_CODENAME"))
    return Distribution(fields.get("ID", "linux"), tuple(dict.fromkeys(name for name in names if name)))


def vendor_of(suite: str, host: Distribution) -> str:
    """Whose release ``suite`` is; one we do not know is taken for the host's (pure)."""
    if suite in _SUITES.get(host.vendor, ()) or suite in host.codenames:
        return host.vendor
    return next((vendor for vendor, suites in _SUITES.items() if suite in suites), host.vendor)


def _split(release: str) -> tuple[str, str]:
    for companion in _COMPANIONS:
        if release.endswith(companion):
            return release[: -len(companion)], companion
    return release, ""


def map_sources(
    targets: Iterable[Target],
    host: Distribution,
    suite: str,
    components: tuple[str, ...] = (),
    signed_by: str | None = None,
) -> list[Source]:
    """The host's sources of its own distribution, turned to ``suite`` (pure).

    The host's suite becomes ``suite``, its ``-updates`` and ``-security`` the same of ``suite``; other companions
    (backports, proposed) and other people's repositories are left out. Empty when the host has none that fits.
    """
    if vendor_of(suite, host) != host.vendor:
        return []
    bases: dict[str, list[tuple[Target, str]]] = {}
    for target in targets:
        base, companion = _split(target.release)
        codename = _split(target.codename)[0] if target.codename else base
        ours = base in host.codenames or codename in host.codenames or base in _SUITES.get(host.vendor, ())
        if ours and _is_vendors(target, host.vendor):
            bases.setdefault(base, []).append((target, companion))
    if not bases:
        return []
    # A host with several suites: the wanted one, else its own, else the one with the most sources.
    rank = {base: (base == suite, base in host.codenames, len(members)) for base, members in bases.items()}
    best = max(rank, key=lambda base: rank[base])
    lines: dict[tuple[str, str], list[str]] = {}
    for target, companion in bases[best]:
        if companion and suite in _ROLLING:
            continue
        line = lines.setdefault((target.uri, suite + companion), [])
        if target.component not in line and not _is_missing(target.component, suite):
            line.append(target.component)
    return [
        Source(uri, release, components or tuple(found), signed_by)
        for (uri, release), found in lines.items()
        if found or components
    ]


def _is_vendors(target: Target, vendor: str) -> bool:
    if target.origin is not None:
        return target.origin.lower() == vendor
    return vendor not in _COMPONENTS or target.component in _COMPONENTS[vendor]


def _is_missing(component: str, suite: str) -> bool:
    return component == "non-free-firmware" and suite in _NO_FIRMWARE_COMPONENT


def parse_settings(text: str) -> list[str]:
    """The lines of ``apt-config dump`` that say how to reach a mirror, ready for an apt.conf(5) (pure)."""
    return [line for line in text.splitlines() if _SETTINGS.match(line.split(" ", 1)[0]) and not line.endswith(' "";')]


def parse_proxies(settings: Iterable[str]) -> dict[str, str]:
    """The proxies in apt's settings as the environment variables that wget(1) reads (pure)."""
    found = (re.fullmatch(r'Acquire::(https?)::Proxy "(.+)";', line) for line in settings)
    return {f"{match[1]}_proxy": match[2] for match in found if match and match[2] != "DIRECT"}


def host_distribution() -> Distribution:
    for path in ("/etc/os-release", "/usr/lib/os-release"):
        if os.path.exists(path):
            return parse_distribution(Path(path).read_text(encoding="utf-8", errors="replace"))
    return Distribution("linux")


def host_settings() -> list[str]:
    """How the host's apt reaches mirrors: proxies, certificates, retries; empty on a host without apt."""
    if shutil.which("apt-config") is None:
        return []
    settings = parse_settings(_ask(["apt-config", "dump"]))
    return [*settings, 'Dir::Etc::netrc "/etc/apt/auth.conf";', 'Dir::Etc::netrcparts "/etc/apt/auth.conf.d";']


def host_targets(fetched: bool) -> list[Target]:
    """What the host's apt knows; ``fetched``: only what ``apt-get update`` has brought, but with its origin."""
    if shutil.which("apt-get") is None:
        return []
    return parse_targets(
        _ask(["apt-get", "indextargets", "-o", f"APT::Get::IndexTargets::ReleaseInfo={str(fetched).lower()}"])
    )


def sources_for(suite: str, mirror: str | None, components: tuple[str, ...]) -> tuple[Source, ...]:
    """The sources from which to install ``suite``: from ``mirror``, or else as the host's own apt is configured.

    Raises :class:`InvalidInput` when the host has nothing that fits.
    """
    host = host_distribution()
    vendor = vendor_of(suite, host)
    path = _KEYRINGS.get(vendor)
    signed_by = path if path is not None and os.path.exists(path) else None
    if signed_by is None and vendor in _KEYRINGS and vendor != host.vendor:
        raise Unsupported(
            f"install {vendor} {suite}",
            why=f"its signing keys ({path}) are not on this host",
            remedy=f"Install the package {_KEYRING_PACKAGES[vendor]}.",
        )
    if mirror is not None:
        return (Source(mirror, suite, components or ("main",), signed_by),)
    for fetched in (True, False):
        found = map_sources(host_targets(fetched), host, suite, components, signed_by)
        if found:
            return tuple(found)
    raise InvalidInput(
        f"suite {suite} has no source",
        why=f"this host's apt ({host.vendor}) knows no mirror of it",
        remedy="Give mirror.",
    )


def _ask(argv: list[str]) -> str:
    result = subprocess.run(
        argv, capture_output=True, text=True, errors="replace", check=False, env={**os.environ, "LC_ALL": "C"}
    )
    if result.returncode:
        raise ToolFailed(f"run {' '.join(argv)}", why=result.stderr.strip() or f"exit code {result.returncode}")
    return result.stdout
