"""Checks the Helm chart, docker-compose.yml, the unit and the image against Kubernetes' API and the broker's settings.

scripts/packaging-test installs what it needs and starts it.
"""

import argparse
import pathlib
import re
import subprocess
import sys

import kubernetes_validate
import yaml

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
KUBERNETES = ["1.27", "1.31", "1.33"]
# Variables of Kubernetes and of the console commands that are no settings of a broker.
NO_SETTINGS = {"KAFSCALE_BIN"}
BASE = ["s3.bucket=log", "etcd.endpoints={http://etcd:2379}"]
SECURE = ["tls.enabled=true", "tls.secretRef=tls", "sasl.mechanisms={SCRAM-SHA-512}", "sasl.adminSecretRef=admin"]
# Sets of values that must render, and what must be in what they render.
SETS = {
    "insecure, by its name": (["allowInsecure=true"], ["KAFSCALE_ALLOW_INSECURE"]),
    "TLS and SCRAM": (SECURE, ["KAFSCALE_TLS_CERT_FILE", "KAFSCALE_ADMIN_PASSWORD_FILE", "secretName: tls"]),
    "mutual TLS": (["tls.enabled=true", "tls.secretRef=tls", "tls.clientCaSecretRef=ca"], ["KAFSCALE_TLS_CLIENT_CA_FILE"]),
    "everything": (SECURE + [
        "autoscaling.enabled=true", "serviceMonitor.enabled=true", "prometheusRule.enabled=true", "s3.endpoint=http://minio:9000",
        "s3.pathStyle=true", "s3.credentialsSecret=s3", "etcd.credentialsSecret=etcd", "etcd.tlsSecret=etcd-tls",
        "etcd.backup.bucket=backups", "service.type=LoadBalancer", "env.KAFSCALE_CACHE_SIZE=4GiB", "priorityClassName=high"],
        ["HorizontalPodAutoscaler", "averageUtilization: 80", "ServiceMonitor", "KafscaleBrokerDown", "KAFSCALE_BACKUP_BUCKET"]),
    "without backups": (["allowInsecure=true", "etcd.backup.enabled=false"], ['KAFSCALE_BACKUP_INTERVAL_MS, value: "0"']),
}
# Sets that must not render, and what must be said.
REFUSED = {
    "no bucket": (["s3.bucket=", "allowInsecure=true"], "set s3.bucket"),
    "nothing said of security": ([], "allowInsecure=true"),
    "TLS without authentication": (["tls.enabled=true", "tls.secretRef=tls"], "sasl.mechanisms"),
    "a value that is no value": (["allowInsecure=true", "replica=3"], "replica"),
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--helm", required=True)
    parser.add_argument("--work", type=pathlib.Path, required=True)
    args = parser.parse_args()
    failed = []

    def check(holds, what):
        if not holds:
            failed.append(what)
            print(f"FAIL {what}", file=sys.stderr)

    settings = set(re.findall(r"KAFSCALE_[A-Z0-9_]+", (ROOT / "docs/settings.md").read_text()))

    def check_names(text, where):
        for name in sorted(set(re.findall(r"\bKAFSCALE_[A-Z0-9_]+", text)) - NO_SETTINGS):
            check(name in settings, f"{where} sets {name}, which is no setting")

    def render(values):
        command = [args.helm, "template", "prod", str(HERE / "helm/kafscale"), "--namespace", "logs"]
        for value in BASE + values:
            command += ["--set", value]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    lint = subprocess.run([args.helm, "lint", "--strict", str(HERE / "helm/kafscale"), "--set", ",".join(BASE + ["allowInsecure=true"])],
                          capture_output=True, text=True, timeout=60)
    check(lint.returncode == 0, f"helm lint: {lint.stdout[-500:]}")
    for name, (values, wanted) in SETS.items():
        rendered = render(values)
        check(rendered.returncode == 0, f"{name}: {rendered.stderr[-300:]}")
        check_names(rendered.stdout, f"the chart with {name}")
        for part in wanted:
            check(part in rendered.stdout, f"{name} renders no {part}")
        documents = [document for document in yaml.safe_load_all(rendered.stdout) if document]
        kinds = {document["kind"] for document in documents}
        check({"StatefulSet", "Service", "PodDisruptionBudget", "ServiceAccount"} <= kinds, f"{name} renders {kinds}")
        for document in documents:
            if "monitoring.coreos.com" in document["apiVersion"]:
                continue  # Its schema is the operator's.
            for version in KUBERNETES:
                try:
                    kubernetes_validate.validate(document, version, strict=True)
                except Exception as error:  # noqa: BLE001, whatever it finds is a finding
                    check(False, f"{name}, {document['kind']} in Kubernetes {version}: {str(error)[:300]}")
    for name, (values, said) in REFUSED.items():
        rendered = render(values)
        check(rendered.returncode != 0 and said in rendered.stderr, f"{name} is not refused with {said}: {rendered.stderr[-300:]}")

    compose = yaml.safe_load((HERE / "docker/docker-compose.yml").read_text())
    check_names((HERE / "docker/docker-compose.yml").read_text(), "docker-compose.yml")
    brokers = {name: service for name, service in compose["services"].items() if name.startswith("broker-")}
    check(len(brokers) == 3, f"{len(brokers)} brokers in docker-compose.yml")
    for name, service in compose["services"].items():
        unknown = set(service) - {"build", "image", "depends_on", "stop_grace_period", "restart", "security_opt", "cap_drop", "read_only",
                                  "ulimits", "environment", "ports", "command", "entrypoint", "volumes", "healthcheck"}
        check(not unknown, f"{name} has {unknown}")
        check(set(service.get("depends_on", {})) <= set(compose["services"]), f"{name} depends on what is not there")
        check(all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), f"{name} listens on more than loopback")
    ids = [service["environment"]["KAFSCALE_BROKER_ID"] for service in brokers.values()]
    check(len(set(ids)) == 3, "brokers share an id")
    for path in ("systemd/kafscale.service", "docker/Dockerfile", "debian/kafscale.toml"):
        check_names((HERE / path).read_text(), path)
    dockerfile = (HERE / "docker/Dockerfile").read_text()
    check("USER 10001" in dockerfile and "ENTRYPOINT" in dockerfile, "the image runs as root")
    print(f"packaging: chart with {len(SETS)} sets of values for Kubernetes {', '.join(KUBERNETES)}, compose, unit and image; {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
