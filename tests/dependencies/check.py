"""Holds what ringpost is built on against .deny.toml. Called by `run`, with the folder of RustSec's database or ''."""

import json
import re
import subprocess
import sys
import tomllib
from collections import defaultdict
from pathlib import Path

from license_expression import Licensing
from semantic_version import SimpleSpec, Version

CRATES_IO = "registry+https://github.com/rust-lang/crates.io-index"
problems = []


def packages(targets):
    """What is built for these targets, with every feature and for the tests, too."""
    call = ["cargo", "metadata", "--format-version", "1", "--locked", "--all-features"]
    for target in targets:
        call += ["--filter-platform", target]
    metadata = json.loads(subprocess.run(call, check=True, stdout=subprocess.PIPE).stdout)
    built = {node["id"] for node in metadata["resolve"]["nodes"]}
    members = set(metadata["workspace_members"])
    every = [package for package in metadata["packages"] if package["id"] in built]
    ships = set().union(*(shipped(target) for target in targets))
    for package in every:
        package["ships"] = (package["name"], package["version"]) in ships
    ours = [package for package in every if package["id"] in members]
    return ours, [package for package in every if package["id"] not in members]


def shipped(target):
    """What is built without the tests, whose own dependencies may repeat what others bring: names and versions."""
    call = ["cargo", "tree", "--workspace", "--locked", "--all-features", "--edges", "normal,build", "--prefix", "none",
            "--target", target, "--format", "{p}"]
    lines = subprocess.run(call, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    return {(line.split()[0], line.split()[1].lstrip("v")) for line in lines if line}


def named(package):
    return f"{package['name']} {package['version']}"


def check_licences(others, allowed):
    licensing, used = Licensing(), set()

    def permitted(term):
        if term.isliteral:
            used.add(str(term))
            return str(term) in allowed
        parts = [permitted(part) for part in term.args]
        return all(parts) if type(term) is licensing.AND else any(parts)

    for package in others:
        expression = (package["license"] or "").replace("/", " OR ")
        if not expression or not permitted(licensing.parse(expression)):
            problems.append(f"licence: {named(package)} has {package['license'] or 'none'}, which is not allowed")
    for licence in allowed - used:
        problems.append(f"licence: nothing has {licence}, which is allowed: take it out")


def check_duplicates(others, skipped):
    versions, unused = defaultdict(list), set(skipped)
    for package in others:
        match = next((spec for spec in skipped if is_meant(spec, package)), None)
        unused.discard(match)
        if match is None and package["ships"]:
            versions[package["name"]].append(package["version"])
    for name, several in versions.items():
        if len(several) > 1:
            problems.append(f"duplicate: {name} in {', '.join(several)}, none of which .deny.toml skips")
    for spec in sorted(unused):
        problems.append(f"duplicate: {spec} is skipped, but not there: take it out")


def is_meant(spec, package):
    name, _, version = spec.partition("@")
    return name == package["name"] and (package["version"] + ".").startswith(version + ".")


def check_sources(ours, others):
    for package in others:
        if package["source"] != CRATES_IO:
            problems.append(f"source: {named(package)} comes from {package['source']}")
    for package in ours:
        for dependency in package["dependencies"]:
            if dependency["req"] == "*" and not dependency.get("path"):
                problems.append(f"wildcard: {package['name']} takes any release of {dependency['name']}")


def check_advisories(others, database, ignored):
    ids, unused = set(ignored), set(ignored)
    for package in others:
        for file in sorted(Path(database, "crates", package["name"]).glob("RUSTSEC-*.md")):
            text = re.search(r"```toml\n(.*?)```", file.read_text(), re.S)
            advisory = tomllib.loads(text.group(1))
            about = advisory["advisory"]
            if "withdrawn" in about or not is_affected(package["version"], advisory.get("versions", {})):
                continue
            unused.discard(about["id"])
            if about["id"] not in ids:
                kind = about.get("informational", "vulnerability")
                problems.append(f"advisory: {named(package)}: {about['id']} ({kind})")
    for one in sorted(unused):
        # No fault: the database may be older than the advisory.
        print(f"tests/dependencies: {one} is ignored, and concerns nothing here by this database")


def is_affected(version, versions):
    safe = versions.get("patched", []) + versions.get("unaffected", [])
    # Cargo's requirements have spaces, and mean a caret where nothing stands.
    specs = [",".join(re.sub(r"^(?=\d)", "^", part.replace(" ", "")) for part in spec.split(",")) for spec in safe]
    return not any(Version(version) in SimpleSpec(spec) for spec in specs)


def main():
    with open(".deny.toml", "rb") as file:
        rules = tomllib.load(file)
    ours, others = packages(rules["graph"]["targets"])
    check_licences(others, set(rules["licenses"]["allow"]))
    check_duplicates(others, [rule["crate"] for rule in rules["bans"]["skip"]])
    check_sources(ours, others)
    database = sys.argv[1]
    if database:
        check_advisories(others, database, [rule["id"] for rule in rules["advisories"]["ignore"]])
    for problem in problems:
        print(f"tests/dependencies: {problem}")
    if database:
        of = subprocess.run(["git", "-C", database, "log", "-1", "--format=%cs"], stdout=subprocess.PIPE,
                            stderr=subprocess.DEVNULL, text=True)
        print(f"tests/dependencies: {len(others)} crates; advisories as of {of.stdout.strip() or 'an unknown day'}")
    else:
        print(f"tests/dependencies: {len(others)} crates; advisories were NOT looked up: no database is here, and "
              "none can be fetched")
    sys.exit(1 if problems else 0)


main()
