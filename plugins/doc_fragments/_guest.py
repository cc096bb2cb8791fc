# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this doc fragment is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations


class ModuleDocFragment:
    # Modules that change one guest
    DOCUMENTATION = r"""
options:
  name:
    description:
      - The guest's name.
      - 1 to 63 letters, digits, C(_), C(-) and single dots, beginning with a letter or digit.
    type: str
    required: true
  restart:
    description:
      - Whether a running guest may be restarted when a setting cannot reach it otherwise.
      - When V(false), such a setting is recorded for the next start, and RV(restart_required) says so.
      - A guest that is not running is never started by this option.
    type: bool
    default: false
notes:
  - An option that is not given is not managed and keeps its value. An empty list or dictionary empties it.
"""
