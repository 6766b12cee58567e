"""Holds the files of packaging/ and examples/kubernetes against their schemas, against each other, and against the
program: tests/packaging/files.py BIN

BIN is the ringpost binary. Kubernetes' manifests by Kubernetes' own schemas (kubernetes-validate), compose.yaml by a
reader of the Compose Specification, the Dockerfile by hadolint, Prometheus' file by what Prometheus would mount. Ends
with "N passed, N failed".
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

import kubernetes_validate
import yaml
from compose_spec import PyCompose

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGING = ROOT / "packaging"
KUBERNETES = ROOT / "examples" / "kubernetes"
BIN = Path(sys.argv[1]).resolve()
# The oldest release that examples/kubernetes/README.md promises, and the newest that the schemas are there for.
RELEASES = ("1.27", "1.37")
TOKEN = "0123456789abcdef"
UNITS = {"ms": 0.001, "s": 1, "m": 60}


def manifests():
    """Every manifest, with its kind as its name."""
    found = {}
    for path in sorted(KUBERNETES.glob("*.yaml")):
        for manifest in yaml.safe_load_all(path.read_text()):
            found.setdefault(manifest["kind"], []).append(manifest)
    return found


def checked(configuration, **variables):
    """What `ringpost check` says of a configuration: its listeners by port, and its other lines."""
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(configuration)
        file.flush()
        env = {name: value for name, value in os.environ.items() if not name.startswith("RINGPOST_")}
        call = subprocess.run([BIN, "check", file.name], env={**env, **variables}, capture_output=True, text=True)
    assert call.returncode == 0, call.stdout + call.stderr
    return {int(port): app for app, port in re.findall(r"^  (\S+) +\w+://\S+:(\d+)", call.stdout, re.MULTILINE)}


def seconds(text):
    number, unit = re.fullmatch(r"(\d+)(\w+)", text).groups()
    return int(number) * UNITS[unit]


def key(configuration, name):
    return re.search(rf'^{name} = "(.*)"', configuration, re.MULTILINE).group(1)


def kubernetes_takes_every_manifest():
    for release in RELEASES:
        for manifest in (one for kind in manifests().values() for one in kind):
            kubernetes_validate.validate(manifest, release, strict=True)


def a_planted_mistake_in_a_manifest_is_found():
    deployment = manifests()["Deployment"][0]
    deployment["spec"]["template"]["spec"]["terminationGraceSeconds"] = 1
    try:
        kubernetes_validate.validate(deployment, RELEASES[-1], strict=True)
    except kubernetes_validate.ValidationError:
        return
    raise AssertionError("a key that there is not was taken")


def the_pod_serves_what_its_services_and_probes_ask_for():
    found = manifests()
    pod = found["Deployment"][0]["spec"]["template"]
    container, = pod["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    listeners = checked(found["ConfigMap"][0]["data"]["ringpost.toml"], RINGPOST_BACKEND_TOKEN=TOKEN)
    assert set(ports.values()) <= set(listeners), (ports, listeners)
    labels = pod["metadata"]["labels"].items()
    for service in found["Service"]:
        assert service["spec"]["selector"].items() <= labels
        assert all(port["targetPort"] in ports for port in service["spec"]["ports"])
    for owner in (found["Deployment"][0], found["PodDisruptionBudget"][0]):
        assert owner["spec"]["selector"]["matchLabels"].items() <= labels
    for probe, path in (("readinessProbe", "/readyz"), ("livenessProbe", "/healthz")):
        assert container[probe]["httpGet"] == {"path": path, "port": "backend"}


def several_pods_are_one_server_by_the_secret_that_is_mounted():
    found = manifests()
    configuration = found["ConfigMap"][0]["data"]["ringpost.toml"]
    block = re.search(r"(?:^# .*\n)*^# \[cluster\]\n(?:^# .*\n)*", configuration, re.MULTILINE).group(0)
    uncommented = re.sub(r"^# (?=\[|\w+ = )", "", block, flags=re.MULTILINE)
    pod = found["Deployment"][0]["spec"]["template"]["spec"]
    secret = next(volume for volume in pod["volumes"] if volume["name"] == "secrets")["secret"]
    mount = next(one for one in pod["containers"][0]["volumeMounts"] if one["name"] == "secrets")
    file = re.search('^secret_file = "(.*)"', uncommented, re.MULTILINE).group(1)
    assert file == f"{mount['mountPath']}/{secret['items'][0]['path']}", file
    token = next(one["valueFrom"]["secretKeyRef"] for one in pod["containers"][0]["env"])
    assert token["name"] == secret["secretName"]
    # The program takes it, with a password in a file that is there.
    with tempfile.NamedTemporaryFile("w") as password:
        password.write("pass")
        password.flush()
        text = configuration.replace(block, uncommented).replace(file, password.name)
        assert "[cluster]\nredis" in text
        checked(text, RINGPOST_BACKEND_TOKEN=TOKEN)


def the_pod_has_time_to_drain():
    found = manifests()
    configuration = found["ConfigMap"][0]["data"]["ringpost.toml"]
    needed = seconds(key(configuration, "drain_delay")) + seconds(key(configuration, "drain_timeout"))
    pod = found["Deployment"][0]["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > needed
    probe = pod["containers"][0]["readinessProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] < seconds(key(configuration, "drain_delay"))


def the_image_s_configuration_is_right_and_its_ports_are_exposed():
    configuration = (PACKAGING / "container.toml").read_text()
    listeners = checked(configuration, RINGPOST_BACKEND_TOKEN=TOKEN)
    exposed = re.search(r"^EXPOSE (.*)$", (PACKAGING / "Dockerfile").read_text(), re.MULTILINE).group(1)
    # That of back ends' lines is for the container itself.
    assert {int(port) for port in exposed.split()} == set(listeners) - {5678}, listeners
    # `docker stop` waits for 10 s.
    assert seconds(key(configuration, "drain_timeout")) < 10


def compose():
    # With what docker compose would put in place of the variables.
    text = re.sub(r"\$\{(\w+)(:\?[^}]*)?\}", TOKEN, (PACKAGING / "compose.yaml").read_text())
    return text, yaml.safe_load(text)


def compose_is_of_its_specification():
    text, _ = compose()
    PyCompose.from_yaml(text).validate()
    for wrong in (text.replace("cap_drop: [ALL]", "cap_drop: {}"), text.replace("    image: ringpost\n", "    image: [1]\n", 1)):
        try:
            PyCompose.from_yaml(wrong)
        except Exception:
            continue
        raise AssertionError(f"taken:\n{wrong}")


def compose_mounts_what_there_is_and_publishes_on_loopback_alone():
    _, tree = compose()
    mounted = []
    for service in tree["services"].values():
        for volume in service.get("volumes", []):
            source, target = volume.split(":")[:2]
            if source in tree["volumes"]:
                continue
            path = PACKAGING / source
            assert path.is_file(), path
            mounted.append(target)
        for config in service.get("configs", []):
            assert config["source"] in tree["configs"]
            mounted.append(config["target"])
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    ringpost = tree["services"]["ringpost"]
    assert (PACKAGING / ringpost["build"]["context"]).resolve() == ROOT
    assert (ROOT / ringpost["build"]["dockerfile"]).is_file()
    seccomp = next(one for one in ringpost["security_opt"] if one.startswith("seccomp="))
    json.loads((PACKAGING / seccomp.split("=")[1]).read_text())
    assert seconds(ringpost["environment"]["RINGPOST_DRAIN_TIMEOUT"]) < seconds(ringpost["stop_grace_period"])
    # What Prometheus and Grafana read lies where it is mounted, and they ask where it is served.
    scraping = yaml.safe_load((PACKAGING / "compose/prometheus.yml").read_text())
    job, = scraping["scrape_configs"]
    assert job["authorization"]["credentials_file"] in mounted
    assert all(f"/etc/prometheus/{rules}" in mounted for rules in scraping["rule_files"])
    redis = ringpost["environment"]["RINGPOST_CLUSTER_REDIS"]
    configuration = (PACKAGING / "compose/ringpost.toml").read_text()
    listeners = checked(configuration, RINGPOST_BACKEND_TOKEN=TOKEN, RINGPOST_CLUSTER_REDIS=redis)
    assert redis.split("//")[1].split(":")[0] in tree["services"]
    for names in job["dns_sd_configs"]:
        assert names["names"] == ["ringpost"] and listeners[names["port"]] == "page"
    # What is published is what the balancer listens on, and each goes to the nodes' own.
    balancer = (PACKAGING / "compose/haproxy.cfg").read_text()
    published = {int(port.split(":")[2]) for port in tree["services"]["balancer"]["ports"]}
    assert published == {int(port) for port in re.findall(r"bind :(\d+)", balancer)} == set(listeners) - {5678}
    assert published == {int(port) for port in re.findall(r"server-template \w+ 10 ringpost:(\d+)", balancer)}
    grafana = yaml.safe_load((PACKAGING / "compose/grafana-dashboards.yml").read_text())
    folder = grafana["providers"][0]["options"]["path"]
    home = tree["services"]["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home in mounted and home.startswith(folder)


def the_dockerfile_is_clean():
    hadolint = Path(sys.executable).parent / "hadolint"
    call = subprocess.run([hadolint, PACKAGING / "Dockerfile"], capture_output=True, text=True)
    assert call.returncode == 0 and not call.stdout, call.stdout + call.stderr


def the_image_is_built_of_what_there_is():
    """All that the build copies is let through to it, and all that is let through is there."""
    passed = re.findall(r"^!(.*)$", (PACKAGING / "Dockerfile.dockerignore").read_text(), re.MULTILINE)
    assert all(list(ROOT.glob(one)) for one in passed), passed
    wanted = re.findall(r"(packaging/[\w.]+|ringpost\.example\.toml)", (PACKAGING / "Dockerfile").read_text())
    assert set(wanted) - {"packaging/Dockerfile"} <= set(passed), (wanted, passed)


def the_version_is_the_program_s():
    said = subprocess.run([BIN, "--version"], check=True, capture_output=True, text=True).stdout
    version = said.split()[1]
    container, = manifests()["Deployment"][0]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == f"ringpost:{version}"
    assert f"ringpost_{version}_amd64.deb" in (ROOT / "docs/packages.md").read_text()


CHECKS = [
    the_version_is_the_program_s,
    kubernetes_takes_every_manifest,
    a_planted_mistake_in_a_manifest_is_found,
    the_pod_serves_what_its_services_and_probes_ask_for,
    several_pods_are_one_server_by_the_secret_that_is_mounted,
    the_pod_has_time_to_drain,
    the_image_s_configuration_is_right_and_its_ports_are_exposed,
    compose_is_of_its_specification,
    compose_mounts_what_there_is_and_publishes_on_loopback_alone,
    the_dockerfile_is_clean,
    the_image_is_built_of_what_there_is,
]


def main():
    failed = 0
    for check in CHECKS:
        try:
            check()
        except Exception:
            failed += 1
            print(f"FAILED {check.__name__.replace('_', ' ')}")
            traceback.print_exc(file=sys.stdout)
    print(f"{len(CHECKS) - failed} passed, {failed} failed")
    return 1 if failed else 0


sys.exit(main())
