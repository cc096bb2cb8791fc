# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The man page: roff has nothing to say against it, and it leaves nothing out."""

from __future__ import annotations

import argparse
import re
import subprocess

import pytest

from ansible_collections.linux.vserver.plugins.module_utils._engine.cli import completion, manual, parser

PAGE = manual.page("0123456789ab")


@pytest.fixture(scope="module")
def shown() -> str:
    """The page as man(1) shows it, on lines that are long enough."""
    words = ["groff", "-man", "-ww", "-Tascii", "-P-cbou", "-rLL=200n", "-rHY=0"]
    said = subprocess.run(words, input=PAGE, capture_output=True, text=True, check=True)
    assert not said.stderr
    return re.sub(r"(?<=\S) +", " ", said.stdout)


@pytest.mark.parametrize(("name", "command"), completion.commands(parser.parser("x")).items())
def test_every_command_is_there_with_all_it_takes(name: str, command: argparse.ArgumentParser, shown: str) -> None:
    section = re.split(r"\n(?:   )?\w", shown.partition(f"\n   {name}\n")[2])[0]
    assert f"vserver {name}" in section and str(command.description) in section
    for action in command._actions:
        if action.dest != "help":
            for word in (
                *action.option_strings,
                action.help or "",
                manual._metavar(action) if action.nargs != 0 else "",
            ):
                assert word in section, section


def test_what_is_meant_literally_is_shown_so(shown: str) -> None:
    assert "vserver exec --user www-data --cwd /srv web1 -- ls -l" in shown
    assert manual._text(".x 'a\\b-c") == "\\&.x \\(aqa\\eb\\-c"
    assert "the guest's root" not in manual._text("the guest's root")


def test_it_tells_whose_it_is() -> None:
    assert PAGE.startswith(f"{manual.MARK} 0123456789ab\n.TH VSERVER 8 ")
    assert max(map(len, PAGE.splitlines())) < 1000 and PAGE.isascii()
