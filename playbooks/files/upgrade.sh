#!/bin/sh
# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Upgrades the packages of the system it runs in: "upgrade.sh upgrade", or shows what that would do: "upgrade.sh check".
# Its last line is "nothing to do" when there is nothing.
set -eu
if ! command -v apt-get >/dev/null; then
    echo "there is no apt-get; this knows no other way to upgrade packages" >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
if [ "$1" = upgrade ]; then
    apt-get --quiet update
fi
waiting=$(apt-get --quiet --simulate dist-upgrade | grep -E '^(Inst|Remv) ' || true)
if [ -z "$waiting" ]; then
    echo "nothing to do"
    exit 0
fi
if [ "$1" = upgrade ]; then
    apt-get --quiet --yes -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold dist-upgrade
    apt-get --quiet clean
fi
echo "$waiting"
