# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""tests/benchmark/run: figures beside those of peers, one JSON line each."""

from __future__ import annotations

import argparse
import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from harness.environment import (
    SetupError,
    Workspace,
    confined,
    controller_python,
    copy_tree,
    install_packages,
    make_environment,
    open_workspace,
)

from .catalogue import CATALOGUE, ENVIRONMENT, NETWORK, RIVAL_PACKAGES, RIVALS
from .readme import MarkersMissing, rewrite

_INSIDE = "ansible_collections.linux.vserver.tests.benchmark.inside"
_REPOSITORY = Path(__file__).resolve().parents[2]
_NAMES = (*CATALOGUE, *NETWORK)
#: What the tests do without.
_PACKAGES = {"gcc": "gcc", "gencat": "libc6-dev"}


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def measure(names: Sequence[str]) -> int:
    """Measure where nothing of the machine's own is within reach; the answer is an exit status."""
    space = open_workspace(_REPOSITORY, None)
    say(f"logs: {space.logs}")
    for missing in install_packages(space, _PACKAGES):
        say(missing)
    make_environment(space)
    copy_tree(space)
    if set(names) & {*RIVALS, "molecule-create", "molecule-destroy"}:
        _install_rivals(space)
    with confined(space) as (wrapper, outside):
        return _measure(space, [*wrapper, str(space.python), "-m", _INSIDE, *names], outside)


def _install_rivals(space: Workspace) -> None:
    """What others' modules need: Debian's packages, and a Python environment of their own."""
    log, recipe = space.log("setup rivals"), Path(__file__).with_name("rivals.txt")
    if subprocess.run(["dpkg", "--status", *RIVAL_PACKAGES], capture_output=True, check=False).returncode:
        install = ["apt-get", "install", "--yes", "--no-install-recommends", *RIVAL_PACKAGES]
        if space.call(install, log, cwd=space.run, extra={"DEBIAN_FRONTEND": "noninteractive"}):
            raise SetupError(f"the packages {', '.join(RIVAL_PACKAGES)} could not be installed: see {log}")
    requirements = [_REPOSITORY / "requirements.txt", recipe]
    digest = hashlib.sha256(b"\0".join(file.read_bytes() for file in requirements)).hexdigest()
    place = space.cache / f"venv-rivals-{digest[:16]}"
    if not (place / ".complete").exists():
        pip = [str(place / "bin" / "pip"), "install", "--disable-pip-version-check"]
        words = [word for file in requirements for word in ("-r", str(file))]
        for command in ([controller_python(), "-m", "venv", "--clear", str(place)], [*pip, *words]):
            if space.call(command, log, cwd=space.run):
                raise SetupError(f"the Python environment of others' modules could not be made: see {log}")
        (place / ".complete").touch()
    os.environ[ENVIRONMENT] = str(place)


def _measure(space: Workspace, words: Sequence[str], outside: Mapping[str, str]) -> int:
    variables = {
        # Compiled once, as it is where the collection is installed.
        **{key: value for key, value in space.environ().items() if key != "PYTHONDONTWRITEBYTECODE"},
        "PYTHONPATH": str(space.collections),
        **outside,
    }
    child = subprocess.Popen(
        words, env=variables, stdout=subprocess.PIPE, text=True, cwd=space.tree, start_new_session=True
    )
    assert child.stdout is not None
    try:
        for line in child.stdout:
            print(line, end="", file=sys.stdout if line.startswith("{") else sys.stderr, flush=True)
        return child.wait()
    except KeyboardInterrupt:
        say("interrupted: tidying up")
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGINT)
        child.communicate()
        raise


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="tests/benchmark/run",
        description="Measures guests beside their peers; without a name, all figures. Each is one line of JSON.",
        allow_abbrev=False,
    )
    parser.add_argument("name", nargs="*", help="figures to measure")
    parser.add_argument("--list", action="store_true", help="list the figures' names")
    parser.add_argument(
        "--readme",
        metavar="FIGURES",
        nargs="?",
        const="-",
        help="measure nothing: rewrite the tables in the README from the JSON lines in a file or on standard input",
    )
    parser.add_argument(
        "--document", metavar="FILE", type=Path, default=_REPOSITORY / "README.md", help="another file for --readme"
    )
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.name) - set(_NAMES))
    if unknown:
        parser.error(f"no such figure: {', '.join(unknown)} (there are {', '.join(_NAMES)})")
    if arguments.list:
        print("\n".join(_NAMES))
        return 0
    if arguments.readme is not None:
        try:
            rewrite(
                arguments.document, sys.stdin.read() if arguments.readme == "-" else Path(arguments.readme).read_text()
            )
        except (MarkersMissing, OSError) as error:
            parser.error(f"{arguments.document}: {error}")
        return 0
    if os.geteuid() != 0:
        parser.error("guests can be made as root only")
    # Set even for the first, as a shell starts what it puts into the background with interrupts ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        return measure([name for name in _NAMES if name in arguments.name or not arguments.name])
    except SetupError as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
