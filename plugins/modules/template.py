#!/usr/bin/python
# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: template
short_description: Build the root file systems that guests are cloned from
description:
  - Builds a template with C(mmdebstrap) or C(debootstrap), from a tar archive, or from a directory, or removes it.
  - A template has versions, and a version never changes once it is built. Other options, or O(refresh=true), build a
    new version; the guests that are clones of an older one keep it, until they are rebuilt.
  - Machine id, host name, ssh host keys, random seeds, logs and package caches are taken out, so that every clone makes
    its own. Where the OpenSSH server is installed, a small systemd unit makes host keys at a guest's first boot.
  - Device nodes are taken out too; a guest gets its devices when it starts.
version_added: 0.1.0
author:
  - linux.vserver contributors (@linux-vserver)
extends_documentation_fragment:
  - linux.vserver._attributes
  - linux.vserver._attributes.changes
  - linux.vserver._attributes.actiongroup_vserver
attributes:
  idempotent:
    support: partial
    details:
      - With O(refresh=true) every call builds a new version.
options:
  name:
    description:
      - The template's name.
      - 1 to 63 letters, digits, C(_), C(-) and single dots, beginning with a letter or digit.
    type: str
    required: true
  state:
    description:
      - V(present) builds the template when there is none, or when its options differ.
      - V(absent) removes it with all its versions. Refused while a guest is a clone of it.
    type: str
    choices:
      - present
      - absent
    default: present
  method:
    description:
      - How the tree is made. V(mmdebstrap) for a new template.
      - V(mmdebstrap) and V(debootstrap) install Debian, Ubuntu or a relative of them. V(mmdebstrap) is faster.
      - V(archive) unpacks the tar archive O(source), V(directory) copies the directory O(source).
    type: str
    choices:
      - mmdebstrap
      - debootstrap
      - archive
      - directory
  suite:
    description:
      - The release to install, V(bookworm) for example. Required with O(method=mmdebstrap) and O(method=debootstrap).
    type: str
  mirror:
    description:
      - URL of the mirror to install O(suite) from, and only O(suite), without its updates.
      - When never given, the sources of the host's own apt configuration are used, turned to O(suite), with those of
        its security and other updates. The guest keeps them as its sources.
      - How the host's apt reaches a mirror (proxies, certificates, C(apt_auth.conf(5))) holds for building as well.
        None of it is left in the template.
      - A URL must not contain a user name or password.
    type: str
  components:
    description:
      - The components of the archive, V(main) for example.
      - When never given, those the host uses, or V(main) with O(mirror).
    type: list
    elements: str
  packages:
    description:
      - Packages to install beyond those of O(variant).
    type: list
    elements: str
  variant:
    description:
      - How much of the distribution is installed. V(minbase) for a new template.
      - V(minbase), V(important) and V(standard) are sets of the distribution. To each are added the packages C(dbus),
        C(iproute2), C(netbase), C(procps), C(python3), C(systemd) and C(systemd-sysv), with which a guest boots and can
        be managed by Ansible.
      - V(custom) is V(minbase) without these.
      - V(standard) needs O(method=mmdebstrap).
    type: str
    choices:
      - minbase
      - important
      - standard
      - custom
  source:
    description:
      - With O(method=archive), the path on the host or the URL (C(http), C(https), C(file)) of a tar archive. It may be
        compressed with any program that the host has. C(bin), C(sbin) or C(usr) must be at its top.
      - With O(method=directory), the path of a directory on the host. What is mounted in it is not copied.
      - A change of what O(source) holds is not noticed; give another O(checksum) or use O(refresh=true).
    type: str
  checksum:
    description:
      - The archive's checksum, V(sha256:) and 64 hexadecimal digits. Required for a URL.
    type: str
  commands:
    description:
      - Commands to run inside the new tree, in this order. Each is a list of words, or a string that is split as a
        POSIX shell does; there is no shell unless the command is one.
      - They run as root with the host's network and in namespaces of their own, with few capabilities, empty C(/run)
        and C(/tmp), and a read-only C(/proc). No service of an installed package is started.
      - The first one that fails ends the build.
    type: list
    elements: raw
  refresh:
    description:
      - Whether to build a new version even when nothing differs, to take in updates for example.
    type: bool
    default: false
requirements:
  - Linux 5.6 or newer
  - Python 3.9 or newer
  - mmdebstrap, debootstrap or tar, according to O(method)
notes:
  - Runs as root on the host; use C(become=true) when Ansible connects as another user.
  - Role P(linux.vserver.host#role) brings everything the host needs.
  - An option that is not given is not managed and keeps its value as long as O(method) stays the same. An empty list
    empties it.
  - The output of the programs is kept in C(/var/lib/vserver/templates/NAME/.build.log).
seealso:
  - module: linux.vserver.clone
  - module: linux.vserver.rebuild
"""

EXAMPLES = r"""
- name: Build a template as the host's own apt is configured
  linux.vserver.template:
    name: debian-12
    suite: bookworm
    packages:
      - nginx-light

- name: Take in the updates of today
  linux.vserver.template:
    name: debian-12
    refresh: true

- name: Install from a certain mirror, and change something inside
  linux.vserver.template:
    name: debian-13
    suite: trixie
    mirror: http://mirror.example/debian
    components:
      - main
      - contrib
    commands:
      - useradd --create-home operator
      - [sh, -c, "echo 'Welcome to a guest' > /etc/motd"]

- name: Unpack an archive
  linux.vserver.template:
    name: appliance
    method: archive
    source: https://images.example/appliance.tar.xz
    checksum: sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08

- name: Copy a tree that something else has made
  linux.vserver.template:
    name: golden
    method: directory
    source: /srv/images/golden

- name: Remove a template that no guest uses
  linux.vserver.template:
    name: appliance
    state: absent
"""

RETURN = r"""
template:
  description:
    - The template as it stands after the change. In check mode, as it stands. Empty when it does not exist.
  returned: success
  type: dict
  contains:
    name:
      description: The template's name.
      type: str
    latest:
      description: The newest version. Versions sort by the time of their building.
      type: str
    created:
      description: When the newest version was built, in UTC.
      type: str
    size_bytes:
      description: Disk space of the newest version.
      type: int
    spec:
      description: The options that the newest version was built from.
      type: dict
    used_by:
      description: The guests that are clones of the template.
      type: list
      elements: str
    versions:
      description: All versions, the newest last.
      type: list
      elements: dict
      contains:
        version:
          description: The version.
          type: str
        created:
          description: When it was built, in UTC.
          type: str
        size_bytes:
          description: Its disk space.
          type: int
        used_by:
          description: The guests that are clones of it.
          type: list
          elements: str
  sample:
    name: debian-12
    latest: 20261121T213512Z
    created: "2026-11-21T21:35:12Z"
    size_bytes: 263933952
    spec:
      name: debian-12
      method: mmdebstrap
      suite: bookworm
      mirror: null
      components: []
      packages:
        - nginx-light
      variant: minbase
      source: null
      checksum: null
      commands: []
    used_by:
      - web1
    versions:
      - version: 20261121T213512Z
        created: "2026-11-21T21:35:12Z"
        size_bytes: 263933952
        used_by:
          - web1
"""

from typing import Any

from ansible_collections.linux.vserver.plugins.module_utils._ansible import arguments, engine, module
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site


def operate(site: Site, params: dict[str, Any], check: bool) -> Any:
    catalog = engine.load("template.catalog")
    parse = engine.load("template.spec").parse
    name = params["name"]
    if params["state"] == "absent":
        return catalog.absent(site, name, check=check)
    spec = parse(params, catalog.recorded(site, name))
    return catalog.ensure(site, spec, refresh=params["refresh"], check=check)


def main() -> None:
    module.change(
        {
            "name": {"type": "str", "required": True},
            "method": {"type": "str", "choices": ["mmdebstrap", "debootstrap", "archive", "directory"]},
            "suite": {"type": "str"},
            "mirror": {"type": "str"},
            "components": {"type": "list", "elements": "str"},
            "packages": {"type": "list", "elements": "str"},
            "variant": {"type": "str", "choices": ["minbase", "important", "standard", "custom"]},
            "source": {"type": "str"},
            "checksum": {"type": "str"},
            "commands": {"type": "list", "elements": "raw"},
            "refresh": {"type": "bool", "default": False},
            **arguments.state_spec("present", "absent"),
        },
        operate,
        subject="template",
    )


if __name__ == "__main__":
    main()
