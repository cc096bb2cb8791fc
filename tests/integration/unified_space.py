# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disk space and inodes of guests, on file systems with project quota in an image. The hosts of the lab run this."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.linux.vserver.plugins.module_utils._engine import lifecycle, running, store
from ansible_collections.linux.vserver.plugins.module_utils._engine.errors import VserverError
from ansible_collections.linux.vserver.plugins.module_utils._engine.facets import limits as facet
from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel import quota
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site

from . import templates
from .guests import SLEEP, Guests
from .test_limits import M, four_calls, in_force, set_limits

MAKE = {"ext4": ["mkfs.ext4", "-q", "-O", "quota,project"], "xfs": ["mkfs.xfs", "-q"]}


@pytest.fixture(params=sorted(MAKE))
def here(request: pytest.FixtureRequest, tmp_path: Path, site: Site, debian_template: Path) -> Iterator[Guests]:
    """Guests on a file system of their own, in this test's mount namespace."""
    image, place = tmp_path / "image", Path(f"/var/lib/vserver/space-{request.param}")
    with image.open("wb") as file:
        file.truncate(400 << 20)
    subprocess.run([*MAKE[request.param], str(image)], check=True)
    place.mkdir()
    subprocess.run(["mount", "-o", "loop,prjquota", str(image), str(place)], check=True)
    image.unlink()
    limited = Site(place, site.run, site.cgroup)
    try:
        store.prepare(limited)
        with templates.provided(limited, debian_template) as name:
            made = Guests(limited, name)
            yield made
            made.remove_all()
    finally:
        subprocess.run(["umount", str(place)], check=True)
        place.rmdir()


def fill(guests: Guests, name: str, file: str, megabytes: int) -> subprocess.CompletedProcess[str]:
    return guests.exec(name, "dd", "if=/dev/zero", f"of={file}", "bs=1M", f"count={megabytes}", "conv=fsync")


def test_space_ends_where_it_shall_and_grows_live(here: Guests) -> None:
    here.start("fills", init=SLEEP)
    here.start("other", init=SLEEP)
    assert fill(here, "fills", "/before", 8).returncode == 0
    four_calls(here.site, "fills", disk="32M")
    full = fill(here, "fills", "/after", 40)
    assert full.returncode != 0 and ("No space" in full.stderr or "quota exceeded" in full.stderr), full
    assert 20 * M <= (here.site.guest("fills") / "root/upper/after").stat().st_size <= 24 * M
    size = here.run("fills", "df", "--block-size=1", "--output=size", "/").split()[-1]
    assert int(size) == 32 * M, "df shows the limit"
    assert fill(here, "other", "/file", 40).returncode == 0, "the neighbour is not concerned"
    four_calls(here.site, "fills", disk="64M")
    assert fill(here, "fills", "/after", 40).returncode == 0
    four_calls(here.site, "fills", disk="max")
    assert fill(here, "fills", "/after", 70).returncode == 0


def test_inodes_end_where_they_shall(here: Guests) -> None:
    here.start("many", init=SLEEP, limits={"inodes": 200})
    assert in_force(here.site, "many")
    here.exec("many", "sh", "-c", "mkdir /d; i=0; while [ $i -lt 400 ]; do : >/d/$i || exit 1; i=$((i + 1)); done")
    assert 100 < len(os.listdir(here.site.guest("many") / "root/upper/d")) < 200


def test_it_is_in_force_again_after_a_restart_and_goes_with_the_setting(here: Guests) -> None:
    here.start("again", init=SLEEP, limits={"disk": "16M"})
    lifecycle.set_state(here.site, "again", "stopped", {"timeout": 0})
    set_limits(here.site, "again", disk="24M")
    lifecycle.set_state(here.site, "again", "started", {})
    assert in_force(here.site, "again")
    record = store.require(here.site, "again")
    observed = facet.observe(here.site, record, running.read(here.site, "again"))
    assert observed is not None and observed.disk == 24 * M
    lifecycle.set_state(here.site, "again", "stopped", {"timeout": 0})
    set_limits(here.site, "again", disk="max")
    lifecycle.set_state(here.site, "again", "started", {})
    assert fill(here, "again", "/file", 40).returncode == 0


#: Has a directory of its own, and one that comes from the template, be of another project, or of none; then in a file.
LEAVE = """
import errno, fcntl, os, struct
os.mkdir("/mine")
open("/etc/mine", "w").close()
open("/mine/file", "w").close()
for name in ("/mine", "/etc", "/mine/file"):
    fd = os.open(name, os.O_RDONLY)
    flags, size, extents, project, cow = struct.unpack("=5I8x", fcntl.ioctl(fd, 0x801C581F, b"\\0" * 28))
    for wanted in (0, 5):
        for inherits in (flags, 0):
            try:
                fcntl.ioctl(fd, 0x401C5820, struct.pack("=5I8x", inherits, size, extents, wanted, cow))
                print(name, "left for", wanted)
            except OSError as error:
                assert error.errno in (errno.EINVAL, errno.EPERM, errno.EOPNOTSUPP, errno.ENOTTY), error
"""


def test_root_of_a_guest_cannot_leave_its_project(here: Guests) -> None:
    here.start("leaves", init=SLEEP, limits={"disk": "16M"})
    assert here.run("leaves", "python3", "-c", LEAVE) == ""
    upper, own = here.site.guest("leaves") / "root/upper", store.require(here.site, "leaves").base_id
    assert [quota.project(upper / name) for name in ("", "mine", "etc")] == [own] * 3


def test_no_link_is_followed(tmp_path: Path, here: Guests) -> None:
    here.start("links", init=SLEEP)
    outside = here.site.state / "outside"
    outside.mkdir()
    here.run("links", "sh", "-c", f"ln -s {outside} /link; mkfifo /fifo; mkdir -p /deep/er; ln -s / /deep/er/up")
    four_calls(here.site, "links", disk="32M")
    assert quota.project(outside) == 0
    assert quota.project(here.site.guest("links") / "root/upper/deep/er") == store.require(here.site, "links").base_id


def test_a_tree_has_a_project_to_its_depth(here: Guests) -> None:
    here.start("digs", init=SLEEP)
    dig = "import os\nfor n in range(1000):\n  os.mkdir('d'); os.chdir('d')\nopen('file', 'w').write('x' * 1000)"
    here.run("digs", "python3", "-c", dig)
    four_calls(here.site, "digs", disk="32M")
    fd = os.open(here.site.guest("digs") / "root/upper", os.O_RDONLY)
    for name in ["d"] * 1000 + ["file"]:
        below = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    _flags, _size, _extents, project, _cow = quota._attributes(fd)
    os.close(fd)
    assert project == store.require(here.site, "digs").base_id


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"disk": "1P"}, "too large: this host has"),
        ({"disk": "1K"}, "too small"),
        ({"inodes": 999_999_999}, "too large: this host has .* inodes on"),
    ],
)
def test_what_cannot_be_kept_is_refused(here: Guests, options: dict[str, Any], said: str) -> None:
    here.define("refuses", init=SLEEP)
    with pytest.raises(VserverError, match=said):
        set_limits(here.site, "refuses", **options)
