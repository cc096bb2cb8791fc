# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Users of a guest, out of what it has in its /etc/passwd and /etc/group."""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.linux.vserver.plugins.module_utils._engine import accounts
from ansible_collections.linux.vserver.plugins.module_utils._engine.accounts import Account

PASSWD = b"""\
root:x:0:0:root:/root:/bin/bash
# no entry
short:x:1:1
bare:x:1000:100:::
bare:x:1001:101::/second:/bin/sh
\xff\xfe:x:7:8:a b:/h:/s
large:x:65536:0:::
negative:x:-1:0:::
vast:x:99999999999999999999:0:::"""
GROUP = b"""\
root:x:0:
wheel:x:10:root,bare
again:x:10:bare
users:x:100:bare
like:x:11:bare2,abare
lost:x:70000:lost
broken:x:x:bare"""


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (b"root", Account(b"root", 0, 0, (10,), b"/root", b"/bin/bash")),
        (b"bare", Account(b"bare", 1000, 100, (10, 100), b"", b"")),
        (b"\xff\xfe", Account(b"\xff\xfe", 7, 8, (), b"/h", b"/s")),
        *((name, None) for name in (b"", b"short", b"# no entry", b"nobody", b"root:x", b"negative", b"x\nroot")),
    ],
)
def test_a_user_is_found_by_the_first_entry_of_its_name(name: bytes, expected: Account | None) -> None:
    assert accounts.find(PASSWD, GROUP, name) == expected


@pytest.mark.parametrize("name", [b"large", b"vast"])
def test_an_id_that_no_guest_has_is_refused(name: bytes) -> None:
    with pytest.raises(ValueError, match="does not exist in a guest"):
        accounts.find(PASSWD, GROUP, name)


def test_a_login_has_a_home_and_a_shell_in_any_case() -> None:
    found = accounts.find(PASSWD, GROUP, b"bare")
    assert found and found.environment == {"HOME": b"/", "USER": b"bare", "LOGNAME": b"bare", "SHELL": b"/bin/sh"}


@given(st.binary(), st.binary(), st.binary())
def test_whatever_a_guest_writes_there_is_no_defect(passwd: bytes, group: bytes, name: bytes) -> None:
    try:
        found = accounts.find(passwd, group, name)
    except ValueError as error:
        assert "does not exist in a guest" in str(error)
    else:
        assert found is None or found.name == name


@pytest.mark.parametrize("name", [entry.pw_name for entry in pwd.getpwall() if entry.pw_uid < 65536])
def test_it_is_as_the_c_library_has_it(name: str) -> None:
    """Of this machine's own files, whose users come from nowhere else."""
    of = pwd.getpwnam(name)
    groups = sorted({group.gr_gid for group in grp.getgrall() if name in group.gr_mem})
    passwd, group = (Path(path).read_bytes() for path in ("/etc/passwd", "/etc/group"))
    expected = Account(name.encode(), of.pw_uid, of.pw_gid, tuple(groups), of.pw_dir.encode(), of.pw_shell.encode())
    assert accounts.find(passwd, group, name.encode()) == expected


def test_only_a_plain_file_of_a_sensible_size_is_read(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(PASSWD)
    assert accounts._read(str(tmp_path / "plain")) == PASSWD
    os.mkfifo(tmp_path / "fifo")
    os.truncate(tmp_path / "plain", (1 << 20) + 1)
    for path in (tmp_path / "fifo", tmp_path / "plain", Path("/dev/zero"), tmp_path):
        with pytest.raises(OSError, match="is not a plain file of a sensible size|Is a directory"):
            accounts._read(str(path))
    with pytest.raises(OSError, match="gone: No such file"):
        accounts._read(str(tmp_path / "gone"))
