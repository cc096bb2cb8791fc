# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The template of the lab's guests, as an archive: emulated hosts would take long to install one.

``python -m ansible_collections.linux.vserver.tests.lab.template`` writes the archive's path; the harness calls it.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site
from ansible_collections.linux.vserver.plugins.module_utils._engine.template import versions

from ..integration import templates


def archive(place: Path, template_cache: Path) -> Path:
    """A compressed tar archive of a Debian with nginx, ping and sshd, made once for each build of it."""
    packages = ["iputils-ping", "libcap2-bin", "nginx-light", "openssh-server"]
    options = {"name": templates.NAME, "suite": templates.suite(), "packages": packages}
    state = templates.cached(template_cache, (), options).parent.parent
    root = versions.resolve(Site(state=state, run=state.parent / "run"), templates.NAME)
    file = place / f"{templates.NAME}-{state.parent.name}-{root.parent.name}.tar.zst"
    if not file.exists():
        place.mkdir(parents=True, exist_ok=True)
        work = place / f".{file.name}.{os.getpid()}"
        pack = ["tar", "--create", f"--directory={root}", "--numeric-owner", "--xattrs", "--acls", "--sparse"]
        subprocess.run([*pack, "--use-compress-program=zstd -q -6 -T0", f"--file={work}", "."], check=True)
        work.rename(file)
    return file


if __name__ == "__main__":
    print(archive(Path(os.environ["VSERVER_LAB_CACHE"]) / "templates", Path(os.environ["VSERVER_TEST_CACHE"])))
