"""/metrics as others read it, and what is built on it. Started by tests/metrics/run."""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

from prometheus_client.parser import text_string_to_metric_families

ROOT = pathlib.Path(__file__).resolve().parents[2]
MONITORING = ROOT / "examples" / "monitoring"
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "page")]

from ports import free_port  # noqa: E402
from server import Server  # noqa: E402

CORES = 2
TYPES = {"counter", "gauge", "histogram"}
ROWS = ["Overview", "Cores", "Trouble", "Cluster"]
NAME = re.compile(r"ringpost_[a-z_]+")
# Of a panel's own variables, as Grafana would fill them in for a server scraped every second.
VARIABLES = {"$__rate_interval": "4s", "$instance": ".*", "[24h]": "[4s]"}
# Nothing to draw is what these say of a server that is well.
MAY_BE_EMPTY = {"Closes by reason", "Paused time"}
# A server by itself has none of these; tests/cluster holds a node's metrics against the dashboard.
OF_NODES = "ringpost_cluster_"
# And this is there once somebody was paused.
LATER = {"ringpost_paused_seconds_total"}
PATIENCE = 60


def step(name):
    print(f"metrics: {name}", flush=True)


def scrape(server):
    with urllib.request.urlopen(f"{server.page}/metrics", timeout=10) as answer:
        kind = answer.headers["Content-Type"]
        assert kind.startswith("text/plain; version=0.0.4"), kind
        return answer.read().decode()


def check_parser(server):
    step("read by prometheus_client")
    assert server.tell('{"uid":"nobody"}', "kick nobody", "online nobody") == ["fail"] * 3
    families = {one.name: one for one in text_string_to_metric_families(scrape(server))}
    assert len(families) > 20, families.keys()
    for name, family in families.items():
        assert name.startswith("ringpost_"), name
        assert family.type in TYPES, f"{name} is a {family.type}"
        assert family.documentation.endswith("."), f"{name}: {family.documentation!r}"
        assert family.samples, f"{name} has no samples"
        for sample in family.samples:
            assert sample.value >= 0, sample
            core = sample.labels.get("core")
            assert core is None or int(core) < CORES, sample
    pushes = {one.labels["verdict"]: one.value for one in families["ringpost_pushes"].samples}
    assert pushes == {"delivered": 0, "kept": 0, "offline": 1, "unknown": 0}, pushes
    return {sample.name for family in families.values() for sample in family.samples}


def promtool(*arguments, **more):
    outcome = subprocess.run(["promtool", *arguments], capture_output=True, text=True, **more)
    assert outcome.returncode == 0, f"promtool {arguments}:\n{outcome.stdout}{outcome.stderr}"
    complaints = outcome.stderr.strip()
    assert not complaints, complaints


def check_promtool(server):
    step("held to the rules of names and units by promtool")
    promtool("check", "metrics", input=scrape(server))
    step("the scrape configuration and the alerts, by promtool")
    promtool("check", "config", str(MONITORING / "prometheus.yml"))
    promtool("check", "rules", str(MONITORING / "alerts.yml"))


def check_names(names):
    step("the dashboard and the alerts name only what there is")
    for path in ("grafana.json", "alerts.yml"):
        used = set(NAME.findall((MONITORING / path).read_text()))
        unknown = {name for name in used - names - LATER if not name.startswith(OF_NODES)}
        assert used and not unknown, f"{path}: {sorted(unknown)}"
    shown = set(NAME.findall((MONITORING / "grafana.json").read_text()))
    kin = {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown}
    unseen = {re.sub(r"_(bucket|sum|count)$", "", name) for name in names} - kin
    # Its length is the number of lines in any panel of cores.
    assert unseen <= {"ringpost_cores"}, f"no panel shows {sorted(unseen)}"


def check_dashboard():
    step("the dashboard: rows, places, units, one data source")
    dashboard = json.loads((MONITORING / "grafana.json").read_text())
    panels = dashboard["panels"]
    assert [one["title"] for one in panels if one["type"] == "row"] == ROWS
    assert len({one["id"] for one in panels}) == len(panels)
    taken = set()
    for panel in panels:
        at = panel["gridPos"]
        places = {(x, y) for x in range(at["x"], at["x"] + at["w"])
                  for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24 and not places & taken, f"{panel['title']} overlaps"
        taken |= places
        if panel["type"] == "row":
            continue
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["description"] and panel["targets"], panel["title"]
        for one in [panel, *panel["targets"]]:
            assert one["datasource"]["uid"] == "${datasource}", panel["title"]
    return panels


class Prometheus:
    """One that scrapes the server every second, by the example's configuration but for times and ports."""

    def __init__(self, server, directory):
        text = (MONITORING / "prometheus.yml").read_text()
        target = f'"127.0.0.1:{server.ports["page"]}"'
        for old, new in (('"127.0.0.1:8080"', target), ("15s", "1s"),
                         ("alerts.yml", str(MONITORING / "alerts.yml"))):
            assert old in text, old
            text = text.replace(old, new)
        config = directory / "prometheus.yml"
        config.write_text(text)
        self.url = f"http://127.0.0.1:{free_port()}"
        self.log = (directory / "log").open("w+")
        self.process = subprocess.Popen(
            ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={directory / 'tsdb'}",
             f"--web.listen-address={self.url.removeprefix('http://')}", "--log.level=warn",
             "--web.console.templates=/nowhere", "--web.console.libraries=/nowhere"],
            stdout=self.log, stderr=self.log)

    def ask(self, path, **parameters):
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from error

    def query(self, expression):
        return self.ask("query", query=expression)["result"]

    def wait_for(self, expression):
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                if self.query(expression):
                    return
            except OSError:
                pass
            assert self.process.poll() is None, self.complaints()
            time.sleep(0.2)
        raise AssertionError(f"never true: {expression}\n{self.complaints()}")

    def complaints(self):
        self.log.seek(0)
        return self.log.read()[-3000:]

    def stop(self):
        self.process.terminate()
        self.process.wait(PATIENCE)


def check_prometheus(server, panels):
    with tempfile.TemporaryDirectory() as directory:
        step("scraped by Prometheus")
        prometheus = Prometheus(server, pathlib.Path(directory))
        try:
            prometheus.wait_for('up{job="ringpost"} == 1')
            prometheus.wait_for("count_over_time(ringpost_uptime_seconds[30s]) > 4")
            assert len(prometheus.query("ringpost_driver_info")) == CORES
            metadata = prometheus.ask("metadata", metric="ringpost_turn_duration_seconds")
            assert metadata["ringpost_turn_duration_seconds"][0]["type"] == "histogram"
            step("every panel's question is answered by it")
            for panel in panels:
                for target in panel.get("targets", []):
                    expression = target["expr"]
                    for variable, value in VARIABLES.items():
                        expression = expression.replace(variable, value)
                    assert "$" not in expression, expression
                    found = prometheus.query(expression)
                    is_of_nodes = OF_NODES in expression
                    assert found or is_of_nodes or panel["title"] in MAY_BE_EMPTY, f"nothing: {expression}"
            step("no alert but of what is so here")
            rules = prometheus.ask("rules")["groups"][0]["rules"]
            assert len(rules) > 5 and all(one["health"] != "err" for one in rules), rules
            firing = {one["labels"]["alertname"] for one in prometheus.ask("alerts")["alerts"]}
            assert firing <= {"RingpostWithoutIoUring"}, firing
        finally:
            prometheus.stop()


def main():
    certificates = ROOT / "tests" / "certificates"
    server = Server(
        os.path.abspath(sys.argv[1]),
        "--tls-certificate-file", str(certificates / "p256.pem"),
        "--tls-key-file", str(certificates / "p256.key"),
        "--listen", "wss://127.0.0.1:0=echo",
    )
    try:
        names = check_parser(server)
        check_promtool(server)
        check_names(names)
        check_prometheus(server, check_dashboard())
        server.stop()
    finally:
        server.kill()
    print("metrics: ok")


main()
