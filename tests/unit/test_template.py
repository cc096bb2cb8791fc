# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Templates without building any: specifications, apt sources, versions, and file operations in a hostile tree."""

from __future__ import annotations

import errno
import json
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.linux.vserver.plugins.module_utils._engine.errors import InvalidInput, VserverError
from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel.openat2 import (
    RESOLVE_BENEATH,
    RESOLVE_IN_ROOT,
    RESOLVE_NO_SYMLINKS,
    open_in_root,
)
from ansible_collections.linux.vserver.plugins.module_utils._engine.outcome import Outcome
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site
from ansible_collections.linux.vserver.plugins.module_utils._engine.template import apt_sources
from ansible_collections.linux.vserver.plugins.module_utils._engine.template import build as template_build
from ansible_collections.linux.vserver.plugins.module_utils._engine.template import catalog as template
from ansible_collections.linux.vserver.plugins.module_utils._engine.template import clean as template_clean
from ansible_collections.linux.vserver.plugins.module_utils._engine.template import run as template_run
from ansible_collections.linux.vserver.plugins.module_utils._engine.template import versions as template_versions
from ansible_collections.linux.vserver.plugins.module_utils._engine.template.apt_sources import Distribution
from ansible_collections.linux.vserver.plugins.module_utils._engine.template.spec import (
    METHODS,
    SYSTEM_PACKAGES,
    VARIANTS,
    Spec,
    parse,
)
from ansible_collections.linux.vserver.plugins.module_utils._engine.template.tree import Tree

SUM = "sha256:" + "0123456789abcdef" * 4

# ---------------------------------------------------------------------------------------------------- specifications

NO_SOURCE: dict[str, Any] = {"name": "t", "method": "archive"}
DEBIAN: dict[str, Any] = {"name": "t", "suite": "bookworm"}

BAD = {
    "no name": ({}, "name"),
    "empty name": ({"name": ""}, "not valid"),
    "slash": ({"name": "a/b"}, "not valid"),
    "dots": ({"name": ".."}, "not valid"),
    "newline": ({"name": "a\n"}, "control character"),
    "long": ({"name": "a" * 300}, "not valid"),
    "name of another type": ({"name": 7}, "must be a string"),
    "method": ({"name": "t", "method": "debotstrap"}, "Did you mean debootstrap"),
    "method of another type": ({"name": "t", "method": ["archive"]}, "must be a string"),
    "no suite": ({"name": "t"}, "suite is missing"),
    "suite with a path": ({"name": "t", "suite": "../x"}, "suite"),
    "suite as an option": ({"name": "t", "suite": "--help"}, "suite"),
    "suite in capitals": ({"name": "t", "suite": "Bookworm"}, "bookworm"),
    "mirror without scheme": ({**DEBIAN, "mirror": "mirror.example/debian"}, "not a URL"),
    "mirror by ssh": ({**DEBIAN, "mirror": "ssh://mirror.example/debian"}, "not a URL"),
    "mirror with a password": ({**DEBIAN, "mirror": "http://me:pw@mirror.example/debian"}, "apt_auth.conf"),
    "mirror with a space": ({**DEBIAN, "mirror": "http://mirror.example/ x"}, "space"),
    "mirror with a newline": ({**DEBIAN, "mirror": "http://mirror.example/\ndeb x"}, "control character"),
    "mirror with brackets": ({**DEBIAN, "mirror": "http://[mirror.example/"}, "not a URL"),
    "components as a string": ({**DEBIAN, "components": "main"}, "must be a list"),
    "component with a space": ({**DEBIAN, "components": ["main contrib"]}, "components"),
    "package as an option": ({**DEBIAN, "packages": ["--force"]}, "packages"),
    "packages in one word": ({**DEBIAN, "packages": ["a,b"]}, "packages"),
    "package as a pattern": ({**DEBIAN, "packages": ["?essential"]}, "packages"),
    "package of another type": ({**DEBIAN, "packages": [1]}, "must be a string"),
    "variant": ({**DEBIAN, "variant": "minibase"}, "Did you mean minbase"),
    "variant of debootstrap": ({**DEBIAN, "method": "debootstrap", "variant": "standard"}, "debootstrap"),
    "source with mmdebstrap": ({**DEBIAN, "source": "/x"}, "means nothing"),
    "packages with an archive": ({**NO_SOURCE, "source": "/x", "packages": []}, "means nothing"),
    "archive without source": (NO_SOURCE, "source is missing"),
    "relative source": ({**NO_SOURCE, "source": "x.tar"}, "neither"),
    "source by ftp": ({**NO_SOURCE, "source": "ftp://x.example/a", "checksum": SUM}, "not a URL"),
    "URL without checksum": ({**NO_SOURCE, "source": "https://x.example/a.tar"}, "needs a checksum"),
    "file URL without checksum": ({**NO_SOURCE, "source": "file:///a.tar"}, "needs a checksum"),
    "checksum of another kind": ({**NO_SOURCE, "source": "/x", "checksum": "md5:" + "0" * 32}, "checksum"),
    "checksum too short": ({**NO_SOURCE, "source": "/x", "checksum": "sha256:00"}, "checksum"),
    "checksum of a directory": ({"name": "t", "method": "directory", "source": "/x", "checksum": SUM}, "means nothing"),
    "directory by URL": ({"name": "t", "method": "directory", "source": "file:///x"}, "absolute path"),
    "commands as a string": ({**DEBIAN, "commands": "id"}, "must be a list"),
    "commands as a dictionary": ({**DEBIAN, "commands": {"a": 1}}, "must be a list"),
    "empty command": ({**DEBIAN, "commands": [""]}, "empty"),
    "command of no words": ({**DEBIAN, "commands": [[]]}, "empty"),
    "open quote": ({**DEBIAN, "commands": ["echo 'x"]}, "words"),
    "number in a command": ({**DEBIAN, "commands": [["sleep", 1]]}, "not a word"),
    "number as a command": ({**DEBIAN, "commands": [1]}, "must be a list"),
    "NUL in a command": ({**DEBIAN, "commands": [["echo", "a\0b"]]}, "not a word"),
}


@pytest.mark.parametrize(("options", "message"), BAD.values(), ids=BAD.keys())
def test_bad_option(options: Mapping[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse(options)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 400


def test_defaults_and_normal_form() -> None:
    spec = parse({**DEBIAN, "packages": ["b1", "a1", "b1"], "components": ["contrib", "main"], "refresh": True})
    assert spec == Spec(
        name="t",
        method="mmdebstrap",
        suite="bookworm",
        variant="minbase",
        packages=("a1", "b1"),
        components=("main", "contrib"),
    )
    assert spec.wanted_packages == tuple(sorted({*SYSTEM_PACKAGES, "a1", "b1"}))
    assert parse({**DEBIAN, "variant": "custom", "packages": ["a1"]}).wanted_packages == ("a1",)
    assert parse({**NO_SOURCE, "source": "/x", "checksum": SUM.upper()}).checksum == SUM


def test_commands_are_words() -> None:
    spec = parse({**DEBIAN, "commands": ["sh -c 'echo a; b'", ["touch", "a b"], "x # y"]})
    assert spec.commands == (("sh", "-c", "echo a; b"), ("touch", "a b"), ("x", "#", "y"))


def test_what_is_not_given_keeps_what_is_recorded() -> None:
    first = parse({**DEBIAN, "packages": ["nginx"], "commands": ["true"]})
    assert parse({"name": "t"}, first) == first
    assert parse({"name": "t", "suite": None, "packages": None}, first) == first
    assert parse({"name": "t", "packages": []}, first) == parse({**DEBIAN, "commands": ["true"]})
    assert parse({"name": "t", "commands": []}, first) == parse({**DEBIAN, "packages": ["nginx"]})
    # Another method begins anew.
    archive = parse({"name": "t", "method": "archive", "source": "/x"}, first)
    assert archive == Spec(name="t", method="archive", source="/x")
    with pytest.raises(InvalidInput):
        parse({"name": "t", "method": "debootstrap"}, first)


NAMES = st.from_regex(r"[a-z0-9][a-z0-9.+-]{1,20}", fullmatch=True)
WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)
SPECS = st.fixed_dictionaries(
    {
        "name": st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,20}", fullmatch=True),
        "method": st.sampled_from(METHODS[:1]),
        "suite": NAMES,
    },
    optional={
        "packages": st.lists(NAMES),
        "components": st.lists(NAMES),
        "variant": st.sampled_from(VARIANTS),
        "commands": st.lists(st.lists(WORDS, min_size=1)),
        "mirror": st.sampled_from(["http://mirror.example/debian", "https://mirror.example", "file:///srv/mirror"]),
    },
)


@given(SPECS)
def test_a_record_means_what_was_asked_for(options: dict[str, Any]) -> None:
    spec = parse(options)
    assert Spec.from_record(json.loads(json.dumps(spec.to_record()))) == spec
    assert parse(spec.to_record()) == spec
    assert parse({"name": spec.name}, spec) == spec


@given(
    st.dictionaries(
        st.sampled_from([*Spec.__dataclass_fields__]),
        st.one_of(
            st.none(),
            st.text(),
            st.integers(),
            st.lists(st.one_of(st.text(), st.integers(), st.lists(st.text()))),
            st.booleans(),
        ),
    )
)
def test_any_input_is_taken_or_refused_in_words(options: dict[str, Any]) -> None:
    try:
        spec = parse({"name": "t", "suite": "bookworm", **options})
    except InvalidInput as error:
        assert "\n" not in error.what
    else:
        assert parse(spec.to_record()) == spec


@pytest.mark.parametrize("record", [{}, {"name": "t"}, {"components": 1, "packages": [], "commands": []}])
def test_a_damaged_record_is_told(record: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="damaged"):
        Spec.from_record(record)


# -------------------------------------------------------------------------------------------------------- apt sources


def stanza(uri: str, release: str, component: str, release_file: str = "", kind: str = "Packages") -> str:
    """One paragraph of ``apt-get indextargets`` as apt 2.6 writes it."""
    return (
        f"MetaKey: {component}/binary-amd64/{kind}\nShortDesc: {kind}\n"
        f"Description: {uri} {release}/{component} amd64 {kind}\nURI: {uri}dists/{release}/{component}/binary-amd64\n"
        f"Filename: /var/lib/apt/lists/x\nOptional: no\nKeepCompressed: yes\n{release_file}Architecture: amd64\n"
        f"Base-URI: {uri}dists/{release}/\nBy-Hash: yes\nComponent: {component}\nCreated-By: {kind}\n"
        f"DefaultEnabled: yes\nFallback-Of: \nIdentifier: {kind}\nRelease: {release}\nRepo-URI: {uri}\n"
        f"Site: {uri.rstrip('/')}\nSourcesentry: /etc/apt/sources.list:1\nTarget-Of: deb\n"
    )


def fact(origin: str, codename: str, suite: str) -> str:
    return f"Codename: {codename}\nLabel: {origin}\nOrigin: {origin}\nSuite: {suite}\nTrusted: yes\nVersion: 1\n"


MIRROR, SECURITY, OTHER = (
    "http://mirror.example/debian/",
    "http://mirror.example/debian-security/",
    "https://o.example/",
)
BOOKWORM = "\n".join(
    [
        stanza(MIRROR, "bookworm", "main", fact("Debian", "bookworm", "oldstable")),
        stanza(MIRROR, "bookworm", "non-free-firmware", fact("Debian", "bookworm", "oldstable")),
        stanza(MIRROR, "bookworm", "main", fact("Debian", "bookworm", "oldstable"), "DEP-11"),
        stanza(MIRROR, "bookworm-updates", "main", fact("Debian", "bookworm-updates", "oldstable-updates")),
        stanza(MIRROR, "bookworm-backports", "main", fact("Debian Backports", "bookworm-backports", "x")),
        stanza(SECURITY, "bookworm-security", "main", fact("Debian", "bookworm-security", "oldstable-security")),
        stanza(OTHER, "bookworm", "stable", fact("Docker", "bookworm", "bookworm")),
        stanza(OTHER, "nodistro", "main", fact("Somebody", "nodistro", "nodistro")),
    ]
)
#: As on a host where ``apt-get update`` never ran.
BOOKWORM_UNFETCHED = "\n".join(
    [
        stanza(MIRROR, "bookworm", "main"),
        stanza(MIRROR, "bookworm-updates", "main"),
        stanza(SECURITY, "bookworm-security", "main"),
        stanza(OTHER, "bookworm", "stable"),
    ]
)
STABLE = "\n".join(
    [
        stanza(MIRROR, "stable", "main", fact("Debian", "bookworm", "stable")),
        stanza(SECURITY, "stable-security", "main", fact("Debian", "bookworm-security", "stable-security")),
    ]
)
SID = stanza(MIRROR, "unstable", "main", fact("Debian", "sid", "unstable"))
MIXED = "\n".join([BOOKWORM, stanza(OTHER, "trixie", "main", fact("Debian", "trixie", "stable"))])
UBUNTU = "http://u.example/ubuntu/"
JAMMY = "\n".join(
    stanza(uri, release, component, fact(origin, "jammy", release))
    for uri, release, origin in (
        (UBUNTU, "jammy", "Ubuntu"),
        (UBUNTU, "jammy-updates", "Ubuntu"),
        (UBUNTU, "jammy-backports", "Ubuntu"),
        (UBUNTU, "jammy-security", "Ubuntu"),
        ("https://e.example/", "jammy-infra-security", "UbuntuESM"),
        ("https://ppa.example/", "jammy", "LP-PPA-somebody"),
    )
    for component in ("main", "universe")
)

HOST_12 = Distribution("debian", ("bookworm",))
HOST_SID = Distribution("debian", ("forky",))
HOST_JAMMY = Distribution("ubuntu", ("jammy",))

MAPPINGS = {
    "the same suite": (
        BOOKWORM,
        HOST_12,
        "bookworm",
        (),
        [
            f"{MIRROR} bookworm main non-free-firmware",
            f"{MIRROR} bookworm-updates main",
            f"{SECURITY} bookworm-security main",
        ],
    ),
    "the next suite": (
        BOOKWORM,
        HOST_12,
        "trixie",
        (),
        [
            f"{MIRROR} trixie main non-free-firmware",
            f"{MIRROR} trixie-updates main",
            f"{SECURITY} trixie-security main",
        ],
    ),
    "a suite without firmware": (
        BOOKWORM,
        HOST_12,
        "bullseye",
        (),
        [f"{MIRROR} bullseye main", f"{MIRROR} bullseye-updates main", f"{SECURITY} bullseye-security main"],
    ),
    "a rolling suite": (BOOKWORM, HOST_12, "sid", (), [f"{MIRROR} sid main non-free-firmware"]),
    "other components": (
        BOOKWORM,
        HOST_12,
        "trixie",
        ("main", "contrib"),
        [
            f"{MIRROR} trixie main contrib",
            f"{MIRROR} trixie-updates main contrib",
            f"{SECURITY} trixie-security main contrib",
        ],
    ),
    "never fetched": (
        BOOKWORM_UNFETCHED,
        HOST_12,
        "trixie",
        (),
        [f"{MIRROR} trixie main", f"{MIRROR} trixie-updates main", f"{SECURITY} trixie-security main"],
    ),
    "an alias": (STABLE, HOST_12, "bookworm", (), [f"{MIRROR} bookworm main", f"{SECURITY} bookworm-security main"]),
    "from sid": (SID, HOST_SID, "bookworm", (), [f"{MIRROR} bookworm main"]),
    "several suites": (MIXED, HOST_12, "trixie", (), [f"{OTHER} trixie main"]),
    "another distribution": (BOOKWORM, HOST_12, "jammy", (), []),
    "ubuntu": (
        JAMMY,
        HOST_JAMMY,
        "noble",
        (),
        [f"{UBUNTU} {release} main universe" for release in ("noble", "noble-updates", "noble-security")],
    ),
    "debian on ubuntu": (JAMMY, HOST_JAMMY, "bookworm", (), []),
    "no apt": ("", Distribution("fedora"), "bookworm", (), []),
}


@pytest.mark.parametrize(
    ("recorded", "host", "suite", "components", "expected"), MAPPINGS.values(), ids=MAPPINGS.keys()
)
def test_sources_from_the_hosts_apt(
    recorded: str, host: Distribution, suite: str, components: tuple[str, ...], expected: list[str]
) -> None:
    found = apt_sources.map_sources(apt_sources.parse_targets(recorded), host, suite, components)
    assert [str(source) for source in found] == [f"deb {line}" for line in expected]


RELEASES = st.sampled_from(["bookworm", "bookworm-updates", "bookworm-security", "bookworm-backports", "trixie", "x"])
TARGETS = st.builds(
    apt_sources.Target,
    st.sampled_from([MIRROR, SECURITY, OTHER]),
    RELEASES,
    st.sampled_from(["main", "contrib", "stable"]),
    st.sampled_from([None, "Debian", "Docker"]),
    st.one_of(st.none(), RELEASES),
)


@given(st.lists(TARGETS), st.sampled_from(["bookworm", "trixie", "sid"]))
def test_sources_are_only_of_the_wanted_suite(targets: list[apt_sources.Target], suite: str) -> None:
    found = apt_sources.map_sources(targets, HOST_12, suite)
    lines = [(source.uri, source.suite) for source in found]
    assert len(lines) == len(set(lines))
    for source in found:
        assert source.suite in (suite, f"{suite}-updates", f"{suite}-security")
        assert source.components
        assert source.uri in {target.uri for target in targets if target.origin != "Docker"}
        assert "stable" not in source.components or any(t.origin == "Debian" for t in targets)


def test_a_password_in_a_source_does_not_get_into_the_guest() -> None:
    (target,) = apt_sources.parse_targets(stanza("http://me:secret@mirror.example/debian/", "bookworm", "main"))
    assert target.uri == MIRROR


def test_flat_repositories_are_left_out() -> None:
    assert apt_sources.parse_targets(stanza(MIRROR, "./", "").replace("Component: \n", "")) == []


DUMP = """\
APT "";
APT::Architecture "amd64";
Dir::Etc::trusted "trusted.gpg";
Acquire "";
Acquire::AllowInsecureRepositories "1";
Acquire::cdrom::mount "/media/cdrom/";
Acquire::http "";
Acquire::http::Proxy "http://proxy.example:3128/";
Acquire::http::Proxy::mirror.example "DIRECT";
Acquire::https::Proxy "DIRECT";
Acquire::https::CaInfo "/etc/ssl/own.pem";
Acquire::Retries "3";
Acquire::Check-Valid-Until "false";
Acquire::ForceIPv4 "true";
Acquire::Languages:: "none";
DPkg::Post-Invoke:: "rm -f /x || true";
"""


def test_settings_that_building_takes_over() -> None:
    settings = apt_sources.parse_settings(DUMP)
    assert settings == [
        'Acquire::http::Proxy "http://proxy.example:3128/";',
        'Acquire::http::Proxy::mirror.example "DIRECT";',
        'Acquire::https::Proxy "DIRECT";',
        'Acquire::https::CaInfo "/etc/ssl/own.pem";',
        'Acquire::Retries "3";',
        'Acquire::Check-Valid-Until "false";',
        'Acquire::ForceIPv4 "true";',
    ]
    assert apt_sources.parse_proxies(settings) == {"http_proxy": "http://proxy.example:3128/"}


def test_os_release() -> None:
    text = 'NAME="Ubuntu"\nID=ubuntu\nVERSION_CODENAME=jammy\nUBUNTU_CODENAME=jammy\nID_LIKE=debian\n'
    assert apt_sources.parse_distribution(text) == HOST_JAMMY
    assert apt_sources.parse_distribution("") == Distribution("linux")


@pytest.mark.parametrize(
    ("host", "upstream", "expected"),
    [
        ("nameserver 192.0.2.1\n", None, "nameserver 192.0.2.1\n"),
        ("nameserver 127.0.0.53\n", "nameserver 192.0.2.7\n", "nameserver 192.0.2.7\n"),
        ("nameserver 127.0.0.53\nnameserver 192.0.2.1\n", "x", "nameserver 127.0.0.53\nnameserver 192.0.2.1\n"),
        ("nameserver 127.0.0.53\n", None, None),
        (None, None, None),
        ("# nothing\n", "nameserver 192.0.2.7\n", "# nothing\n"),
        ("nameserver \n", None, "nameserver \n"),
    ],
)
def test_name_servers_for_guests(tmp_path: Path, host: str | None, upstream: str | None, expected: str | None) -> None:
    for name, content in (("host", host), ("upstream", upstream)):
        if content is not None:
            (tmp_path / name).write_text(content)
    found = template_clean.guest_resolver(tmp_path / "host", tmp_path / "upstream")
    assert found == (None if expected is None else expected.encode())


# ----------------------------------------------------------------------------------------------------------- versions

TIMES = st.integers(0, 4_000_000_000)


@given(st.lists(TIMES), TIMES)
def test_a_new_version_is_later_than_all_others(times: list[int], now: int) -> None:
    existing: list[str] = []
    for moment in times:
        existing.append(template_versions.next_version(existing, moment))
    assert existing == sorted(set(existing))
    version = template_versions.next_version(existing, now)
    assert not existing or version > existing[-1]
    if not existing or time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now)) > existing[-1]:
        assert version == time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))


def make_version(site: Site, name: str, version: str, **changes: Any) -> None:
    directory = site.templates / name / version
    (directory / "rootfs").mkdir(parents=True)
    record = {
        "format": 1,
        "version": version,
        "created": "x",
        "size_bytes": 1,
        "spec": Spec(name=name, suite="bookworm", variant="minbase").to_record(),
        **changes,
    }
    (directory / "template.json").write_text(json.dumps(record))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(state=tmp_path / "state", run=tmp_path / "run")


OLD, NEW = "20260101T000000Z", "20260101T000001Z"


def test_versions_of_a_template(site: Site) -> None:
    for version in (NEW, OLD):
        make_version(site, "debian-12", version)
    # What is half-made, foreign or damaged is no version.
    (site.templates / "debian-12" / "20270101T000000Z").mkdir()
    (site.templates / "debian-12" / ".pending-0").mkdir()
    (site.templates / "debian-12" / ".build.log").write_text("")
    (site.templates / "empty").mkdir()
    assert template_versions.names(site) == ["debian-12"]
    assert template_versions.versions(site, "debian-12") == [OLD, NEW]
    assert template_versions.latest(site, "debian-12") == NEW
    assert template_versions.resolve(site, "debian-12") == site.templates / "debian-12" / NEW / "rootfs"
    assert template_versions.resolve(site, "debian-12", OLD) == site.templates / "debian-12" / OLD / "rootfs"
    about = template.info(site, "debian-12")
    assert about["latest"] == NEW
    assert [entry["version"] for entry in about["versions"]] == [OLD, NEW]
    assert about["used_by"] == []
    json.dumps(about)


@pytest.mark.parametrize(
    ("name", "version", "message"),
    [
        ("debian12", None, "Did you mean debian-12?"),
        ("fedora", None, "There is debian-12."),
        ("debian-12", "20260101T000002Z", f"Did you mean {NEW}?"),
        ("debian-12", "../../x", "no version"),
        ("../x", None, "not valid"),
    ],
)
def test_what_does_not_exist_is_told_with_what_does(site: Site, name: str, version: str | None, message: str) -> None:
    make_version(site, "debian-12", NEW)
    with pytest.raises(InvalidInput) as caught:
        template_versions.resolve(site, name, version)
    assert message in str(caught.value)


def test_without_templates(site: Site) -> None:
    assert template_versions.names(site) == []
    assert template.recorded(site, "t") is None
    with pytest.raises(InvalidInput, match="no template yet"):
        template_versions.latest(site, "t")
    outcome = template.absent(site, "t", check=True)
    assert not outcome.changed
    assert not site.state.exists()


@pytest.mark.parametrize("changes", [{"format": 2}, {"spec": 5}, {"spec": {"name": "t"}}])
def test_a_record_that_cannot_be_read(site: Site, changes: dict[str, Any]) -> None:
    make_version(site, "t", NEW, **changes)
    with pytest.raises(VserverError) as caught:
        template.recorded(site, "t")
    assert "template" in str(caught.value)


def test_check_mode_changes_nothing(site: Site, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "bin").mkdir(parents=True)
    lines: list[str] = []
    spec = parse({"name": "t", "method": "directory", "source": str(source)})
    outcome = template.ensure(site, spec, check=True, progress=lines.append)
    assert outcome.changed
    assert outcome.after == {"method": "directory", "source": str(source), "version": "(new)"}
    assert outcome.subject == {}
    assert lines == [f"would build template t: directory {source}"]
    assert not site.state.exists()


def test_an_unchanged_specification_changes_nothing(site: Site) -> None:
    make_version(site, "t", NEW)
    spec = template.recorded(site, "t")
    assert spec is not None
    assert template.ensure(site, spec) == Outcome(False, subject=template.info(site, "t"))


# ------------------------------------------------------------------------------------------------------------ sources


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "No such file"),
        (lambda path: path.mkdir(), "not a regular file"),
        (os.mkfifo, "not a regular file"),
        (lambda path: path.write_bytes(b""), "empty"),
        (lambda path: path.write_bytes(b"PK\x03\x04rest"), "zip"),
    ],
    ids=["missing", "directory", "fifo", "empty", "zip"],
)
def test_bad_archive(site: Site, tmp_path: Path, make: Any, message: str) -> None:
    make(tmp_path / "a")
    with pytest.raises(InvalidInput) as caught:
        template_build.plan(site, parse({"name": "t", "method": "archive", "source": str(tmp_path / "a")}))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path, state: None, "No such file"),
        (lambda path, state: path.write_text("x"), "not a directory"),
        (lambda path, state: path.mkdir(), "it is empty"),
        (lambda path, state: (path / "rootfs").mkdir(parents=True), "it holds only 'rootfs'"),
        (lambda path, state: [(path / name).mkdir(parents=True) for name in ("a", "b")], "it holds 'a', 'b'"),
        (lambda path, state: path.symlink_to(path), "open the directory"),
        (lambda path, state: (state.mkdir(), path.symlink_to(state)), "are in it"),
        (lambda path, state: path.symlink_to("/"), "are in it"),
    ],
    ids=["missing", "file", "empty", "one too deep", "no root", "loop", "own state", "all of the host"],
)
def test_bad_directory(site: Site, tmp_path: Path, make: Any, message: str) -> None:
    make(tmp_path / "d", site.state)
    with pytest.raises(InvalidInput) as caught:
        template_build.plan(site, parse({"name": "t", "method": "directory", "source": str(tmp_path / "d")}))
    assert message in str(caught.value)


def test_a_programs_last_words_are_in_the_error(tmp_path: Path) -> None:
    with template_run.BuildLog(tmp_path / "log") as log:
        script = "for i in $(seq 50); do echo line $i; done; printf '\\033[31mend'; exit 3"
        with pytest.raises(VserverError) as caught:
            template_run.run(["sh", "-c", script], log, "try")
    text = str(caught.value)
    assert "exit code 3" in text
    assert "line 50\n" in text
    assert "line 38\n" not in text
    assert "\033" not in text
    assert str(tmp_path / "log") in text
    assert "line 1\n" in (tmp_path / "log").read_text()


def test_a_missing_program_is_told_with_its_package() -> None:
    with pytest.raises(VserverError, match="Install the package some-package"):
        template_run.require("no-such-program-here", "some-package")


# ------------------------------------------------------------------------------------------------------- hostile trees


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    """A tree full of links out of it, beside the files they lead to."""
    outside = tmp_path / "outside"
    (outside / "sub").mkdir(parents=True)
    (outside / "file").write_text("kept")
    (outside / "sub" / "file").write_text("kept")
    root = tmp_path / "root"
    root.mkdir()
    (root / "absolute").symlink_to(outside)
    (root / "relative").symlink_to("../outside")
    (root / "up").symlink_to("../../../../../../../../../..")
    (root / "loop").symlink_to("loop")
    (root / "inner").mkdir()
    (root / "inside").symlink_to("/inner")
    (root / "file").write_text("x")
    os.mkfifo(root / "fifo")
    with Tree(root) as opened:
        yield opened


def unharmed(tree: Tree) -> bool:
    outside = tree.root.parent / "outside"
    found = sorted(str(path.relative_to(outside)) for path in outside.rglob("*"))
    return found == ["file", "sub", "sub/file"] and (outside / "file").read_text() == "kept"


@pytest.mark.parametrize("path", ["absolute/file", "relative/file", "up/etc/passwd", "loop/x", "file/x", "missing/x"])
def test_nothing_is_opened_outside(tree: Tree, path: str) -> None:
    with pytest.raises(OSError):
        open_in_root(tree.fd, path, os.O_RDONLY)
    assert tree.kind(path) is None
    assert tree.names(path) == []
    tree.remove(path)
    tree.clear_files(path)
    assert unharmed(tree)


@pytest.mark.parametrize("top", ["absolute", "relative", "up", "loop", "fifo", "file", "inside"])
def test_nothing_is_written_outside(tree: Tree, top: str) -> None:
    operations: tuple[Callable[[], None], ...] = (
        lambda: tree.write(f"{top}/new", b"x"),
        lambda: tree.link(f"{top}/link", "/etc"),
        lambda: tree.make_directories(f"{top}/sub/more"),
        lambda: tree.clear_files(top),
        lambda: tree.remove(f"{top}/file"),
    )
    for operation in operations:
        try:
            operation()
        except OSError:
            assert top != "inside"
    assert unharmed(tree)
    assert not Path("/new").exists()
    tree.write(top, b"own", 0o640)
    assert stat.S_IMODE((tree.root / top).lstat().st_mode) == 0o640
    assert (tree.root / top).read_text() == "own"
    assert unharmed(tree)


def test_links_inside_are_followed_inside(tree: Tree) -> None:
    tree.write("inside/deep/new", b"x")
    assert (tree.root / "inner/deep/new").read_bytes() == b"x"
    assert tree.kind("inside") == stat.S_IFLNK
    assert tree.kind("inside/deep") == stat.S_IFDIR
    tree.clear_files("inside")
    assert (tree.root / "inner/deep/new").exists()
    tree.clear_files("inner")
    assert not (tree.root / "inner/deep/new").exists()
    assert (tree.root / "inner/deep").is_dir()
    tree.remove("inside/deep")
    assert not (tree.root / "inner/deep").exists()
    tree.remove("inside")
    assert (tree.root / "inner").is_dir()


def test_openat2_flags(tree: Tree) -> None:
    for resolve, path, number in (
        (RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS, "inside", errno.ELOOP),
        (RESOLVE_BENEATH, "relative/file", errno.EXDEV),
        (RESOLVE_BENEATH, "/etc", errno.EXDEV),
    ):
        with pytest.raises(OSError) as caught:
            open_in_root(tree.fd, path, os.O_PATH, resolve=resolve)
        assert caught.value.errno == number
        assert caught.value.filename == path
    fd = open_in_root(tree.fd, "/file", os.O_RDONLY)
    assert not os.get_inheritable(fd)
    os.close(fd)


def test_cleaning_a_tree(tmp_path: Path) -> None:
    root = tmp_path / "root"
    for name, content in {
        "etc/hostname": "builder",
        "etc/machine-id": "0123",
        "etc/ssh/ssh_host_rsa_key": "secret",
        "etc/ssh/ssh_host_rsa_key.pub": "public",
        "etc/ssh/sshd_config": "kept",
        "usr/sbin/sshd": "program",
        "usr/sbin/policy-rc.d": "#!/bin/sh",
        "var/lib/dbus/machine-id": "0123",
        "var/lib/systemd/random-seed": "seed",
        "var/lib/apt/lists/x_Packages": "list",
        "var/cache/apt/archives/partial/a.deb": "deb",
        "var/cache/apt/pkgcache.bin": "cache",
        "var/log/apt/term.log": "log",
        "var/log/journal/0123/system.journal": "log",
        "var/lib/dpkg/status": "kept",
        "var/lib/dpkg/status-old": "old",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    root.chmod(0o700)
    with Tree(root) as tree:
        size = template_clean.clean(tree)
    left = {str(path.relative_to(root)): path for path in root.rglob("*") if not path.is_dir() or path.is_symlink()}
    wanted = "etc/systemd/system/multi-user.target.wants/vserver-ssh-host-keys.service"
    assert set(left) == {
        "etc/machine-id",
        "etc/ssh/sshd_config",
        "usr/sbin/sshd",
        "var/lib/dpkg/status",
        template_clean.SSH_UNIT,
        wanted,
    }
    assert left["etc/machine-id"].read_bytes() == b""
    assert os.readlink(left[wanted]) == f"/{template_clean.SSH_UNIT}"
    assert (root / "var/log/journal").is_dir()
    assert (root / "var/cache/apt/archives/partial").is_dir()
    assert stat.S_IMODE(root.stat().st_mode) == 0o755
    assert size > 0


HOSTILE = ("etc", "var", "usr", "run", "var/log", "var/lib", "var/lib/apt", "etc/ssh", "usr/sbin", "etc/systemd")


@pytest.mark.parametrize("path", HOSTILE)
def test_cleaning_a_hostile_tree(tmp_path: Path, path: str) -> None:
    outside = tmp_path / "outside"
    for name in (
        "hostname",
        "log/x",
        "sbin/sshd",
        "lib/apt/lists/x",
        "lists/x",
        "ssh_host_x_key",
        "ssh/ssh_host_x_key",
        "apt/lists/x",
        "machine-id",
        "random-seed",
        "policy-rc.d",
        "sbin/policy-rc.d",
        "dbus/machine-id",
    ):
        (outside / name).parent.mkdir(parents=True, exist_ok=True)
        (outside / name).write_text("kept")
    before = sorted(outside.rglob("*"))
    root = tmp_path / "root"
    (root / path).parent.mkdir(parents=True)
    (root / path).symlink_to(outside)
    (root / "usr/sbin").mkdir(parents=True, exist_ok=True) if not path.startswith("usr") else None
    with Tree(root) as tree:
        try:
            template_clean.clean(tree)
        except OSError:
            assert path == "etc"
    assert sorted(outside.rglob("*")) == before
    assert all(file.read_text() == "kept" for file in before if file.is_file())
