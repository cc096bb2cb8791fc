# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this doc fragment is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations


class ModuleDocFragment:
    # What every module needs on the host it runs on
    DOCUMENTATION = r"""
options: {}
requirements:
  - Linux 5.19 or newer, unpatched; M(linux.vserver.host_info) tells what a host can do
  - Python 3.9 or newer
  - pyroute2 (C(python3-pyroute2))
  - psutil (C(python3-psutil))
  - crun or runc
notes:
  - Runs as root on the host; use C(become=true) when Ansible connects as another user.
  - Role P(linux.vserver.host#role) brings everything the host needs.
"""
