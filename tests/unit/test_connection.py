# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the connection to guests decides without a host."""

from __future__ import annotations

import io
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.linux.vserver.plugins.connection import guest
from ansible_collections.linux.vserver.plugins.plugin_utils import _host

WORD = "0123456789abcdef"
WORDS = st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), min_size=1)


@settings(max_examples=50, deadline=None)
@given(WORDS)
def test_a_real_shell_gets_every_word_as_it_is(words: list[str]) -> None:
    show = ["printf", "%s\\0", *words]
    said = subprocess.run(["/bin/sh", "-c", _host.line(show, "none")], stdout=subprocess.PIPE, check=True).stdout
    assert said.decode().split("\0")[:-1] == words


@pytest.mark.parametrize(
    ("become", "line"), [("none", "exec id"), ("sudo", "exec sudo -n -- id"), ("doas", "exec doas -n -- id")]
)
def test_privilege_on_the_host_is_words_before(become: str, line: str) -> None:
    assert _host.line(["id"], become) == line


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({}, "ssh"),
        ({"ansible_connection": "smart"}, "ssh"),
        ({"ansible_connection": "ansible.builtin.local"}, "local"),
        ({"ansible_connection": "some.other.one"}, "some.other.one"),
    ],
)
def test_the_host_has_its_own_connection(variables: dict[str, str], name: str) -> None:
    assert _host.kind(variables) == name


@given(st.binary(), st.binary(), st.integers(0, 255))
def test_a_report_is_found_and_taken_out(before: bytes, after: bytes, status: int) -> None:
    errors = before + f"{WORD} {status}\n".encode() + after
    assert _host.reported(WORD, b"out", errors) == _host.Ended(status, b"out", before + after)


@pytest.mark.parametrize("errors", [b"", b"vserver: guest x does not run\n", b"fedcba9876543210 0\n", WORD.encode()])
def test_without_a_report_nobody_knows(errors: bytes) -> None:
    assert _host.reported(WORD, b"", errors) is None


@pytest.mark.parametrize(
    ("status", "said", "remedy"),
    [
        (127, b"sh: 1: exec: /usr/sbin/vserver: not found", "linux.vserver.engine"),
        (2, b"vserver: error: argument COMMAND: invalid choice: 'task' (choose from", "linux.vserver.engine"),
        (1, b"vserver: this needs root, and runs as uid 1000", "vserver_host_become"),
        (126, b"sh: 1: exec: /usr/sbin/vserver: Permission denied", "vserver_host_become"),
        (1, b"vserver: guest x does not run", "guest x does not run"),
        (9, b"", "exit status 9"),
    ],
)
def test_a_failure_says_what_to_do(status: int, said: bytes, remedy: str) -> None:
    assert remedy in _host.failure(status, said)


@pytest.mark.parametrize("pieces", [[b""], [b"x"], [b"x" * guest._PIECE], [b"x" * guest._PIECE, b"y"]])
def test_a_file_in_pieces(pieces: list[bytes]) -> None:
    assert list(guest._pieces(io.BytesIO(b"".join(pieces)))) == pieces
