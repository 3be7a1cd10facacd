"""The Python client against a server whose kubeconfig is in KUBECONFIG: typed verbs, watches, patches, server-side apply,
the dynamic client and leader election. Prints a line for each part that works; the first that does not ends it."""

import threading
import time
import uuid

from kubernetes import client, config, dynamic, watch
from kubernetes.client.rest import ApiException
from kubernetes.leaderelection import electionconfig, leaderelection
from kubernetes.leaderelection.resourcelock.configmaplock import ConfigMapLock

config.load_kube_config()
core, apps, api = client.CoreV1Api(), client.AppsV1Api(), client.ApiClient()
SPACE = "python-" + uuid.uuid4().hex[:6]
core.create_namespace({"metadata": {"name": SPACE}})


def same(found, wanted):
    assert found == wanted, f"{found!r} instead of {wanted!r}"


def verbs():
    core.create_namespaced_config_map(SPACE, {"metadata": {"name": "a", "labels": {"x": "1"}}, "data": {"k": "v"}})
    same(core.read_namespaced_config_map("a", SPACE).data, {"k": "v"})
    page = core.list_namespaced_config_map(SPACE, limit=1)
    rest = core.list_namespaced_config_map(SPACE, _continue=page.metadata._continue) if page.metadata._continue else None
    names = [m.metadata.name for m in page.items + (rest.items if rest else [])]
    assert "a" in names, names
    same([m.metadata.name for m in core.list_namespaced_config_map(SPACE, label_selector="x in (1,2)").items], ["a"])
    same(core.patch_namespaced_config_map("a", SPACE, {"data": {"l": "w"}}).data, {"k": "v", "l": "w"})
    patch = [{"op": "replace", "path": "/data/k", "value": "new"}]
    same(core.patch_namespaced_config_map("a", SPACE, patch).data["k"], "new")
    stale = core.read_namespaced_config_map("a", SPACE)
    core.patch_namespaced_config_map("a", SPACE, {"data": {"m": "1"}})
    try:
        core.replace_namespaced_config_map("a", SPACE, stale)
        raise AssertionError("a stale replace was taken")
    except ApiException as refused:
        same(refused.status, 409)
    core.delete_collection_namespaced_config_map(SPACE, label_selector="x=1")
    try:
        core.read_namespaced_config_map("a", SPACE)
        raise AssertionError("it is still there")
    except ApiException as refused:
        same((refused.status, refused.reason), (404, "Not Found"))


def watches():
    start = core.list_namespaced_config_map(SPACE).metadata.resource_version

    def write():
        for name in ("w1", "w2"):
            core.create_namespaced_config_map(SPACE, {"metadata": {"name": name}})
        core.delete_namespaced_config_map("w1", SPACE)

    threading.Thread(target=write).start()
    seen = []
    stream = watch.Watch()
    options = {"resource_version": start, "timeout_seconds": 20}
    for event in stream.stream(core.list_namespaced_config_map, SPACE, **options):
        seen.append((event["type"], event["object"].metadata.name))
        if len(seen) == 3:
            stream.stop()
    same(seen, [("ADDED", "w1"), ("ADDED", "w2"), ("DELETED", "w1")])


def applies():
    live = dynamic.DynamicClient(api)
    deployments = live.resources.get(api_version="apps/v1", kind="Deployment")
    body = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "main", "image": "registry.example/web:1"}]},
            },
        },
    }
    made = deployments.server_side_apply(body, namespace=SPACE, field_manager="python")
    same(made.spec.replicas, 2)
    apps.patch_namespaced_deployment_scale("web", SPACE, {"spec": {"replicas": 3}})
    try:
        deployments.server_side_apply(body, namespace=SPACE, field_manager="python")
        raise AssertionError("the field has another manager now")
    except dynamic.exceptions.ConflictError as refused:
        assert ".spec.replicas" in str(refused.body), refused.body
    forced = deployments.server_side_apply(body, namespace=SPACE, field_manager="python", force_conflicts=True)
    same(forced.spec.replicas, 2)
    kinds = {resource.kind for resource in live.resources.search(group="batch", api_version="v1")}
    assert {"Job", "CronJob"} <= kinds, kinds
    deployments.delete(name="web", namespace=SPACE)


def elects():
    led = threading.Event()

    def lead():
        led.set()
        time.sleep(3600)

    lock = ConfigMapLock("leader", SPACE, "me")
    settings = electionconfig.Config(
        lock, lease_duration=4, renew_deadline=3, retry_period=1, onstarted_leading=lead, onstopped_leading=None
    )
    threading.Thread(target=leaderelection.LeaderElection(settings).run, daemon=True).start()
    assert led.wait(20), "nobody leads"
    record = core.read_namespaced_config_map("leader", SPACE).metadata.annotations
    assert '"holderIdentity": "me"' in record["control-plane.alpha.kubernetes.io/leader"], record


def reviews():
    review = client.AuthorizationV1Api().create_self_subject_access_review(
        {"spec": {"resourceAttributes": {"verb": "delete", "resource": "pods", "namespace": SPACE}}}
    )
    assert review.status.allowed
    token = core.create_namespaced_service_account_token("default", SPACE, {"spec": {}}).status.token
    same(token.count("."), 2)
    assert client.VersionApi().get_code().git_version.startswith("v1.36")
    assert client.ApisApi().get_api_versions().groups


for part in (verbs, watches, applies, elects, reviews):
    part()
    print(part.__name__, flush=True)
core.delete_namespace(SPACE)
