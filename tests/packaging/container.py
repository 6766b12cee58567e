"""The container as its users meet it, without an engine: tests/packaging/container.py BIN

BIN is the ringpost binary. What packaging/Dockerfile puts into the image is laid into a folder, with the C library that
the program here is linked with in place of distroless'; runc, by which Docker does it, runs it with what the
Dockerfile says (user, variables, command, health check, signal), as compose.yaml does (read-only, without capabilities),
under packaging/seccomp.json. Needs runc, and root or sudo. Ends with "N passed, N failed".
"""

import copy
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGING = ROOT / "packaging"
BIN = Path(sys.argv[1]).resolve()
TOKEN = "0123456789abcdef"
# Generous, for the machine may be busy building.
PATIENCE = 60
AS_ROOT = [] if os.geteuid() == 0 else ["sudo"]
RUNC = [*AS_ROOT, "runc"]


def instructions(name):
    """The rest of each line of the Dockerfile's last stage that begins with it."""
    stage = re.sub(r"\\\n", " ", (PACKAGING / "Dockerfile").read_text()).split("\nFROM ")[-1]
    return re.findall(rf"^{name} (.*)$", stage, re.MULTILINE)


def lay(image):
    """The image's files below a folder."""
    build = re.sub(r"\\\n", " ", (PACKAGING / "Dockerfile").read_text())
    for source, target in re.findall(r"install -D[^&]*? (\S+) /image/(\S+)", build):
        source = BIN if source == "target/dist/ringpost" else ROOT / source
        (image / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, image / target)
    for line in subprocess.run(["ldd", BIN], check=True, capture_output=True, text=True).stdout.splitlines():
        for library in re.findall(r"(/\S+)", line)[:1]:
            (image / library[1:]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(os.path.realpath(library), image / library[1:])
    for folder in ("dev", "proc", "sys", "tmp"):
        (image / folder).mkdir()


def profile(without=()):
    """The seccomp profile as a runtime is given it, less these calls."""
    docker = json.loads((PACKAGING / "seccomp.json").read_text())
    architectures = [one["architecture"] for one in docker["archMap"]]
    calls = []
    for entry in docker["syscalls"]:
        entry = {**entry, "names": [name for name in entry["names"] if name not in without]}
        entry.pop("comment", None)
        calls += [entry] if entry["names"] else []
    return {"defaultAction": docker["defaultAction"], "defaultErrnoRet": docker["defaultErrnoRet"],
            "architectures": architectures, "syscalls": calls}


def specification(seccomp, variables, arguments):
    user, group = (int(one) for one in instructions("USER")[0].split(":"))
    command = json.loads(instructions("ENTRYPOINT")[0]) + (arguments or json.loads(instructions("CMD")[0]))
    env = ["PATH=/usr/local/bin:/usr/bin:/bin", *instructions("ENV"), *(f"{k}={v}" for k, v in variables.items())]
    mount = lambda target, kind, *options: {"destination": target, "type": kind, "source": kind, "options": [*options]}
    return {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": user, "gid": group}, "args": command, "env": env, "cwd": "/", "noNewPrivileges": True,
            "capabilities": {}, "rlimits": [],
        },
        "root": {"path": "image", "readonly": True},
        "mounts": [
            mount("/proc", "proc", "nosuid", "noexec", "nodev"),
            mount("/dev", "tmpfs", "nosuid", "mode=755", "size=64k"),
            mount("/sys", "sysfs", "nosuid", "noexec", "nodev", "ro"),
        ],
        "linux": {"namespaces": [{"type": one} for one in ("pid", "mount", "ipc", "uts", "network")],
                  "seccomp": copy.deepcopy(seccomp)},
    }


class Container:
    """One that runs, until the end of a `with`."""

    def __init__(self, bundle, seccomp, arguments=(), **variables):
        self.bundle, self.name = bundle, f"ringpost-{os.getpid()}-{time.monotonic_ns()}"
        text = json.dumps(specification(seccomp, variables, list(arguments)))
        (bundle / "config.json").write_text(text)

    def __enter__(self):
        self.output = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen([*RUNC, "run", "--bundle", self.bundle, self.name], stdout=self.output,
                                        stderr=self.output, stdin=subprocess.DEVNULL)
        return self

    def __exit__(self, *_):
        subprocess.run([*RUNC, "delete", "--force", self.name], capture_output=True)
        self.process.wait(PATIENCE)

    def log(self):
        self.output.seek(0)
        return self.output.read()

    def run(self, *command):
        return subprocess.run([*RUNC, "exec", self.name, *command], capture_output=True, text=True, timeout=PATIENCE)

    def until_healthy(self):
        check, = instructions("HEALTHCHECK")
        command = json.loads(check.split("CMD ")[1])
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            answer = self.run(*command)
            if answer.returncode == 0:
                return
            assert self.process.poll() is None, self.log()
            time.sleep(0.1)
        raise AssertionError(f"not healthy: {answer.stderr}\n{self.log()}")

    def status(self):
        """What the kernel knows of the process in it."""
        state = json.loads(subprocess.run([*RUNC, "state", self.name], check=True, capture_output=True).stdout)
        lines = Path(f"/proc/{state['pid']}/status").read_text().splitlines()
        return {line.split(":")[0]: line.split(":")[1].split() for line in lines}

    def stop(self):
        """As `docker stop` does it: its status, within the 10 s before which it is not killed."""
        begun = time.monotonic()
        signal, = instructions("STOPSIGNAL")
        subprocess.run([*RUNC, "kill", self.name, signal], check=True)
        status = self.process.wait(PATIENCE)
        return status, time.monotonic() - begun


def serves_by_io_uring_under_its_profile(bundle):
    with Container(bundle, profile(), RINGPOST_BACKEND_TOKEN=TOKEN) as container:
        container.until_healthy()
        assert "driver=io_uring" in container.log() and "WARN io_uring" not in container.log(), container.log()
        status = container.status()
        assert status["Uid"] == ["65532"] * 4 and int(status["CapEff"][0], 16) == 0, status
        assert status["Seccomp"] == ["2"] and status["NoNewPrivs"] == ["1"], status
        for load in ("push", "relay"):
            measured = container.run("ringpost", "bench", load, "--connections", "50", "--seconds", "1",
                                     "--url", "ws://127.0.0.1:" + ("1235" if load == "push" else "1234"))
            assert measured.returncode == 0, measured.stdout + measured.stderr
        counted = container.run("ringpost", "stats", "--json")
        assert json.loads(counted.stdout)["binds"] >= 100, counted
        status, took = container.stop()
        assert status == 0 and took < 10, (status, took, container.log())


def without_io_uring_epoll_takes_over(bundle):
    docker_s = profile(without=("io_uring_setup", "io_uring_enter", "io_uring_register", "unshare"))
    with Container(bundle, docker_s, RINGPOST_BACKEND_TOKEN=TOKEN) as container:
        container.until_healthy()
        log = container.log()
        assert "driver=epoll" in log and log.count("WARN io_uring cannot be used") == 1, log
        pushed = container.run("ringpost", "push", "nobody", "hello")
        assert pushed.returncode == 1 and "no connection" in pushed.stderr, pushed
        assert container.stop()[0] == 0


def a_table_for_each_core_is_let_through(bundle):
    arguments = ["serve", "--cores", "2", "--descriptor-tables", "per_core"]
    with Container(bundle, profile(), arguments, RINGPOST_BACKEND_TOKEN=TOKEN) as container:
        container.until_healthy()


def without_a_token_it_says_what_is_missing(bundle):
    with Container(bundle, profile()) as container:
        assert container.process.wait(PATIENCE) == 2
        assert "RINGPOST_BACKEND_TOKEN" in container.log(), container.log()


def nothing_but_the_program_is_there(bundle):
    with Container(bundle, profile(), RINGPOST_BACKEND_TOKEN=TOKEN) as container:
        container.until_healthy()
        assert container.run("sh", "-c", "true").returncode != 0
        assert container.run("ringpost", "man", "/tmp").returncode == 1


CHECKS = [
    serves_by_io_uring_under_its_profile,
    without_io_uring_epoll_takes_over,
    a_table_for_each_core_is_let_through,
    without_a_token_it_says_what_is_missing,
    nothing_but_the_program_is_there,
]


def main():
    failed = 0
    with tempfile.TemporaryDirectory() as scratch:
        bundle = Path(scratch)
        bundle.chmod(0o755)
        lay(bundle / "image")
        for check in CHECKS:
            try:
                check(bundle)
            except Exception:
                failed += 1
                print(f"FAILED {check.__name__.replace('_', ' ')}")
                traceback.print_exc(file=sys.stdout)
    print(f"{len(CHECKS) - failed} passed, {failed} failed")
    return 1 if failed else 0


sys.exit(main())
