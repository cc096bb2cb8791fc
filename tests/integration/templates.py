# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Templates for tests: real ones, built once and kept from run to run, and tiny ones made of the host's programs."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site
from ansible_collections.linux.vserver.plugins.module_utils._engine.template import apt_sources
from ansible_collections.linux.vserver.plugins.module_utils._engine.template import catalog as template

from . import peers

#: The name under which tests find the distribution's template.
NAME = "debian"
#: Answers with who was asked, at which address, from which.
_NGINX = r"location = /who { return 200 \"$hostname $server_addr $remote_addr\\n\"; }"
#: Servers as Debian installs them, but for what makes them answer tests.
PROGRAMS: Mapping[str, Any] = {
    "name": "programs",
    "packages": ["bind9-dnsutils", "curl", "dnsmasq", "nginx-light", "nodejs", "openssh-server", "postgresql"],
    "commands": [
        ["sed", "-i", f"/server_name _;/a {_NGINX}", "/etc/nginx/sites-available/default"],
        ["sh", "-c", "echo \"listen_addresses = '*'\" | tee -a /etc/postgresql/*/main/postgresql.conf"],
        ["sh", "-c", "echo host all all all trust | tee /etc/postgresql/*/main/pg_hba.conf"],
    ],
}
#: Packages by dnf, as Debian has it.
RPMS: Mapping[str, Any] = {
    "name": "rpms",
    "variant": "minbase",
    "packages": ["createrepo-c", "dnf", "rpm"],
    "commands": [["rm", "/usr/bin/apt-get"]],
}
#: Tests that others wrote for programs of their own. LXC's containers get a network namespace, since there is no bridge
#: in a guest. Its monitor's abstract socket has the same name in all guests, of which one can have it.
PEERS: Mapping[str, Any] = {
    "name": "peers",
    "suite": peers.SUITE,
    "packages": [
        *("acl", "busybox-static", "fdisk", "lxc-tests", "lynis", "openssl", "rsync", "stress-ng", "sudo"),
        *("systemd-tests", "udev", "uidmap"),
    ],
    "commands": [
        ["systemctl", "--quiet", "mask", "lxc-net.service", "lxc.service", "lxc-monitord.service"],
        ["sh", "-c", "echo lxc.net.0.type = empty > /etc/lxc/default.conf"],
    ],
}
#: Builds nobody has asked for in as many seconds are thrown away.
_KEPT = 14 * 86400
_BUILD = """
import json, sys
from pathlib import Path
from ansible_collections.linux.vserver.plugins.module_utils._engine.template import catalog as template
from ansible_collections.linux.vserver.plugins.module_utils._engine.template.spec import parse as parse_spec
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site
place, options = Path(sys.argv[1]), json.loads(sys.argv[2])
template.ensure(Site(state=place / "state", run=place / "run"), parse_spec(options), progress=print)
"""


def suite() -> str:
    """The host's own release, for which its apt certainly has a mirror."""
    return apt_sources.host_distribution().codenames[0]


def _key(options: Mapping[str, Any]) -> str:
    """Changes with the options and with everything that decides what a build makes of them."""
    digest = hashlib.sha256(json.dumps(options, sort_keys=True).encode())
    engine = Path(template.__file__).parent
    for path in sorted(engine.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def cached(cache: Path, online: Sequence[str], options: Mapping[str, Any]) -> Path:
    """The directory ``templates/NAME`` of a template built with ``options``, this time or earlier."""
    cache.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(OSError):
        for old in cache.iterdir():
            if time.time() - old.stat().st_mtime > _KEPT:
                shutil.rmtree(old, ignore_errors=True)
    place = cache / _key(options)
    place.mkdir(mode=0o700, exist_ok=True)
    os.utime(place)
    command = [*online, sys.executable, "-c", _BUILD, str(place), json.dumps(options)]
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert result.returncode == 0, result.stdout
    return place / "state" / "templates" / str(options["name"])


def debian(cache: Path, online: Sequence[str]) -> Path:
    """The directory of a template of the host's own release with nginx and ping; see :func:`provided`.

    With libcap2-bin there, ping is installed with a file capability. Not to be changed. A host that cannot install
    packages is given an archive of one, in VSERVER_TEMPLATE_ARCHIVE.
    """
    if archive := os.environ.get("VSERVER_TEMPLATE_ARCHIVE"):
        return cached(cache, online, {"name": NAME, "method": "archive", "source": archive})
    packages = ["iputils-ping", "libcap2-bin", "nginx-light"]
    return cached(cache, online, {"name": NAME, "suite": suite(), "packages": packages})


@pytest.fixture(scope="session")
def debian_template(template_cache: Path, online: tuple[str, ...]) -> Path:
    """See :func:`debian`."""
    return debian(template_cache, online)


@pytest.fixture(scope="session")
def programs_template(template_cache: Path, online: tuple[str, ...]) -> Path:
    """The directory of a template with the programs of :data:`PROGRAMS`. Not to be changed."""
    return cached(template_cache, online, {**PROGRAMS, "suite": suite()})


@pytest.fixture(scope="session")
def rpms_template(template_cache: Path, online: tuple[str, ...]) -> Path:
    """The directory of the template :data:`RPMS`. Not to be changed."""
    return cached(template_cache, online, {**RPMS, "suite": suite()})


@pytest.fixture(scope="session")
def peers_template(template_cache: Path, online: tuple[str, ...]) -> Path:
    """The directory of a template with the tests of :data:`PEERS`. Not to be changed."""
    return cached(template_cache, online, PEERS)


@pytest.fixture(scope="session")
def debootstrap_template(template_cache: Path, online: tuple[str, ...]) -> Path:
    """The directory of a small template that debootstrap made. Not to be changed."""
    options = {"name": "debootstrap", "method": "debootstrap", "suite": suite(), "variant": "custom"}
    return cached(template_cache, online, options)


@contextlib.contextmanager
def provided(site: Site, directory: Path) -> Iterator[str]:
    """Let ``site`` have the template in ``directory``, read-only and without a copy; yields its name.

    The caller is in a mount namespace of its own.
    """
    place = site.templates / directory.name
    place.mkdir(mode=0o700, parents=True)
    subprocess.run(["mount", "-o", "bind,ro", "--", str(directory), str(place)], check=True)
    try:
        yield directory.name
    finally:
        subprocess.run(["umount", "--lazy", "--", str(place)], check=True)
        place.rmdir()


def tiny_tree(root: Path, programs: Sequence[str]) -> Path:
    """Make ``root`` a tree that runs ``programs`` of the host, with the libraries they need, and little else."""
    for name in ("bin", "dev", "etc", "proc", "sys", "tmp", "run", "root", "var/log", "usr/sbin"):
        (root / name).mkdir(parents=True)
    for program in programs:
        source = shutil.which(program)
        assert source is not None, program
        shutil.copy(source, root / "bin" / program)
        listed = subprocess.run(["ldd", source], capture_output=True, text=True, check=False).stdout
        for library in re.findall(r"(/\S+)(?= \(0x)", listed):
            target = root / library.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists():
                shutil.copy(library, target)
    (root / "etc/hostname").write_text("builder\n")
    return root
