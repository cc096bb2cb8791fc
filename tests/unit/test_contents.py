# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel import contents

PIECE = contents._PIECE


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE])
def test_all_of_a_file_is_read(tmp_path: Path, size: int) -> None:
    told = os.urandom(size)
    (tmp_path / "file").write_bytes(told)
    assert contents.read(tmp_path / "file") == contents.read(f"{tmp_path}/file") == told


def test_also_when_it_is_told_in_parts(tmp_path: Path) -> None:
    place = tmp_path / "pipe"
    os.mkfifo(place)

    def tell() -> None:
        with place.open("wb", buffering=0) as pipe:
            for line in (b"one\n", b"two\n", b"three\n"):
                pipe.write(line)

    teller = threading.Thread(target=tell)
    teller.start()
    assert contents.read(place) == b"one\ntwo\nthree\n"
    teller.join()


def test_no_descriptor_is_left(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")
    with pytest.raises(FileNotFoundError):
        contents.read(tmp_path / "missing")
    with pytest.raises(IsADirectoryError):
        contents.read(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == len(before)
