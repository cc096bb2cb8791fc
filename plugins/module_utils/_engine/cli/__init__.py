# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command ``vserver``: what a host does with its guests when no Ansible is there.

A module of this package is a group of commands. Only the group of the command that is given
is imported, because reading all of the engine takes longer than most commands; and all that the group can need is
imported before it does anything, because the file it comes from may be replaced while it runs.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Callable, Mapping, Sequence

from ..errors import VserverError

TYPE_CHECKING = False  # typing's own takes a task 3 ms to read
if TYPE_CHECKING:
    import argparse
    from typing import NoReturn

    from ..site import Site

#: What the connection plugin gives for each task, many times over: it has no options, and so waits for no parser.
TASK = "task"


def main(version: str, argv: Sequence[str] | None = None) -> int:
    """Do what the command line says; returns the exit status: 0, 1 for what did not work, 2 for what cannot be meant.

    * version: of the file that is run (see :mod:`..engine_file`)
    """
    words = sys.argv[1:] if argv is None else argv
    if words[:1] == [TASK]:
        from . import task

        return _done(lambda: task.run(version, words[1:]))
    from ..site import Site
    from . import completion, parser

    arguments = parser.for_line(version, words).parse_args(words)
    if arguments.command == "completion":
        sys.stdout.write(completion.bash(parser.parser(version)) + "\n")
        return 0
    command = _group(arguments.group)[arguments.command]
    gc.enable()
    return _done(lambda: command(Site(), arguments))


def _done(command: Callable[[], int]) -> int:
    """Do a command; what goes wrong is told in words."""
    if os.geteuid() != 0:
        sys.stderr.write(f"vserver: this needs root, and runs as uid {os.geteuid()}\n")
        return 1
    try:
        status = command()
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever read us has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141
    except (VserverError, OSError) as error:
        sys.stderr.write(f"vserver: {error}\n")
        return 1
    return status


def program(version: str) -> NoReturn:
    """Be the program: :func:`main`, without taking Python down at the end, which takes as long as a start of it."""
    if sys.flags.no_site and sys.argv[1:2] != [TASK]:
        import site  # where psutil and pyroute2 are, also those of a virtual environment

        site.main()
    status = main(version)
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    os._exit(status)


def _group(name: str) -> Mapping[str, Callable[[Site, argparse.Namespace], int]]:
    """The commands of a group; its module is read with all that it needs."""
    if name == "life":
        from . import life

        return life.COMMANDS
    if name == "inside":
        from . import inside

        return inside.COMMANDS
    if name == "look":
        from . import look

        return look.COMMANDS
    if name == "run":
        from . import run

        return run.COMMANDS
    if name == "watch":
        from . import watch

        return watch.COMMANDS
    if name == "activity":
        from . import activity

        return activity.COMMANDS
    from . import service

    return service.COMMANDS
