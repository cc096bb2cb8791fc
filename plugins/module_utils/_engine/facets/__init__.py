# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The facets of a guest, a module each; :mod:`.order` has them all.

None is imported here: who enters a guest needs one of them, and to read all takes longer than to enter.
"""
