#!/bin/sh
# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Upgrades the packages of the system it runs in, by apt or dnf: "upgrade.sh upgrade", or shows what that would do:
# "upgrade.sh check". Its last line is "nothing to do" when there is nothing.
set -eu
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8

by_apt() {
    if [ "$1" = upgrade ]; then
        apt-get --quiet update
    fi
    waiting=$(apt-get --quiet --simulate dist-upgrade | grep -E '^(Inst|Remv) ' || true)
    if [ -n "$waiting" ] && [ "$1" = upgrade ]; then
        apt-get --quiet --yes -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold dist-upgrade
        apt-get --quiet clean
    fi
}

# Its packages say themselves which configuration files stay when they were changed.
by_dnf() {
    status=0
    if [ "$1" = upgrade ]; then
        fresh=--refresh
    fi
    waiting=$(dnf --quiet ${fresh:+"$fresh"} check-upgrade) || status=$?
    if [ "$status" != 0 ] && [ "$status" != 100 ]; then # 100: there are some (dnf(8))
        exit "$status"
    fi
    if [ "$status" = 0 ]; then
        waiting=
    elif [ "$1" = upgrade ]; then
        dnf --quiet --assumeyes upgrade
        dnf --quiet clean packages
    fi
}

if command -v apt-get >/dev/null; then
    by_apt "$1"
elif command -v dnf >/dev/null; then
    by_dnf "$1"
else
    echo "there is neither apt-get nor dnf; this knows no other way to upgrade packages" >&2
    exit 1
fi
echo "${waiting:-nothing to do}"
