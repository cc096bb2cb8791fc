# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""tests/lab/lab: virtual hosts with real kernels, on a network of their own."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from .failure import LabError
from .laboratory import STORAGE, Lab
from .machine import Hardware
from .recipe import SUITES


def place() -> Path:
    """Where images and labs are kept, beside what the other tests keep."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute()
    return Path(os.environ.get("VSERVER_LAB_CACHE") or base / "linux.vserver" / "lab")


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="tests/lab/lab", description=__doc__, allow_abbrev=False)
    top.add_argument("--lab", metavar="NAME", default=os.environ.get("VSERVER_LAB", "default"), help="which lab")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, text: str, *, hosts: bool = False, host: bool = False) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        if hosts:
            one.add_argument("hosts", nargs="*", metavar="HOST", help="all hosts, when none is given")
        if host:
            one.add_argument("host", metavar="HOST")
        return one

    up = add("up", "hosts of these releases, named host1, host2, ...; a lab that was there is gone")
    up.add_argument("suites", nargs="+", metavar="SUITE", type=suite, help="bullseye, bookworm, trixie, or 11, 12, 13")
    up.add_argument("--memory", default=Hardware.memory, help="memory of each host (%(default)s)")
    up.add_argument("--processors", type=int, default=Hardware.processors, help="of each host (%(default)s)")
    up.add_argument("--disk", default=Hardware.disk, help="size of each disk (%(default)s)")
    up.add_argument(
        "--storage",
        choices=("btrfs", "ext4", "xfs"),
        help=f"a second disk with this file system on {STORAGE}; ext4 and xfs with project quota",
    )
    add("down", "ends the hosts and forgets everything of theirs but their consoles' logs")
    add("reset", "hosts as they were when they came up", hosts=True)
    ssh = add("ssh", "a shell on a host, or a command", host=True)
    ssh.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND")
    run = add("run", "a command on this machine, inside the lab's network")
    run.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND")
    add("reboot", "orderly, and waits until they have booted", hosts=True)
    add("power-cut", "off at once; what is not flushed may be lost", hosts=True)
    add("power-on", "boots hosts that are off from their disks, and waits", hosts=True)
    add("partition", "cuts all hosts off from each other, or those given from everything", hosts=True)
    add("heal", "undoes all partitions")
    full = add("disk-full", "fills a host's disk", host=True)
    full.add_argument("--path", default=STORAGE, help="a directory of the file system to fill (%(default)s)")
    full.add_argument("--free", action="store_true", help="undo it")
    status = add("status", "the hosts, and where their consoles' logs are")
    status.add_argument("--json", action="store_true", help="for programs")
    return top


def suite(text: str) -> str:
    if text not in SUITES:
        raise argparse.ArgumentTypeError(f"no release {text}: there are {', '.join(SUITES)}")
    return SUITES[text]


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(words: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(words)
    if os.geteuid() != 0:
        say("lab: must run as root, for the network of its own")
        return 2
    try:
        return perform(Lab(place(), arguments.lab, say), arguments)
    except LabError as error:
        say(f"lab: {error}")
        return 1


def perform(lab: Lab, arguments: argparse.Namespace) -> int:
    command = arguments.command
    if command == "up":
        wanted = Hardware(arguments.memory, arguments.processors, arguments.disk, arguments.storage)
        lab.up(arguments.suites, wanted)
    elif command == "ssh":
        (machine,) = lab.chosen([arguments.host])
        os.execvp("ssh", lab.remote.words(machine.name, *arguments.words))
    elif command == "run":
        return lab.call(arguments.words)
    elif command == "status":
        tell(lab, arguments.json)
    elif command == "disk-full":
        (lab.free_disk if arguments.free else lab.fill_disk)(arguments.host, arguments.path)
    elif command in ("down", "heal"):
        {"down": lab.down, "heal": lab.heal}[command]()
    else:
        {
            "reset": lab.reset,
            "reboot": lab.reboot,
            "power-cut": lab.cut_power,
            "power-on": lab.power_on,
            "partition": lab.partition,
        }[command](arguments.hosts)
    return 0


def tell(lab: Lab, as_json: bool) -> None:
    facts = lab.status()
    if as_json:
        print(json.dumps(facts, indent=2))
        return
    for host in facts:
        print(f"{host['name']}  {host['suite']:9} {'on' if host['on'] else 'off':4} {' '.join(host['addresses'])}")
        print(f"       console: {host['console']}")
    if facts:
        print(f"ssh:       ssh -F {lab.remote.config} {facts[0]['name']}")
        print(f"inventory: {lab.remote.inventory}")


if __name__ == "__main__":
    sys.exit(main())
