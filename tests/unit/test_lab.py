# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's pure parts: what an image is made of, how QEMU is called, and what people type."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from ansible_collections.linux.vserver.tests.lab.__main__ import parser
from ansible_collections.linux.vserver.tests.lab.image import Image
from ansible_collections.linux.vserver.tests.lab.machine import Hardware, Machine
from ansible_collections.linux.vserver.tests.lab.network import Network
from ansible_collections.linux.vserver.tests.lab.recipe import Recipe, recipe
from ansible_collections.linux.vserver.tests.lab.remote import ssh_config

SOURCES = ["deb http://mirror.example/debian bookworm main"]
MACHINE = Machine("host2", 12, Image(Path("/images/bookworm-1")), Hardware(), "AAAAkey", Path("/labs/mine"))


def option(argv: list[str], name: str) -> list[str]:
    """The values of all options of this name."""
    return [value for word, value in zip(argv, argv[1:]) if word == name]


def test_equal_recipes_make_one_image() -> None:
    assert recipe("bookworm", SOURCES).digest == recipe("bookworm", list(SOURCES)).digest


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Recipe)])
def test_every_part_of_a_recipe_decides_on_the_image(field: str) -> None:
    first = recipe("bookworm", SOURCES)
    value = getattr(first, field)
    other = dataclasses.replace(first, **{field: value[1:]})
    assert other.digest != first.digest


@pytest.mark.parametrize("suite", ["bullseye", "bookworm", "trixie"])
def test_no_word_is_left_to_fill_in(suite: str) -> None:
    for path, content in recipe(suite, SOURCES).files:
        assert not {"{prefix4}", "{prefix6}", "{compression}"} & set(content.replace("::", " ").split()), path


def test_a_host_learns_its_number_and_its_key_from_the_kernel() -> None:
    words = MACHINE.kernel_arguments.split()
    assert {"lab.number=12", "lab.key=AAAAkey", "systemd.hostname=host2"} <= set(words)


@pytest.mark.parametrize(("accelerate", "expected"), [(True, "kvm"), (False, "tcg,thread=multi,tb-size=256")])
def test_qemu_is_called_with_the_accelerator_that_works(accelerate: bool, expected: str) -> None:
    assert option(MACHINE.arguments(accelerate), "-accel") == [expected]


@pytest.mark.parametrize(
    ("storage", "files"),
    [(None, ["/labs/mine/host2.qcow2"]), ("xfs", ["/labs/mine/host2.qcow2", "/labs/mine/host2.storage.qcow2"])],
)
def test_a_host_has_the_disks_it_shall_have(storage: str | None, files: list[str]) -> None:
    machine = dataclasses.replace(MACHINE, hardware=Hardware(storage=storage))
    drives = option(machine.arguments(False), "-drive")
    assert [drive.rpartition("file=")[2] for drive in drives] == files
    # Flushed data has to survive a power cut.
    assert all("cache=writeback" in drive for drive in drives)


def test_hosts_differ_in_their_hardware_addresses() -> None:
    other = dataclasses.replace(MACHINE, number=13)
    assert option(MACHINE.arguments(False), "-device")[0] != option(other.arguments(False), "-device")[0]


def test_the_only_way_out_of_a_host_is_its_port_of_the_lab() -> None:
    argv = MACHINE.arguments(False)
    assert "-nodefaults" in argv
    assert option(argv, "-netdev") == ["tap,id=net,ifname=host2,script=no,downscript=no"]


def test_ssh_goes_through_the_labs_network() -> None:
    text = ssh_config(Network("mine"), Path("/lab/key"), {"host1": 11, "host2": 12}, Path("/labs/mine"))
    assert text.startswith("Host host1 host2 10.86.0.11 10.86.0.12\n")
    assert "ProxyCommand nsenter --net=/run/netns/vserver-lab-mine -- " in text
    assert text.endswith("Host host1\n    HostName 10.86.0.11\nHost host2\n    HostName 10.86.0.12\n")


@pytest.mark.parametrize(
    ("words", "suites"),
    [
        (["up", "bookworm"], ["bookworm"]),
        (["up", "12", "13", "trixie"], ["bookworm", "trixie", "trixie"]),
        (["--lab", "mine", "up", "11"], ["bullseye"]),
    ],
)
def test_releases_go_by_name_and_by_number(words: list[str], suites: list[str]) -> None:
    assert parser().parse_args(words).suites == suites


@pytest.mark.parametrize("words", [["up"], ["up", "sid"], ["up", "12", "--storage", "zfs"], ["reset", "--all"], []])
def test_what_is_no_command_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(words)
    assert "usage: tests/lab/lab" in capsys.readouterr().err
