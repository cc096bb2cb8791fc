# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a template is made from: the options, checked and normalised (pure)."""

from __future__ import annotations

import dataclasses
import difflib
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ..errors import InvalidInput
from ..model import check_name

METHODS = ("mmdebstrap", "debootstrap", "archive", "directory")
#: How much of the distribution; ``custom`` is ``minbase`` without the packages of :data:`SYSTEM_PACKAGES`.
VARIANTS = ("minbase", "important", "standard", "custom")
#: What a guest needs to boot under systemd, to be seen on the network, and to be managed by Ansible.
SYSTEM_PACKAGES = ("dbus", "iproute2", "netbase", "procps", "python3", "systemd", "systemd-sysv")

# Which options mean something with which method.
_BOOTSTRAP = frozenset({"suite", "mirror", "components", "packages", "variant"})
_SOURCE = frozenset({"source"})
_MEANINGFUL = {
    "mmdebstrap": _BOOTSTRAP,
    "debootstrap": _BOOTSTRAP,
    "archive": _SOURCE | {"checksum"},
    "directory": _SOURCE,
}

_SUITE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,62}", re.ASCII)
_COMPONENT = re.compile(r"[a-z0-9][a-z0-9.+-]{0,62}(?:/[a-z0-9][a-z0-9.+-]{0,62})*", re.ASCII)
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9.+-]{1,127}", re.ASCII)
_CHECKSUM = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True)
class Spec:
    """The normalised specification of a template; two that mean the same are equal.

    * method: one of :data:`METHODS`
    * suite, mirror, components, packages, variant: for the two bootstrap methods; mirror None: as the host's own apt
      is configured; no components: those the host uses, or ``main`` with a mirror
    * source: an archive's path or URL, or a directory's path
    * checksum: ``sha256:…`` of the archive
    * commands: argv lists, run in this order inside the new tree
    """

    name: str
    method: str = "mmdebstrap"
    suite: str | None = None
    mirror: str | None = None
    components: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    variant: str | None = None
    source: str | None = None
    checksum: str | None = None
    commands: tuple[tuple[str, ...], ...] = ()

    @property
    def wanted_packages(self) -> tuple[str, ...]:
        """Everything to install on top of the variant, sorted."""
        system = () if self.variant == "custom" else SYSTEM_PACKAGES
        return tuple(sorted({*system, *self.packages}))

    @property
    def origin(self) -> str:
        """The source or, for the bootstrap methods, the suite; every parsed specification has the one it needs."""
        found = self.suite if self.source is None else self.source
        if found is None:
            raise InvalidInput(f"template {self.name} has neither source nor suite")
        return found

    @property
    def is_url(self) -> bool:
        """Whether the archive must be fetched."""
        return self.source is not None and not self.source.startswith("/")

    def to_record(self) -> dict[str, Any]:
        """JSON-ready data; :meth:`from_record` reads it back."""
        record = dataclasses.asdict(self)
        return {
            **record,
            "components": list(self.components),
            "packages": list(self.packages),
            "commands": [list(command) for command in self.commands],
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Spec:
        """Raises :class:`InvalidInput` when the record is damaged."""
        try:
            return cls(
                **{
                    **record,
                    "components": tuple(record["components"]),
                    "packages": tuple(record["packages"]),
                    "commands": tuple(tuple(command) for command in record["commands"]),
                }
            )
        except (KeyError, TypeError) as error:
            raise InvalidInput("template record is damaged", why=f"{type(error).__name__}: {error}") from error


def parse(options: Mapping[str, Any], recorded: Spec | None = None) -> Spec:
    """The specification that ``options`` ask for.

    An option that is None or absent keeps what is ``recorded`` as long as the method stays the same; ``[]`` empties it.
    Keys that are no field of :class:`Spec` are ignored. Raises :class:`InvalidInput`.
    """
    given = {
        field.name: options[field.name] for field in dataclasses.fields(Spec) if options.get(field.name) is not None
    }
    name = check_name("template", _text("name", given.pop("name", "")))
    method = _choice("method", given.pop("method", recorded.method if recorded else "mmdebstrap"), METHODS)
    for option in given:
        if option != "commands" and option not in _MEANINGFUL[method]:
            raise InvalidInput(
                f"template {name}: option {option} means nothing with method {method}",
                remedy=f"Leave it out; {method} knows {', '.join(sorted(_MEANINGFUL[method]))} and commands.",
            )
    start = recorded if recorded is not None and recorded.method == method else Spec(name=name, method=method)
    spec = dataclasses.replace(
        start, name=name, **{option: _PARSERS[option](option, value) for option, value in given.items()}
    )
    return _completed(spec)


def _completed(spec: Spec) -> Spec:
    """Fill in defaults, and check the options against each other."""
    who = f"template {spec.name}"
    if spec.method in ("mmdebstrap", "debootstrap"):
        if spec.suite is None:
            raise InvalidInput(f"{who}: suite is missing", remedy="Name the release to install, for example bookworm.")
        variant = spec.variant or "minbase"
        if spec.method == "debootstrap" and variant == "standard":
            raise InvalidInput(
                f"{who}: debootstrap cannot install the variant standard", remedy="Use important, or method mmdebstrap."
            )
        return dataclasses.replace(spec, variant=variant)
    if spec.source is None:
        raise InvalidInput(f"{who}: source is missing", remedy=f"Say which {spec.method} to take.")
    if spec.method == "directory":
        if spec.is_url:
            raise InvalidInput(f"{who}: source {spec.source!r} is not an absolute path")
        return spec
    if spec.is_url:
        _url("source", spec.source, ("http", "https", "file"))
        if spec.checksum is None:
            raise InvalidInput(
                f"{who}: an archive from a URL needs a checksum", remedy="Give it as sha256: and 64 digits."
            )
    return spec


def _text(option: str, value: Any) -> str:
    if not isinstance(value, str):
        raise InvalidInput(f"{option} must be a string, not {value!r:.80}")
    if any(ord(character) < 32 or ord(character) == 127 for character in value):
        raise InvalidInput(f"{option} {value!r:.80} contains a control character")
    return value


def _choice(option: str, value: Any, choices: Sequence[str]) -> str:
    text = _text(option, value)
    if text not in choices:
        near = difflib.get_close_matches(text, choices, 1, 0.5)
        hint = f"Did you mean {near[0]}?" if near else f"Choose one of {', '.join(choices)}."
        raise InvalidInput(f"{option} {text[:80]!r} is unknown", remedy=hint)
    return text


def _matching(option: str, value: Any, pattern: re.Pattern[str], example: str) -> str:
    text = _text(option, value)
    if not pattern.fullmatch(text):
        raise InvalidInput(f"{option} {text[:80]!r} is not valid", remedy=f"An example is {example}.")
    return text


def _url(option: str, value: Any, schemes: Sequence[str]) -> str:
    text = _text(option, value)
    try:
        parts = urlsplit(text)
        has_password = parts.username is not None or parts.password is not None
    except ValueError as error:
        raise InvalidInput(f"{option} {text[:80]!r} is not a URL", why=str(error)) from error
    if parts.scheme not in schemes or not (parts.netloc or (parts.scheme == "file" and parts.path.startswith("/"))):
        raise InvalidInput(f"{option} {text[:80]!r} is not a URL", remedy=f"It begins with {', '.join(schemes)}.")
    if " " in text:
        raise InvalidInput(f"{option} {text[:80]!r} contains a space", remedy="Write %20 instead.")
    if has_password:
        raise InvalidInput(
            f"{option} contains a user name", why="it would be readable in every guest", remedy="Use apt_auth.conf(5)."
        )
    return text


def _list(option: str, value: Any) -> list[Any]:
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Sequence):
        raise InvalidInput(f"{option} must be a list, not {value!r:.80}")
    return list(value)


def _components(option: str, value: Any) -> tuple[str, ...]:
    # Their order does not matter to apt; main comes first by custom.
    found = {_matching(option, item, _COMPONENT, "main") for item in _list(option, value)}
    return tuple(sorted(found, key=lambda item: (item != "main", item)))


def _packages(option: str, value: Any) -> tuple[str, ...]:
    return tuple(sorted({_matching(option, item, _PACKAGE, "nginx-light") for item in _list(option, value)}))


def _source(option: str, value: Any) -> str:
    text = _text(option, value)
    if text.startswith("/"):
        return text
    if "://" not in text and not text.startswith("file:"):
        raise InvalidInput(f"{option} {text[:80]!r} is neither an absolute path nor a URL")
    return text


def _commands(option: str, value: Any) -> tuple[tuple[str, ...], ...]:
    return tuple(_command(item) for item in _list(option, value))


def _command(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        try:
            words = shlex.split(value)
        except ValueError as error:
            raise InvalidInput(f"command {value[:80]!r} cannot be split into words", why=str(error)) from error
    else:
        words = _list("command", value)
    for word in words:
        if not isinstance(word, str) or "\0" in word:
            raise InvalidInput(f"command {value!r:.80}: {word!r:.80} is not a word", remedy="Use strings only.")
    if not words or not words[0]:
        raise InvalidInput(f"command {value!r:.80} is empty")
    return tuple(words)


_PARSERS: Mapping[str, Any] = {
    "suite": lambda option, value: _matching(option, value, _SUITE, "bookworm"),
    "mirror": lambda option, value: _url(option, value, ("http", "https", "file")),
    "components": _components,
    "packages": _packages,
    "variant": lambda option, value: _choice(option, value, VARIANTS),
    "source": _source,
    "checksum": lambda option, value: _matching(
        option, _text(option, value).lower(), _CHECKSUM, "sha256: followed by 64 hexadecimal digits"
    ),
    "commands": _commands,
}
