# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One call into the engine as one Ansible module: its checks, its errors and its report.

The engine is imported inside the calls, so that a host without its libraries gets an answer instead of a traceback.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from .._engine.errors import InvalidInput, VserverError
from .._engine.outcome import Outcome
from .._engine.site import Site
from . import arguments, engine

#: What the engine imports beyond the standard library, and the package that brings it.
_LIBRARIES = {
    "psutil": "package python3-psutil on Debian, Ubuntu, Fedora and RHEL",
    "pyroute2": "package python3-pyroute2 on Debian, Ubuntu, Fedora and RHEL",
}


class Module(AnsibleModule):
    """A module, and beside its options what the action has given it."""

    def __init__(self, argument_spec: arguments.Spec, **checks: Any) -> None:
        super().__init__(argument_spec={**argument_spec, **engine.OPTIONS}, supports_check_mode=True, **checks)
        self.version, self.brought = (self.params.pop(name, None) for name in ("_version", "_engine"))


def change(
    argument_spec: arguments.Spec,
    operate: Callable[[Site, dict[str, Any], bool], Outcome],
    *,
    subject: str | Callable[[dict[str, Any]], str] = "guest",
    **checks: Any,
) -> None:
    """Run a module that changes the host.

    * operate: called with the site, the module's parameters and whether this is check mode
    * subject: the result's key for what the module is about; or what tells it from the module's parameters
    * checks: further arguments of AnsibleModule (``required_if`` and the like)
    """
    perform(Module(argument_spec, **checks), operate, subject)


def perform(
    module: Module,
    operate: Callable[[Site, dict[str, Any], bool], Outcome],
    subject: str | Callable[[dict[str, Any]], str] = "guest",
) -> None:
    """What :func:`change` does with a module whose arguments have been read."""
    site, about = Site(), subject if isinstance(subject, str) else subject(module.params)

    def done() -> tuple[Outcome, dict[str, Any]]:
        outcome = operate(site, dict(module.params), module.check_mode)
        return outcome, engine.load("info").guest(site, module.params["name"]) if about == "guest" else outcome.subject

    outcome, told = _guarded(module, done)
    for text in (*outcome.warnings, *(_another_program(module) if about == "guest" else ())):
        module.warn(text)
    result: dict[str, Any] = {"changed": outcome.changed, about: told}
    if about in ("guest", "service", "engine"):
        result["restart_required"] = bool(outcome.restart_required)
        result["restart_reasons"] = list(outcome.restart_required)
    if module._diff:
        result["diff"] = {"before": outcome.before, "after": outcome.after}
    module.exit_json(**result)


def run(module: Module, command: Callable[[Site, dict[str, Any]], Any]) -> None:
    """Run a command for a module, but in check mode; ``command`` returns :class:`.._engine.throwaway.Ran`."""
    if module.check_mode:
        module.exit_json(changed=False, skipped=True, msg="the command is not run in check mode")
    ran = _guarded(module, lambda: command(Site(), dict(module.params)))
    stdout, stderr = (text.decode(errors="replace") for text in (ran.stdout, ran.stderr))
    result: dict[str, Any] = {"changed": True, "rc": ran.status, "stdout": stdout, "stderr": stderr}
    if ran.cut:
        kept = max(len(ran.stdout), len(ran.stderr)) >> 20
        module.fail_json(
            msg=f"the command wrote more than {kept} MiB to its {' and '.join(ran.cut)}; the beginning is kept. "
            f"It ended with exit status {ran.status}. Have it write less, or elsewhere.",
            truncated=list(ran.cut),
            **result,
        )
    if ran.status:
        module.fail_json(msg=f"the command ended with exit status {ran.status}", **result)
    module.exit_json(**result)


def configure(facet: str) -> None:
    """Run a module whose whole work is to configure one facet of a guest."""

    def operate(site: Site, params: dict[str, Any], check: bool) -> Any:
        options, restart = arguments.facet_options(facet, params), params["restart"]
        return engine.load("lifecycle").configure(site, params["name"], facet, options, check=check, restart=restart)

    change(arguments.facet_spec(facet), operate)


def wish(params: dict[str, Any], keep_data: bool | None = None) -> Any:
    """What the parameters of :func:`.arguments.guest_spec` ask for, as the engine takes it.

    * keep_data: what holds for an absent guest that does not say
    """
    keep = keep_data if params["keep_data"] is None else params["keep_data"]
    if params["state"] == "absent" and keep is None:
        raise InvalidInput(
            f"guest {params['name']} shall be absent, and nothing says whether its data stay",
            remedy="Give keep_data: false removes them for good, true keeps the clone.",
        )
    asked = (params["name"], arguments.all_options(params), params["state"], params["restart"], keep is not False)
    return engine.load("wish").Wish(*asked)


def change_all(
    argument_spec: arguments.Spec, operate: Callable[[Site, dict[str, Any], bool], list[Any]], **checks: Any
) -> None:
    """Run a module that changes many guests; ``operate`` returns a result of :mod:`.._engine.fleet` for each.

    It fails at the end when one of them did, and tells of all the others all the same.
    """
    module = Module(argument_spec, **checks)
    results = _guarded(module, lambda: operate(Site(), dict(module.params), module.check_mode))
    answer: dict[str, Any] = {
        "changed": any(each.outcome.changed for each in results),
        "restart_required": any(each.outcome.restart_required for each in results),
        "results": [_result(each) for each in results],
        # Shown only to who asks for it (-vvv), and the controller would look at each guest's options several times.
        "invocation": {"module_args": _given(module.params) if module._verbosity > 2 else {}},
    }
    for text in (*(text for each in results for text in each.outcome.warnings), *_another_program(module)):
        module.warn(text)
    if module._diff:
        answer["diff"] = [
            {
                "before_header": f"guest {each.name}",
                "after_header": f"guest {each.name}",
                "before": each.outcome.before,
                "after": each.outcome.after,
            }
            for each in results
            if each.outcome.changed
        ]
    failed = [f"{each.name}: {each.error}" for each in results if each.error is not None]
    if failed:
        module.fail_json(msg=f"{len(failed)} of {len(results)} guests failed. " + " | ".join(failed), **answer)
    module.exit_json(**answer)


def _given(value: Any) -> Any:
    """A module's parameters without those that are None, in lists and dictionaries as well (pure)."""
    if isinstance(value, dict):
        return {key: _given(each) for key, each in value.items() if each is not None}
    return [_given(each) for each in value] if isinstance(value, list) else value


def _result(each: Any) -> dict[str, Any]:
    """What became of one guest of many."""
    outcome = each.outcome
    result = {
        "name": each.name,
        "changed": outcome.changed,
        "failed": each.error is not None,
        "restart_required": bool(outcome.restart_required),
        "restart_reasons": list(outcome.restart_required),
        "diff": {"before": outcome.before, "after": outcome.after},
    }
    if each.error is not None:
        result.update(msg=str(each.error), what=each.error.what, why=each.error.why, remedy=each.error.remedy)
    return result


def inform(
    argument_spec: arguments.Spec, read: Callable[[Site, dict[str, Any]], dict[str, Any]], **checks: Any
) -> None:
    """Run a module that only looks; ``read`` returns the result's keys."""
    module = Module(argument_spec, **checks)
    module.exit_json(changed=False, **_guarded(module, lambda: read(Site(), dict(module.params))))


def _another_program(module: Module) -> tuple[str, ...]:
    """What to say of a host whose program is not this collection's."""
    program = Site().program
    if not engine.is_other(program, module.version):
        return ()
    return (
        f"{program} on host {os.uname().nodename} is of another version than this collection. It is what enters "
        "guests, and what systemd starts them with: run playbook linux.vserver.host, or module linux.vserver.engine.",
    )


def _guarded(module: Module, call: Callable[[], Any]) -> Any:
    """Return what ``call`` returns; whatever it raises becomes the module's failure, in words."""
    if not sys.platform.startswith("linux"):
        module.fail_json(msg=f"linux.vserver works on Linux; this host is {sys.platform}")
    if os.geteuid() != 0:
        module.fail_json(msg=f"this needs root on the host, and ran as uid {os.geteuid()}. Use 'become: true'.")
    try:
        if not engine.provide(Site().program, module.version, module.brought, lambda: str(module.tmpdir)):
            module.fail_json(msg="the host has another engine than the controller, or none", lacks_engine=True)
        return call()
    except VserverError as error:
        failure = {"msg": str(error), "what": error.what, "why": error.why, "remedy": error.remedy}
    except ImportError as error:
        library = (error.name or "").partition(".")[0]
        if library in _LIBRARIES:
            failure = {"msg": f"{missing_required_lib(library)} It is the {_LIBRARIES[library]}."}
        else:
            failure = _unforeseen(error)
    except Exception as error:
        failure = _unforeseen(error)
    return module.fail_json(**failure)


def _unforeseen(error: Exception) -> dict[str, Any]:
    """What to say of an error the engine did not put into words: where and what, in one line."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{os.path.basename(frame.filename)} line {frame.lineno}"
    if isinstance(error, OSError):
        what = " ".join(str(name) for name in (error.filename, error.filename2) if name is not None) or "a system call"
        why = error.strerror or str(error)
        return {"msg": f"{what}: {why} ({place})", "what": what, "why": why, "remedy": None}
    what = f"defect in linux.vserver at {place}"
    why = f"{type(error).__name__}: {error}"
    remedy = "Please report this line with the task that led to it."
    return {
        "msg": f"{what}: {why}. {remedy}",
        "what": what,
        "why": why,
        "remedy": remedy,
        # Shown only where the user asked for tracebacks (DISPLAY_TRACEBACK).
        "exception": traceback.format_exc(),
    }
