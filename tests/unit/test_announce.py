# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The frames that ask for an address and announce it, byte by byte."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel import announce

HARDWARE = bytes.fromhex("02005e100001")
ADDRESSES = st.ip_addresses().filter(lambda address: int(address) != 0)
HARDWARES = st.binary(min_size=6, max_size=6)


@pytest.mark.parametrize(
    ("build", "address", "frame"),
    [
        (
            announce.announcement,
            "192.0.2.10",
            "ffffffffffff 02005e100001 08060001 0800 06 04 0001 02005e100001 c000020a 000000000000 c000020a",
        ),
        (
            announce.question,
            "192.0.2.10",
            "ffffffffffff 02005e100001 08060001 0800 06 04 0001 02005e100001 00000000 000000000000 c000020a",
        ),
        (
            announce.announcement,
            "2001:db8::10",
            "333300000001 02005e100001 86dd"
            "60000000 0020 3a ff 20010db8000000000000000000000010 ff020000000000000000000000000001"
            "88 00 ???? 20000000 20010db8000000000000000000000010 02 01 02005e100001",
        ),
        (
            announce.question,
            "2001:db8::12:3456",
            "3333ff123456 02005e100001 86dd"
            "60000000 0018 3a ff 00000000000000000000000000000000 ff0200000000000000000001ff123456"
            "87 00 ???? 00000000 20010db8000000000000000000123456",
        ),
    ],
)
def test_frames(build: object, address: str, frame: str) -> None:
    assert callable(build)
    sent = build(HARDWARE, ip_address(address)).hex()
    wanted = frame.replace(" ", "")
    assert len(sent) == len(wanted)
    assert [s for s, w in zip(sent, wanted) if w != "?"] == [w for w in wanted if w != "?"]


@given(HARDWARES, ADDRESSES)
def test_an_announcement_claims_and_a_question_does_not(hardware: bytes, address: announce.IP) -> None:
    assert announce.claim(announce.announcement(hardware, address)) == (address, hardware)
    assert announce.claim(announce.question(hardware, address)) is None


@given(HARDWARES, st.ip_addresses(v=6), st.sampled_from([announce.announcement, announce.question]))
def test_a_receiver_finds_the_checksum_right(hardware: bytes, address: announce.IP, build: object) -> None:
    assert callable(build)
    packet = build(hardware, address)[14:]
    # RFC 8200 section 8.1: addresses, length, next header, message; with the checksum in it all sums to ones.
    data = packet[8:40] + struct.pack("!II", len(packet) - 40, 58) + packet[40:]
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    assert total == 0xFFFF


@given(st.binary(max_size=100), st.sampled_from([b"\x08\x06", b"\x86\xdd", b""]))
def test_no_frame_upsets_the_reader(data: bytes, kind: bytes) -> None:
    announce.claim(data[:12] + kind + data[12:])


@pytest.mark.parametrize(
    ("place", "value"),
    [(14, b"\x00\x06"), (16, b"\x86\xdd"), (18, b"\x08"), (28, bytes(4))],
    ids=["not Ethernet", "not IPv4", "long hardware addresses", "no sender"],
)
def test_an_arp_packet_of_another_kind_claims_nothing(place: int, value: bytes) -> None:
    frame = announce.announcement(HARDWARE, IPv4Address("192.0.2.10"))
    assert announce.claim(frame[:place] + value + frame[place + len(value) :]) is None


def test_an_advertisement_from_beyond_the_link_claims_nothing() -> None:
    frame = announce.announcement(HARDWARE, ip_address("2001:db8::10"))
    assert announce.claim(frame[:21] + b"\x40" + frame[22:]) is None
