# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What others test their own programs with: how each of their tests ends in a guest, and why when it does not pass.

The tables are those of Debian 12's packages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

SUITE = "bookworm"
#: A program's name, its exit status or None when it did not end in time, and what it said.
Result = tuple[str, int | None, str]
#: One after another, as many side by side as asked for, each with a time to end and nothing left behind by the last.
#: Arguments: seconds, how many, and a shell command to run after each; programs come line by line. Prints a list.
RUN = """
import concurrent.futures, json, os, signal, subprocess, sys
seconds, width, afterwards = float(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
def run(program):
    child = subprocess.Popen([program], cwd="/tmp", start_new_session=True, errors="replace", **quiet)
    try:
        output = child.communicate(timeout=seconds)[0]
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        output = child.communicate()[0]
        child.returncode = None
    subprocess.run(["sh", "-c", afterwards], **quiet)
    return [os.path.basename(program), child.returncode, output]
with concurrent.futures.ThreadPoolExecutor(width) as pool:
    json.dump(list(pool.map(run, sys.stdin.read().split())), sys.stdout)
"""


@dataclass(frozen=True)
class Unlike:
    """Programs that do not pass, for one reason.

    * how: ``fails``, or ``skips`` where the program leaves itself out
    * programs: by name, what the output of each has to say then
    """

    reason: str
    how: str
    programs: Mapping[str, str]


#: systemd's unit tests. All others pass.
SYSTEMD = (
    Unlike("nobody asks for slow ones", "skips", {"test-barrier": "slow tests are disabled"}),
    Unlike("a guest has no firmware", "skips", {"test-boot-timestamps": "access to firmware variables not possible"}),
    Unlike(
        "a guest loads no BPF programs",
        "skips",
        {
            "test-bpf-devices": "BPF device filter not supported",
            "test-bpf-firewall": "fails inside LXC and Docker containers",
            "test-bpf-foreign-programs": "fails inside LXC and Docker containers",
            "test-bpf-lsm": "LSM BPF hooks are not supported",
        },
    ),
    Unlike("no user is logged in", "skips", {"test-bus-chat": "Failed to connect to user bus"}),
    Unlike("a guest has no packet sockets", "skips", {"test-dhcp-server": "Address family not supported"}),
    Unlike("a guest has no raw sockets", "fails", {"test-capability": "Assertion 'sock >= 0' failed"}),
    Unlike(
        "a guest has no generic netlink",
        "fails",
        {"test-netlink": "sd_genl_socket_open(&genl) >= 0", "test-network": "manager_setup(manager) >= 0"},
    ),
    Unlike("/sys is read-only", "skips", {"test-execute": "/sys is mounted read-only"}),
    Unlike("masked files are devices", "fails", {"test-fileio": '"/proc/kallsyms", 0): Bad file descriptor'}),
    Unlike("settings of the host's kernel", "skips", {"test-procfs-util": "can't set tasks limit"}),
    Unlike(
        "it looks for devices, and asks first whether it is in a container",
        "skips",
        {"test-loop-block": "requires udev/uevent", "test-sd-device-monitor": "Running in container"},
    ),
    Unlike("an overlay is the root", "skips", {"test-recurse-dir": "false-positives on overlayfs"}),
    Unlike(
        "libraries nobody asked for",
        "fails",
        {
            "test-dlopen-so": "is not installed",
            "test-nss-hosts": "Failed to load module myhostname",
            "test-nss-users": "Failed to load module systemd",
        },
    ),
)

#: LXC's tests, most of which make containers, here inside a guest. All others pass.
LXC = (
    Unlike(
        "a guest has no bridge",
        "fails",
        {
            "lxc-test-apparmor-mount": "lxcbr0 is not configured",
            "lxc-test-cloneconfig": "FAIL",
            "lxc-test-createtest": "failed to start lxctest1",
            "lxc-test-shutdowntest": "failed to start lxctest1",
        },
    ),
    Unlike(
        "nobody goes back to the host's network namespace: who waits for a container in the foreground gets an error",
        "fails",
        {"lxc-test-exit-code": "Failed to enter network namespace"},
    ),
    Unlike("it asks for controllers of version 1", "fails", {"lxc-test-cgpath": "cgroup_get failed"}),
    Unlike(
        "it makes control groups of version 1",
        "fails",
        {"lxc-test-unpriv": "cgroup.controllers/lxctest", "lxc-test-usernic": "cgroup.controllers/lxctest"},
    ),
    Unlike(
        "a guest has 65536 ids, and those above are nobody's",
        "fails",
        {"lxc-test-usernsexec": "newuidmap: write to uid_map failed: Operation not permitted"},
    ),
    Unlike(
        "a guest's root is not the host's",
        "fails",
        {
            "lxc-test-device-add-remove": "not currently supported with unprivileged containers",
            "lxc-test-mount-injection": "Privileged mount injection test failed",
            "lxc-test-proc-pid": "Failed to setup proc filesystem oom_score_adj to -1000",
            "lxc-test-sysctls": 'Failed to setup container "test-proc-sys"',
        },
    ),
    Unlike("a guest has no raw sockets", "fails", {"lxc-test-no-new-privs": "Managed to ping localhost"}),
    Unlike("no overlay lies on the overlay of a guest's root", "fails", {"lxc-test-snapdeps": ""}),
    Unlike(
        "it takes the kernel for one before Linux 3.4, though a container in a guest may reboot itself",
        "fails",
        {"lxc-test-reboot": "container reboot patch"},
    ),
    Unlike(
        "what it needs is not installed",
        "skips",
        {"lxc-test-apparmor-generated": "apparmor_parser missing", "lxc-test-checkpoint-restore": "no (or wrong) criu"},
    ),
)
#: Not run: they start containers by the hundred, or do little but wait.
LXC_SLOW = tuple(f"lxc-test-{name}" for name in ("api-reboot", "autostart", "console-log", "share-ns", "state-server"))


def _how(status: int | None, output: str) -> str:
    if status is None:
        return "hangs"
    if status == 77 or (status == 0 and "SKIP:" in output):
        return "skips"
    return "fails" if status else "passes"


def surprises(table: Sequence[Unlike], results: Sequence[Result]) -> Iterator[str]:
    """What differs from a table, told with the end of the output: other ends, other reasons, missing programs."""
    expected = {name: (entry.how, words) for entry in table for name, words in entry.programs.items()}
    for name, status, output in results:
        how, words = expected.pop(name, ("passes", ""))
        found = _how(status, output)
        if found != how or words not in output:
            yield f"{name} {found} ({status}), expected: {how} {words!r}\n{output[-1500:]}"
    yield from (f"{name} was not run" for name in expected)
