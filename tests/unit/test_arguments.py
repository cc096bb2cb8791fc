# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules from outside: what they document is what they take, and every failure is a sentence."""

from __future__ import annotations

import ast
import importlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args

from ansible_collections.linux.vserver.plugins.module_utils._ansible import arguments, module
from ansible_collections.linux.vserver.plugins.module_utils._engine.errors import Conflict
from ansible_collections.linux.vserver.plugins.module_utils._engine.outcome import Outcome

REPOSITORY = Path(__file__).resolve().parents[2]
COLLECTION = "ansible_collections.linux.vserver.plugins"
MODULES = sorted(path.stem for path in (REPOSITORY / "plugins" / "modules").glob("[a-z]*.py"))
ROLES = sorted(path.parents[1].name for path in REPOSITORY.glob("roles/*/meta/argument_specs.yml"))
DETAILS = ("type", "elements", "choices", "default", "required")


class Asked(Exception):
    """Ends a module when it asks for its arguments."""


@pytest.fixture
def spec_of(monkeypatch: pytest.MonkeyPatch) -> Any:
    def asked(_self: Any, **arguments: Any) -> None:
        raise Asked(arguments)

    def read(name: str) -> dict[str, Any]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module.AnsibleModule, "__init__", asked)
            with pytest.raises(Asked) as caught:
                importlib.import_module(f"{COLLECTION}.modules.{name}").main()
        given: dict[str, Any] = caught.value.args[0]
        return given

    return read


def plain(options: dict[str, Any]) -> dict[str, Any]:
    """Options with what counts about each: type and so on, defaults of the notation filled in."""
    return {
        name: {
            **{key: option[key] for key in DETAILS if key in option and (key, option[key]) != ("required", False)},
            "type": option.get("type", "str"),
            "suboptions": plain(option.get("options") or option.get("suboptions") or {}),
            "aliases": list(option.get("aliases", ())),
        }
        for name, option in options.items()
    }


def documented(name: str) -> dict[str, Any]:
    """The options of a module's DOCUMENTATION, those of its fragments included."""
    text = importlib.import_module(f"{COLLECTION}.modules.{name}").DOCUMENTATION
    documentation = yaml.safe_load(text)
    options: dict[str, Any] = {}
    for reference in documentation["extends_documentation_fragment"]:
        fragment, _dot, part = reference.removeprefix("linux.vserver.").partition(".")
        source = importlib.import_module(f"{COLLECTION}.doc_fragments.{fragment}").ModuleDocFragment
        options.update(yaml.safe_load(getattr(source, (part or "documentation").upper())).get("options") or {})
    return {**options, **(documentation.get("options") or {})}


@pytest.mark.parametrize("name", MODULES)
def test_a_module_takes_what_it_documents(name: str, spec_of: Any) -> None:
    given = spec_of(name)
    assert plain(given["argument_spec"]) == plain(documented(name))
    assert given["supports_check_mode"] is True


def test_every_module_is_in_the_action_group() -> None:
    runtime = yaml.safe_load((REPOSITORY / "meta" / "runtime.yml").read_text())
    assert sorted(runtime["action_groups"]["vserver"]) == MODULES


def test_what_nobody_gave_is_not_sent_back() -> None:
    given = {"purge": False, "parallel": None, "guests": [{"name": "web1", "memory": None, "addresses": []}]}
    assert module._given(given) == {"purge": False, "guests": [{"name": "web1", "addresses": []}]}


def test_every_module_is_run_by_the_action_that_knows_of_the_engine() -> None:
    routed = yaml.safe_load((REPOSITORY / "meta" / "runtime.yml").read_text())["plugin_routing"]["modules"]
    assert sorted([*routed, "engine"]) == MODULES
    assert all(route == {"action_plugin": "linux.vserver.engine"} for route in routed.values())


@pytest.mark.parametrize("name", MODULES)
def test_nothing_of_the_engine_is_sent_with_a_module_but_what_finds_it(name: str) -> None:
    seen, pending = set(), [REPOSITORY / "plugins" / "modules" / f"{name}.py"]
    while pending:
        path = pending.pop()
        seen.add(path)
        package = [COLLECTION, *path.relative_to(REPOSITORY / "plugins").parts[:-1]]
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.ImportFrom):
                base = (
                    ".".join([*package[: len(package) + 1 - node.level], node.module or ""])
                    if node.level
                    else node.module
                )
                for full in (f"{base}.{alias.name}".replace("..", ".") for alias in node.names):
                    place = REPOSITORY.joinpath("plugins", *full.removeprefix(COLLECTION).split("."))
                    found = {place.with_suffix(".py"), place.parent.with_suffix(".py")} - seen
                    pending += [each for each in found if full.startswith(COLLECTION) and each.is_file()]
    sent = {path.stem for path in seen if path.parent.name == "_engine"}
    assert sent == {"errors", "installed", "outcome", "site"}


def test_no_option_belongs_to_two_facets() -> None:
    names = [name for options in (arguments.GUEST, *arguments.FACETS.values()) for name in options]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("role", ROLES)
def test_a_role_takes_what_its_module_takes(role: str, spec_of: Any) -> None:
    options = yaml.safe_load((REPOSITORY / "roles" / role / "meta" / "argument_specs.yml").read_text())
    options = options["argument_specs"]["main"]["options"]
    if role == "guest":
        of_context = spec_of("context")["argument_spec"]
        expected = {**of_context, **arguments.GUEST}
        for option in ("command", "root"):  # for one command, not for a guest
            del expected[option]
        for facet, facet_options in arguments.FACETS.items():
            prefix = "capabilities_" if facet == "capabilities" else ""
            expected.update({prefix + name: option for name, option in facet_options.items()})
        expected["state"] = {**expected["state"], "default": "started"}
    elif role == "template":
        expected = spec_of("template")["argument_spec"]
    else:
        return
    assert plain(options) == plain({f"vserver_{role}_{name}": option for name, option in expected.items()})


@pytest.mark.parametrize("role", ROLES)
def test_a_roles_page_lists_its_variables(role: str) -> None:
    page = (REPOSITORY / "roles" / role / "README.md").read_text()
    options = yaml.safe_load((REPOSITORY / "roles" / role / "meta" / "argument_specs.yml").read_text())
    variables = [line.split("`")[1] for line in page.splitlines() if line.startswith("| `vserver_")]
    assert variables == list(options["argument_specs"]["main"]["options"])


# ---- the glue, with a lifecycle that does what a test tells it


class FakeLifecycle(ModuleType):
    """Remembers its calls, and answers with an outcome or an error."""

    def __init__(self) -> None:
        super().__init__("lifecycle")
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self.answer = Outcome(False)
        self.error: Exception | None = None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def call(*arguments: Any, **keywords: Any) -> Outcome:
            self.calls.append((name, arguments[1:], keywords))
            if self.error is not None:
                raise self.error
            return self.answer

        return call


@pytest.fixture
def lifecycle(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeLifecycle]:
    fake = FakeLifecycle()
    engine = importlib.import_module(f"{COLLECTION}.module_utils._engine")
    monkeypatch.setattr(engine, "lifecycle", fake, raising=False)
    monkeypatch.setitem(sys.modules, f"{COLLECTION}.module_utils._engine.lifecycle", fake)
    info = importlib.import_module(f"{COLLECTION}.module_utils._engine.info")
    monkeypatch.setattr(info, "guest", lambda _site, name: {"name": name})
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    yield fake


def run(name: str, capsys: pytest.CaptureFixture[str], parameters: dict[str, Any], **internal: Any) -> dict[str, Any]:
    """Run a module in this process and return its result."""
    given = {**parameters, **{f"_ansible_{key}": value for key, value in internal.items()}}
    with patch_module_args(given), pytest.raises(SystemExit):
        importlib.import_module(f"{COLLECTION}.modules.{name}").main()
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def test_what_is_not_given_reaches_the_engine_as_none(
    lifecycle: FakeLifecycle, capsys: pytest.CaptureFixture[str]
) -> None:
    run("limits", capsys, {"name": "web1", "memory": "512M", "cpus": 1.5})
    assert lifecycle.calls == [
        (
            "configure",
            ("web1", "limits", {**dict.fromkeys(arguments.FACETS["limits"]), "memory": "512M", "cpus": "1.5"}),
            {"check": False, "restart": False},
        )
    ]


@pytest.mark.parametrize(
    ("name", "parameters", "call"),
    [
        ("clone", {"name": "web1", "state": "absent"}, "remove_root"),
        ("clone", {"name": "web1", "template": "debian-12"}, "configure"),
        ("context", {"name": "web1", "state": "absent"}, "set_state"),
        ("address_binding", {"name": "web1", "addresses": []}, "configure"),
        ("capabilities", {"name": "web1", "drop": ["mknod"]}, "configure"),
    ],
)
def test_check_mode_reaches_the_engine(
    name: str, parameters: dict[str, Any], call: str, lifecycle: FakeLifecycle, capsys: pytest.CaptureFixture[str]
) -> None:
    run(name, capsys, parameters, check_mode=True)
    assert [(called, keywords["check"]) for called, _arguments, keywords in lifecycle.calls] == [(call, True)]


@pytest.mark.parametrize("diff", [True, False])
def test_an_outcome_becomes_a_result(diff: bool, lifecycle: FakeLifecycle, capsys: pytest.CaptureFixture[str]) -> None:
    lifecycle.answer = Outcome(True, {"memory": None}, {"memory": 1}, restart_required=("xid: another",))
    result = run("limits", capsys, {"name": "web1"}, diff=diff)
    expected = {
        "changed": True,
        "guest": {"name": "web1"},
        "restart_required": True,
        "restart_reasons": ["xid: another"],
        **({"diff": {"before": {"memory": None}, "after": {"memory": 1}}} if diff else {}),
    }
    assert {key: result.get(key) for key in expected} == expected
    assert ("diff" in result) is diff
    assert "warnings" not in result


def test_warnings_are_shown(
    lifecycle: FakeLifecycle, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Other tests load Ansible's controller, which would take the warnings.
    monkeypatch.setattr("ansible.module_utils._internal.is_controller", False)
    lifecycle.answer = Outcome(True, warnings=("sshd is in the way", "named is in the way"))
    said = json.dumps(run("context", capsys, {"name": "web1", "state": "started"})["warnings"])
    assert "sshd is in the way" in said and "named is in the way" in said


def no_space() -> OSError:
    return OSError(28, "No space left on device", "/var/lib/vserver/x")


@pytest.mark.parametrize(
    ("error", "message", "why"),
    [
        (Conflict("start web1", "xid taken", "Choose another."), "start web1: xid taken. Choose another.", "xid taken"),
        (no_space(), "/var/lib/vserver/x: No space left on device (test_arguments.py line", "No space left on device"),
        (KeyError("gone"), "defect in linux.vserver at test_arguments.py line", "KeyError: 'gone'"),
        (ImportError("No module", name="pyroute2.netlink"), "python3-pyroute2", None),
    ],
    ids=["foreseen", "system", "defect", "library"],
)
def test_an_error_becomes_a_sentence(
    error: Exception,
    message: str,
    why: str | None,
    lifecycle: FakeLifecycle,
    capsys: pytest.CaptureFixture[str],
) -> None:
    lifecycle.error = error
    result = run("context", capsys, {"name": "web1"})
    assert result["failed"] is True
    assert message in result["msg"]
    assert result.get("why") == why
    assert "Traceback" not in json.dumps(result)


def test_only_root_may(
    lifecycle: FakeLifecycle, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    result = run("context", capsys, {"name": "web1"})
    assert result["failed"] is True and "become: true" in result["msg"]
    assert not lifecycle.calls


def test_nothing_but_linux_will_do(
    lifecycle: FakeLifecycle, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "freebsd14")
    assert "Linux" in run("context", capsys, {"name": "web1"})["msg"]


@pytest.mark.parametrize(
    ("name", "parameters", "complaint"),
    [
        ("limits", {}, "missing required arguments: name"),
        ("context", {}, "one of the following is required: name, command"),
        ("context", {"name": "web1", "command": ["id"]}, "mutually exclusive: command|name"),
        ("context", {"command": ["id"], "timeout": 3}, "mutually exclusive: command|timeout"),
        ("context", {"command": ["id"], "state": "started"}, "a command is run once"),
        ("context", {"command": ["id"], "restart": True}, "a command is run once"),
        ("context", {"name": "web1", "root": "debian-12"}, "missing parameter(s) required by 'root': command"),
        ("context", {"name": "web1", "state": "gone"}, "value of state must be one of"),
        ("context", {"name": "web1", "xid": "many"}, "xid"),
        ("context", {"name": "web1", "autostart": "perhaps"}, "autostart"),
        ("limits", {"name": "web1", "rlimits": "many"}, "rlimits"),
        ("limits", {"name": "web1", "memry": "1G"}, "memry"),
        ("address_binding", {"name": "web1", "network": "bridge"}, "value of network must be one of"),
        ("address_binding", {"name": "web1", "addresses": {"a": 1}}, "addresses"),
        ("clone", {"name": "web1", "method": "zfs"}, "value of method must be one of"),
    ],
)
def test_an_argument_of_the_wrong_kind_is_refused(
    name: str,
    parameters: dict[str, Any],
    complaint: str,
    lifecycle: FakeLifecycle,
    capsys: pytest.CaptureFixture[str],
) -> None:
    result = run(name, capsys, parameters)
    assert result["failed"] is True and complaint in result["msg"]
    assert not lifecycle.calls
