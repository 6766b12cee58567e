"""The steps of `tests/run`, and how they are run: two at a time, each with a log of its own."""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or "target")
BINARY = TARGET / "debug" / "ringpost"
VENV = Path("tests/.venv")

# So many steps at once. Most either compile or wait, and one of each fits two CPUs.
SLOTS = 2

# How often a step that is under way says so, in seconds.
PROGRESS = 30

# What is under the library's public API is open to benchmarks and to some tests, so all is built with it, once.
INTERNALS = ["--features", "internals"]

# So many lines of its log are shown of a step that has failed.
TAIL = 40

HELP = """\
Runs the tests and ends with "N passed, N failed", counting steps.

  tests/run          what finds most: format, clippy, unit tests and the simulation, end to end, PHP, Python,
                     the page, the clients of Workerman's manual
  tests/run --all    every test there is; what continuous integration runs
  tests/run --full   every test, and none of them shortened: an hour and more

Wants Rust and a Debian-like system: what else is needed is installed by apt-get (as root or by sudo), and from PyPI
into tests/.venv. A step that cannot be run has failed. Logs go to target/tests. CARGO_TARGET_DIR is honoured."""


class Step:
    """One thing to run. `needs` names steps that must have passed; `compiles` says what it mostly does."""

    def __init__(self, name, command, needs=(), compiles=False, quick=False, env=None):
        self.name, self.command, self.needs = name, command, tuple(needs)
        self.compiles, self.quick, self.env = compiles, quick, env or {}
        self.number = self.process = self.start = None
        self.state = "waits"

    def log(self):
        return TARGET / "tests" / (self.name.replace(" ", "-").replace(",", "") + ".log")

    def last_line(self):
        with open(self.log(), "rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 2000))
            lines = [plain(line) for line in log.read().decode(errors="replace").splitlines()]
        return next((line.strip() for line in reversed(lines) if line.strip()), "")


def steps(full):
    """All of them, each after what it needs."""
    shell = lambda *lines: ["bash", "-euc", "\n".join(lines)]
    python = f"{VENV}/bin/python"
    others = " ".join(f"--test {path.stem}" for path in sorted(Path("tests").glob("*.rs")))
    cargo = {"RUST_TEST_THREADS": os.environ.get("RUST_TEST_THREADS", "6")}
    ready = ["packages", "build"]
    in_python = [*ready, "python packages"]
    return [
        Step("packages", ["tests/packages"], quick=True),
        Step("build", ["cargo", "build", "--all-targets", *INTERNALS], ["packages"], compiles=True, quick=True),
        Step("format", shell("cargo fmt --all --check",
                             "for one in fuzz loom; do cargo fmt --check --manifest-path tests/$one/Cargo.toml; done"),
             quick=True),
        Step("python packages", shell(*install_python()), ["packages"], quick=True),
        Step("end to end", ["cargo", "test", "--no-fail-fast", *INTERNALS, "--test", "e2e"], ["build"], quick=True,
             env={**cargo, **({"E2E_FULL": "1"} if full else {})}),
        # And what a library's user may leave out, left out.
        Step("clippy", shell(f"cargo clippy --all-targets {' '.join(INTERNALS)} -- -D warnings",
                             "cargo clippy --no-default-features -- -D warnings"), ["build"], compiles=True, quick=True),
        Step("documentation", ["cargo", "doc", "--no-deps"], ["clippy"], compiles=True, quick=True,
             env={"RUSTDOCFLAGS": "-D warnings"}),
        # All but those end to end, which take as long as the others together.
        Step("cargo test", shell(f"cargo test --no-fail-fast {' '.join(INTERNALS)} --lib --bins --examples {others}",
                                 f"cargo test --no-fail-fast {' '.join(INTERNALS)} --doc"), ["build"], quick=True, env=cargo),
        # What comes from enemies, once more by TLS. One of them looks for its address in the log.
        Step("hostile by TLS", ["cargo", "test", "--no-fail-fast", *INTERNALS, "--test", "e2e", "--", "hostile", "bad_",
                                "codec_websocket", "trouble_resets", "--skip", "tls::", "--skip", "the_log_names_what_came"],
             ready, env={**cargo, "E2E_TLS": "1"}),
        Step("php", shell(f"php -d display_errors=stderr tests/php/backend.php {BINARY}",
                          "php -d display_errors=stderr tests/php/baseline.php"), ready, quick=True),
        Step("python", shell(*(f"{python} tests/python/test_{one}.py {BINARY}"
                               for one in ("websockets", "v1", "events", "openapi"))), in_python, quick=True),
        Step("page", ["tests/page/run", BINARY], in_python, quick=True),
        Step("manual", ["tests/manual/run", BINARY], in_python, quick=True),
        Step("address sanitizer", ["tests/asan", *([] if full else ["--short"])], ["clippy"], compiles=True),
        Step("conformance", ["tests/conformance/run", BINARY, *(["--full"] if full else [])], ready),
        Step("fuzzing", ["tests/fuzz/run"], ["clippy"], compiles=True),
        Step("metrics", ["tests/metrics/run", BINARY], in_python),
        Step("sdk", ["sdk/js/tests/run", BINARY], ready),
        Step("instructions", ["benches/instructions/check"], ["clippy"], compiles=True),
        Step("20,000 connections", shell(f"tuning/prove 20000 --rest 2 --binary {BINARY}",
                                         f"tuning/prove {100_000 if full else 10_000} --upgrade --rest 1 --binary {BINARY}"),
             ready),
        Step("loom", ["cargo", "test", "--manifest-path", "tests/loom/Cargo.toml"], ["build"], compiles=True,
             env={"RUSTFLAGS": "--cfg loom", "CARGO_TARGET_DIR": str(TARGET / "loom")}),
        Step("haproxy", ["python3", "tests/haproxy/haproxy.py", BINARY], ready),
        Step("cluster", shell(f"python3 tests/cluster/cluster.py {BINARY}",
                              f"python3 tests/cluster/upgrades.py {BINARY}"), ready),
        Step("cluster connections", ["python3", "tests/cluster/connections.py", BINARY], ready),
        Step("cluster claims", ["python3", "tests/cluster/claims.py", BINARY], ready),
        Step("cluster presence", ["python3", "tests/cluster/presence.py", BINARY], ready),
        Step("cluster outages", ["python3", "tests/cluster/outages.py", BINARY], ready),
        Step("cluster ends", ["python3", "tests/cluster/ends.py", BINARY], ready),
        Step("cluster shards", ["python3", "tests/cluster/shards.py", BINARY], ready),
        Step("cluster over several", shell(*over_several(python)), in_python),
        Step("cluster sticky", ["python3", "tests/cluster/sticky.py", BINARY], ready),
        Step("cluster streams", ["python3", "tests/cluster/streams.py", BINARY], ready),
        Step("cluster chat", [python, "tests/cluster/chat.py", BINARY], in_python),
        Step("cluster rolling", shell(f"{python} tests/cluster/rolling.py {BINARY}",
                                      f"python3 tests/cluster/operators.py {BINARY}"), in_python),
        Step("proxies", ["tests/proxies/run", BINARY], ready),
        Step("acme", ["tests/acme/run", BINARY], ready),
        Step("tuning", ["tests/tuning/run", BINARY], ready),
        Step("debian package", ["tests/packaging/debian", BINARY], ready),
        Step("container", shell(f"{python} tests/packaging/files.py {BINARY}",
                                f"{python} tests/packaging/stack.py {BINARY}",
                                f"python3 tests/packaging/container.py {BINARY}"), in_python),
        Step("crate", ["tests/packaging/crate", *(["--full"] if full else [])], ["clippy"], compiles=True),
        Step("dependencies", ["tests/dependencies/run", *(["--deny"] if full else [])], ["python packages"]),
        Step("micro-benchmarks", ["cargo", "test", "--quiet", *INTERNALS, "--bench", "micro"], ["build"]),
    ]


def over_several(python):
    """What has most to do with Redis, over a list of them and a Redis Cluster. By hand each file of tests/cluster can be."""
    chosen = [
        ("presence", "cluster", "members_see_each_other_on_all_nodes redis_may_go_and_come"),
        ("claims", "list", "of_many_at_once_one_stays while_redis_is_away_all_come_in_and_then_one_stays"),
        ("streams", "cluster", "chaos_1 a_client_recovers_on_another_node the_same_id_is_carried_out_once"),
        ("upgrades", "cluster", "the_others_do_not_see_an_upgrade what_is_kept_comes_once"),
        ("rolling", "list", "nobody_misses_anything_where_nodes_are_killed"),
        # And what has to do with time, by clocks that do not agree.
        ("claims", "one", "--clock +1h while_redis_is_away_all_come_in_and_then_one_stays first_and_last_are_the_clusters"),
        ("streams", "list", "--clock +1h a_client_recovers_on_another_node a_queue_is_had_on_any_node"),
    ]
    return [f"{python} tests/cluster/{one}.py {BINARY} --redis {redis} {names}" for one, redis, names in chosen]


def install_python():
    """Anew only if what it should hold has changed. One environment for all suites, made before any of them."""
    wanted = sorted(str(path) for path in Path("tests").glob("*/requirements.txt") if "conformance" not in str(path))
    files = " ".join(wanted)
    return [
        f"if cat {files} | cmp -s - {VENV}/installed.txt; then echo {VENV} holds what it should; exit; fi",
        f"rm -rf {VENV}",
        f"python3 -m venv {VENV}",
        f"{VENV}/bin/pip install --quiet --disable-pip-version-check {' '.join('-r ' + one for one in wanted)}",
        f"cat {files} > {VENV}/installed.txt",
    ]


def plain(line):
    """Without colours, and of a line that was written over and over its last form."""
    return re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", line).rsplit("\r", 1)[-1]


class Run:
    """The steps of one call."""

    def __init__(self, wanted):
        self.steps = wanted
        self.begun = 0
        self.start = time.monotonic()

    def say(self, text):
        print(f"tests/run: {text}", flush=True)

    def about(self, step, text):
        self.say(f"step {step.number} of {len(self.steps)}: {step.name}: {text}")

    def all(self):
        (TARGET / "tests").mkdir(parents=True, exist_ok=True)
        try:
            while any(step.state in ("waits", "runs") for step in self.steps):
                while self.begin_one():
                    pass
                time.sleep(0.1)
                self.look()
        finally:
            self.stop()
        failed = [step.name for step in self.steps if step.state == "failed"]
        if failed:
            self.say(f"failed: {', '.join(failed)}")
        self.say(f"took {time.monotonic() - self.start:.0f} s")
        print(f"{len(self.steps) - len(failed)} passed, {len(failed)} failed", flush=True)
        return 1 if failed else 0

    def begin_one(self):
        """Begins the first step that can be, one that compiles beside one that does not where there is a choice."""
        running = [step for step in self.steps if step.state == "runs"]
        states = {step.name: step.state for step in self.steps}
        if len(running) >= SLOTS:
            return False
        ready = []
        for step in (step for step in self.steps if step.state == "waits"):
            needs = [states.get(name, "passed") for name in step.needs]
            if "failed" in needs:
                self.begin(step)
                lacking = ", ".join(name for name in step.needs if states.get(name) == "failed")
                return self.end(step, False, f"needs {lacking}")
            if all(state == "passed" for state in needs):
                ready.append(step)
        if not ready:
            return False
        compiling = any(step.compiles for step in running)
        self.begin(next((step for step in ready if step.compiles != compiling), ready[0]), True)
        return True

    def begin(self, step, started=False):
        self.begun += 1
        step.number, step.start, step.told = self.begun, time.monotonic(), time.monotonic()
        if not started:
            return
        self.about(step, "begins")
        # Where a step has a terminal it draws; a log it can be asked for what it says. Failures show their own words.
        env = {**os.environ, "RUST_BACKTRACE": "0", "CARGO_TERM_COLOR": "never", "CARGO_TERM_PROGRESS_WHEN": "never",
               **step.env}
        with open(step.log(), "wb") as log:
            step.process = subprocess.Popen([str(part) for part in step.command], stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, env=env, start_new_session=True)
        step.state = "runs"

    def look(self):
        now = time.monotonic()
        for step in (step for step in self.steps if step.state == "runs"):
            code = step.process.poll()
            if code is not None:
                self.end(step, code == 0, f"status {code}")
            elif now - step.told >= PROGRESS:
                step.told = now
                self.about(step, f"{now - step.start:.0f} s: {step.last_line()[:100]}")

    def end(self, step, passed, why):
        step.state = "passed" if passed else "failed"
        took = f"{time.monotonic() - step.start:.0f} s"
        if passed:
            self.about(step, f"passed ({took})")
            return True
        self.about(step, f"FAILED ({took}, {why})")
        if step.process:
            self.show(step)
        return True

    def show(self, step):
        lines = [plain(line) for line in step.log().read_text(errors="replace").splitlines()]
        # Frames of a backtrace, should one be there all the same.
        lines = [line for line in lines if not re.match(r"\s+(\d+: |at )", line)]
        # Of cargo's test harness: what failed and what it said, not the names of all that passed.
        told = [at for at, line in enumerate(lines) if re.match(r"---- .* stdout ----$", line)]
        if told:
            lines = [line for line in lines[told[0]:] if not re.match(r"test .* \.\.\. ok$|running \d+ tests?$|$", line)]
            lines = lines[:TAIL]
        for line in lines[-TAIL:]:
            print(f"    {line}", flush=True)
        self.say(f"the whole of it is in {step.log()}")

    def stop(self):
        """Nobody's children are left, whatever ends this."""
        for step in (step for step in self.steps if step.state == "runs"):
            try:
                os.killpg(step.process.pid, signal.SIGTERM)
            except ProcessLookupError:
                pass


def main():
    parser = argparse.ArgumentParser(prog="tests/run", description=HELP, usage="tests/run [--all | --full] [STEP…]",
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    how_much = parser.add_mutually_exclusive_group()
    how_much.add_argument("--all", action="store_true", help="every test there is")
    how_much.add_argument("--full", action="store_true", help="every test, and nothing shortened")
    parser.add_argument("steps", nargs="*", metavar="STEP", help="only these, and what they need")
    asked = parser.parse_args()
    os.chdir(ROOT)
    global TARGET, BINARY
    TARGET.mkdir(parents=True, exist_ok=True)
    TARGET = TARGET.resolve()
    BINARY = TARGET / "debug" / "ringpost"
    os.environ["CARGO_TARGET_DIR"] = str(TARGET)
    if not shutil.which("cargo"):
        sys.exit("tests/run: needs Rust: https://rustup.rs")
    every = {step.name: step for step in steps(asked.full)}
    unknown = [name for name in asked.steps if name not in every]
    if unknown:
        sys.exit(f"tests/run: no step {', '.join(unknown)}; there are: {', '.join(every)}")
    chosen = set(asked.steps) or {step.name for step in every.values() if step.quick or asked.all or asked.full}
    while more := {need for name in chosen for need in every[name].needs} - chosen:
        chosen |= more
    if any(not every[name].quick for name in chosen):
        every["packages"].command.append("--all")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("tests/run: told to end"))
    sys.exit(Run([step for name, step in every.items() if name in chosen]).all())


main()
