"""Runs the Autobahn test suite against the echo app, and holds its verdicts against expected.txt.

Started by tests/conformance/run. The suite's exit status says nothing; its index.json alone is looked at.
"""

import collections
import fnmatch
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import threading

HERE = pathlib.Path(__file__).resolve().parent
SUITE = HERE.parent / ".tools" / "autobahn"
REPORTS = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", HERE.parents[1] / "target")) / "conformance"

# Each with a driver, and the scheme of its listener and of its URL.
KINDS = {"uring": ("uring", "websocket", "ws"), "epoll": ("epoll", "websocket", "ws"), "tls": ("uring", "wss", "wss")}
# 12.1 sends JSON in eighteen sizes and cuts; the other groups of 12 and 13 other texts and other offers. Of
# those, the two in which what cannot be compressed is hardest on the compressor.
SHORT = ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*", "12.1.*", "12.2.4", "12.5.5"]
CASES = 517
# What may be expected of a case. The suite only observes some, whose outcome no rule decides; a case that it
# finds unimplemented has failed.
PASSED = {"OK", "INFORMATIONAL"}
# Far more than they take, even where other suites run beside this one.
SHORT_TIMEOUT = 10 * 60
FULL_TIMEOUT = 60 * 60
START_TIMEOUT = 15
BANNER = re.compile(r"^\s*echo\s+wss?://127\.0\.0\.1:(\d+)")
# As its own script does, which knows another place for the packages.
LAUNCH = """
import site, sys
site.addsitedir(sys.argv.pop(1))
from autobahntestsuite.wstest import run
run()
"""


class Run:
    """One driver, or TLS: a server of its own, and the suite against it."""

    def __init__(self, binary, kind, cases, timeout):
        self.binary = binary
        self.kind = kind
        self.driver, self.listener, self.scheme = KINDS[kind]
        self.cases = cases
        self.timeout = timeout
        self.reports = REPORTS / kind
        self.problems = []
        self.verdicts = {}

    def run(self):
        """Fills in the verdicts and the problems; never fails by itself."""
        shutil.rmtree(self.reports, ignore_errors=True)
        self.reports.mkdir(parents=True)
        with open(self.reports / "server.log", "w+") as log:
            server = subprocess.Popen(
                [self.binary, "serve", "--cores", "2", "--driver", self.driver,
                 "--listen", f"{self.listener}://127.0.0.1:0=echo",
                 *(["--tls-self-signed"] if self.scheme == "wss" else [])],
                stdout=subprocess.PIPE, stderr=log, text=True,
            )
            try:
                self.test(port_of(server))
                server.send_signal(signal.SIGTERM)
                status = server.wait(START_TIMEOUT)
                if status != 0:
                    self.problems.append(f"the server left with status {status}")
            except Exception as problem:
                self.problems.append(repr(problem))
            finally:
                server.kill()
                server.wait()
            log.seek(0)
            if "panicked" in log.read():
                self.problems.append(f"the server panicked: see {log.name}")

    def test(self, port):
        spec = {
            "outdir": str(self.reports),
            "servers": [{"agent": "ringpost", "url": f"{self.scheme}://127.0.0.1:{port}"}],
            "cases": self.cases,
            "exclude-cases": [],
            "exclude-agent-cases": {},
        }
        path = self.reports / "spec.json"
        path.write_text(json.dumps(spec))
        environment = dict(os.environ, PYTHONPATH=str(SUITE), PYTHONWARNINGS="ignore")
        python = (SUITE / "python").read_text().strip()
        with open(self.reports / "suite.log", "w") as log:
            subprocess.run(
                [python, "-c", LAUNCH, str(SUITE), "-m", "fuzzingclient", "-s", str(path)],
                stdout=log, stderr=log, env=environment, timeout=self.timeout,
            )
        index = json.loads((self.reports / "index.json").read_text())
        for case, verdict in index["ringpost"].items():
            self.verdicts[case] = (verdict["behavior"], verdict["behaviorClose"])

    def judge(self, expected, count):
        """Every case is there, and went as expected; says so."""
        wrong = {
            case: got for case, got in self.verdicts.items() if got != expected.get(case)
        }
        for case, got in wrong.items():
            self.problems.append(f"case {case}: {got}, not {expected.get(case)}")
        if len(self.verdicts) != count:
            self.problems.append(f"{len(self.verdicts)} cases were run, not {count}")
        tally = collections.Counter(verdict for verdict, _ in self.verdicts.values())
        print(f"conformance: {self.kind}: {len(self.verdicts)} cases: {dict(tally)}, "
              f"{len(wrong)} not as expected", flush=True)
        for problem in self.problems:
            print(f"conformance: {self.kind}: {problem}", flush=True)
        if self.problems:
            print(f"conformance: {self.kind}: see {self.reports}/index.html and suite.log", flush=True)
        return not self.problems


def port_of(server):
    """The port that the echo listener's line tells."""
    found = []

    def read():
        for line in server.stdout:
            found.extend(BANNER.findall(line))
            if found:
                return

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(START_TIMEOUT)
    assert found, "the server told of no echo listener"
    return int(found[0])


def read_expected():
    """The verdicts on the messages and on the close, by case."""
    expected = {}
    for line in (HERE / "expected.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            case, behavior, close = line.split()
            assert {behavior, close} <= PASSED, f"expected.txt has {line}"
            expected[case] = (behavior, close)
    assert len(expected) == CASES, f"expected.txt has {len(expected)} cases"
    return expected


def named(wanted, expected):
    """The cases that these patterns name. The suite would take whatever begins like one."""
    cases = []
    for pattern in wanted:
        found = fnmatch.filter(expected, pattern)
        if not found:
            sys.exit(f"conformance: there is no case {pattern}")
        cases += [case for case in found if case not in cases]
    return cases


def main():
    binary, wanted = os.path.abspath(sys.argv[1]), sys.argv[2:]
    expected = read_expected()
    cases, count, timeout = ["*"], CASES, FULL_TIMEOUT
    if wanted != ["--full"]:
        cases = named(wanted or SHORT, expected)
        count, timeout = len(cases), FULL_TIMEOUT if wanted else SHORT_TIMEOUT
    runs = [Run(binary, kind, cases, timeout) for kind in KINDS]
    threads = [threading.Thread(target=run.run) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return 0 if all([run.judge(expected, count) for run in runs]) else 1


sys.exit(main())
