# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A role as people write them, tested by molecule in guests: as docs/molecule.md says, and nothing but that."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from ansible_collections.linux.vserver.plugins.module_utils._engine import engine_file, info
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site

from . import templates
from .guests import Guests

REPOSITORY = Path(__file__).resolve().parents[2]
TOOLS = Path(sys.executable).parent
#: Packages that a guest can install without a network; what a mirror has is no matter of ours.
_FETCH = """
mkdir -p /srv/mirror/partial && cd /srv/mirror
apt-get update
apt-get install --yes --no-install-recommends --download-only -o Dir::Cache::archives=/srv/mirror nginx-light
apt-ftparchive packages . > Packages
"""
_MIRROR = "deb [trusted=yes] file:/srv/mirror ./"


@pytest.fixture(scope="module")
def platform(template_cache: Path, online: tuple[str, ...]) -> Iterator[Site]:
    """A host with the program and a template, on which nothing is installed that the role installs."""
    options = {
        "name": "debian-12",
        "suite": templates.suite(),
        "packages": ["python3-apt", "apt-utils", "iproute2"],
        "commands": [["sh", "-ec", _FETCH]],
    }
    site = Site()
    with templates.provided(site, templates.cached(template_cache, online, options)):
        engine_file.ensure(site)
        yield site
    engine_file.absent(site)


#: The role, and what molecule is told; the scenario's own two playbooks are those of the page.
PROJECT = {
    "roles/website/defaults/main.yml": "website_text: It works\n",
    "roles/website/handlers/main.yml": """
- name: Reload nginx
  ansible.builtin.systemd_service:
    name: nginx
    state: reloaded
""",
    "roles/website/tasks/main.yml": """
- name: Install nginx
  ansible.builtin.apt:
    name: nginx-light
    update_cache: true
    install_recommends: false

- name: Configure the site
  ansible.builtin.template:
    src: site.conf.j2
    dest: /etc/nginx/sites-enabled/default
    mode: "0644"
  notify: Reload nginx

- name: Start nginx now and at boot
  ansible.builtin.systemd_service:
    name: nginx
    enabled: true
    state: started
""",
    "roles/website/templates/site.conf.j2": """
server {
    listen 80 default_server;
    listen [::]:80 default_server;
    location / { return 200 "{{ website_text }} on {{ ansible_facts.hostname }}\\n"; }
}
""",
    "molecule/default/prepare.yml": f"""
- name: Have a mirror
  hosts: vserver_guests
  gather_facts: false
  tasks:
    - name: Have no other
      ansible.builtin.copy:
        content: "{_MIRROR}\\n"
        dest: /etc/apt/sources.list
        mode: "0644"
    - name: Have none of the template's
      ansible.builtin.shell: rm -f /etc/apt/sources.list.d/*
""",
    "molecule/default/converge.yml": """
- name: Apply the role
  hosts: vserver_guests
  roles:
    - role: website
""",
    "molecule/default/verify.yml": """
- name: Look at the site
  hosts: vserver_guests
  gather_facts: false
  tasks:
    - name: Fetch its page
      ansible.builtin.uri:
        url: http://localhost/
        return_content: true
      register: page
    - name: Find out what listens
      ansible.builtin.command: systemctl is-active nginx
      changed_when: false
    - name: Compare
      ansible.builtin.assert:
        that: page.content == 'It works on ' ~ inventory_hostname ~ '\\n'
""",
}


def documented(language: str) -> dict[str, str]:
    """The files that the page has a reader write, by their names in the block's first line."""
    page = (REPOSITORY / "docs" / "molecule.md").read_text()
    blocks = re.findall(rf"```{language}\n# (\S+)\n(.*?)```", page, re.DOTALL)
    return dict(blocks)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    files = {**PROJECT, **documented("yaml")}
    assert {f"molecule/default/{name}.yml" for name in ("molecule", "create", "destroy", "inventory")} <= files.keys()
    for name, content in files.items():
        place = tmp_path / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(content)
    return tmp_path


def molecule(project: Path, *words: str, status: int = 0) -> str:
    variables = {
        "ANSIBLE_ROLES_PATH": str(project / "roles"),
        "ANSIBLE_NOCOLOR": "1",
        "HOME": str(project),
        "MOLECULE_EPHEMERAL_DIRECTORY": str(project / "ephemeral"),
    }
    said = subprocess.run(
        [TOOLS / "molecule", *words],
        cwd=project,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert said.returncode == status, said.stdout[-6000:]
    return said.stdout


def test_a_role_is_tested_in_guests(platform: Site, project: Path) -> None:
    guests = Guests(platform, "debian-12", made=["website1", "website2"])
    assert not (guests.template_root() / "usr/sbin/nginx").exists()
    try:
        said = molecule(project, "test", "--destroy", "never")
        for step in ("create", "prepare", "converge", "idempotence", "verify"):
            assert f"[default > {step}] Executed: Successful" in said, said
        for name in ("website1", "website2"):
            address = info.guest(platform, name)["addresses"][0]
            assert guests.fetch(f"http://{address.partition('/')[0]}/") == f"It works on {name}\n"
        molecule(project, "destroy")
        assert info.guests(platform) == []
    finally:
        guests.remove_all()


def test_a_guest_is_put_back_as_it_was(platform: Site, project: Path) -> None:
    guests = Guests(platform, "debian-12", made=["website1", "website2"])
    inventory = project / "molecule/default/inventory.yml"

    def play(name: str) -> None:
        words = [TOOLS / "ansible-playbook", "-i", inventory, f"linux.vserver.molecule.{name}"]
        subprocess.run(words, cwd=project, check=True, timeout=120, stdout=subprocess.DEVNULL)

    try:
        play("create")
        first = info.guest(platform, "website1")["pid"]
        guests.run("website1", "touch", "/done")
        play("create")
        assert info.guest(platform, "website1")["pid"] == first
        play("reset")
        assert guests.exec("website1", "test", "-e", "/done").returncode == 1
        assert guests.run("website2", "systemctl", "is-system-running") == "running"
        for _once_more in range(2):
            play("destroy")
            assert info.guests(platform) == []
    finally:
        guests.remove_all()


def test_the_page_names_what_an_inventory_says() -> None:
    inventory = yaml.safe_load(documented("yaml")["molecule/default/inventory.yml"])
    assert inventory["vserver_guests"]["vars"]["ansible_connection"] == "linux.vserver.guest"
