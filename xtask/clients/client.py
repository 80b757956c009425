"""Python's client: what programs do with the package `kubernetes`. A line for each step; 1 if one failed."""

import contextlib
import datetime
import queue
import sys
import threading
import traceback
import uuid

from kubernetes import client, config, dynamic, stream, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.informer import SharedInformer
from kubernetes.leaderelection import electionconfig, leaderelection
from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock
from kubernetes.utils import create_from_dict

config.load_kube_config()
core, leases = client.CoreV1Api(), client.CoordinationV1Api()
SPACE = "python-" + uuid.uuid4().hex[:8]
STEPS = []


def step(run):
    STEPS.append(run)
    return run


def raises(code, call, *words, **more):
    try:
        call(*words, **more)
    except ApiException as error:
        assert error.status == code, error
        return error
    raise AssertionError(f"not refused with {code}")


def pod(name, command, listens=None, **spec):
    container = {"name": "c", "image": "toolbox", "command": command, "stdin": True}
    if listens:
        container["readinessProbe"] = {"tcpSocket": {"port": listens}, "periodSeconds": 1}
    spec = {"terminationGracePeriodSeconds": 0, "containers": [container], **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": spec}


def until(name, holds):
    """Watches a pod until it is as wanted."""
    field = f"metadata.name={name}"
    for event in watch.Watch().stream(core.list_namespaced_pod, SPACE, field_selector=field, timeout_seconds=60):
        if holds(event):
            return event["object"]
    raise AssertionError(f"{name} did not become as wanted")


def ready(event):
    return any(c.type == "Ready" and c.status == "True" for c in event["object"].status.conditions or [])


def run_pod(name, command, **spec):
    core.create_namespaced_pod(SPACE, pod(name, command, **spec))
    return until(name, ready)


@step
def create_read_and_errors():
    made = core.create_namespaced_config_map(SPACE, client.V1ConfigMap(
        metadata=client.V1ObjectMeta(generate_name="made-"), data={"a": "é"}, binary_data={"b": "AP8K"}))
    read = core.read_namespaced_config_map(made.metadata.name, SPACE)
    assert read.to_dict() == made.to_dict()
    assert isinstance(read.metadata.creation_timestamp, datetime.datetime)
    assert raises(404, core.read_namespaced_pod, "nobody", SPACE).reason == "Not Found"
    made.metadata.resource_version = None
    raises(409, core.create_namespaced_config_map, SPACE, made)
    raises(422, core.create_namespaced_pod, SPACE, pod("Bad", ["true"]))
    objects = create_from_dict(client.ApiClient(), {"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"k": "v"}},
        {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"}},
    ]}, namespace=SPACE)
    assert len(objects) == 2, objects
    assert core.read_namespaced_secret("s", SPACE).data == {"k": "dg=="}
    assert client.VersionApi().get_code().minor == "37"
    first = core.list_namespaced_secret(SPACE, limit=1)
    assert first.metadata._continue is None or core.list_namespaced_secret(SPACE, limit=1, _continue=first.metadata._continue)


@step
def patches_of_each_type():
    core.create_namespaced_pod(SPACE, pod("patched", ["sleep", "inf"], schedulingGates=[{"name": "example.com/held"}]))
    now = core.patch_namespaced_pod("patched", SPACE, {"metadata": {"labels": {"strategic": "1"}}})
    assert now.metadata.labels["strategic"] == "1" and now.metadata.labels["app"] == "patched"
    now = core.patch_namespaced_pod("patched", SPACE, [
        {"op": "test", "path": "/metadata/labels/app", "value": "patched"},
        {"op": "replace", "path": "/metadata/labels/strategic", "value": "2"}])
    assert now.metadata.labels["strategic"] == "2"

    def send(kind, body, **more):
        return core.patch_namespaced_pod("patched", SPACE, body, _content_type=kind, **more)

    assert "strategic" not in send("application/merge-patch+json", {"metadata": {"labels": {"strategic": None}}}).metadata.labels
    now = send("application/strategic-merge-patch+json", {"spec": {"containers": [{"name": "c", "image": "gousse.dev/toolbox:latest"}]}})
    assert now.spec.containers[0].command == ["sleep", "inf"] and now.spec.containers[0].image.startswith("gousse.dev/")


@step
def server_side_apply_with_the_dynamic_client():
    maps = dynamic.DynamicClient(client.ApiClient()).resources.get(api_version="v1", kind="ConfigMap")

    def apply(data, manager, **more):
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "applied", "namespace": SPACE}, "data": data}
        return maps.server_side_apply(body=body, name="applied", namespace=SPACE, field_manager=manager, **more)

    apply({"k": "a", "only": "a"}, "alice")
    try:
        apply({"k": "b"}, "bob")
        raise AssertionError("no conflict")
    except dynamic.exceptions.ConflictError as error:
        assert 'conflict with \\"alice\\"' in str(error.body), error.body
    assert apply({"k": "b"}, "bob", force_conflicts=True).data.to_dict() == {"k": "b", "only": "a"}
    assert apply({}, "alice").data.to_dict() == {"k": "b"}
    assert maps.get(namespace=SPACE, label_selector="none").items == []
    maps.delete(name="applied", namespace=SPACE)


@step
def watches_and_an_informer_over_them():
    """Lists, then watches from there; a watch that ends begins again where it was."""
    listed = core.list_namespaced_config_map(SPACE, label_selector="watched")
    seen, follow = [], watch.Watch()

    def write():
        for number in range(3):
            body = {"metadata": {"name": f"w{number}", "labels": {"watched": "1"}}}
            core.create_namespaced_config_map(SPACE, body)
            core.patch_namespaced_config_map(f"w{number}", SPACE, {"data": {"k": "v"}})
            core.delete_namespaced_config_map(f"w{number}", SPACE)

    writer = threading.Thread(target=write)
    writer.start()
    version = listed.metadata.resource_version
    while len(seen) < 9:
        for event in follow.stream(core.list_namespaced_config_map, SPACE, label_selector="watched",
                                   resource_version=version, allow_watch_bookmarks=True, timeout_seconds=3):
            version = follow.resource_version
            if event["type"] != "BOOKMARK":
                seen.append((event["type"], event["object"].metadata.name))
            if len(seen) == 9:
                break
    writer.join()
    follow.stop()
    each = ["ADDED", "MODIFIED", "DELETED"]
    assert seen == [(kind, f"w{number}") for number in range(3) for kind in each], seen


@step
def shared_informer():
    told = queue.Queue()
    informers = [SharedInformer(core.list_namespaced_config_map, SPACE, label_selector="informed"),
                 SharedInformer(core.list_namespaced_secret, SPACE, label_selector="informed")]
    for informer in informers:
        for kind in ["ADDED", "MODIFIED", "DELETED"]:
            informer.add_event_handler(kind, lambda item, kind=kind: told.put((kind, item.metadata.name)))
        informer.start()
    body = {"metadata": {"name": "informed", "labels": {"informed": "1"}}}
    core.create_namespaced_config_map(SPACE, body)
    assert told.get(timeout=30) == ("ADDED", "informed")
    core.patch_namespaced_config_map("informed", SPACE, {"data": {"k": "v"}})
    assert told.get(timeout=30) == ("MODIFIED", "informed")
    core.create_namespaced_secret(SPACE, {"metadata": {"name": "s-informed", "labels": {"informed": "1"}}})
    assert told.get(timeout=30) == ("ADDED", "s-informed")
    assert informers[0].cache.get_by_key(f"{SPACE}/informed").data == {"k": "v"}
    core.delete_namespaced_config_map("informed", SPACE)
    assert told.get(timeout=30) == ("DELETED", "informed")
    for informer in informers:
        informer.stop()


@step
def exec_logs_and_attach():
    run_pod("web", ["sh", "-c", "echo begun; while read line; do echo \"<$line>\"; done"])

    def session(verb, **more):
        return stream.stream(verb, "web", SPACE, container="c", stderr=True, stdout=True, tty=False, **more)

    execs = core.connect_get_namespaced_pod_exec
    assert session(execs, stdin=False, command=["echo", "hello"]) == "hello\n"
    one = session(execs, stdin=True, command=["sh", "-c", "read line; echo \"<$line>\"; echo err >&2; exit 4"], _preload_content=False)
    one.write_stdin("in\n")
    one.run_forever(timeout=30)
    assert (one.read_stdout(), one.read_stderr(), one.returncode) == ("<in>\n", "err\n", 4)
    follow = watch.Watch().stream(core.read_namespaced_pod_log, "web", SPACE, container="c")
    assert next(follow) == "begun"
    one = session(core.connect_get_namespaced_pod_attach, stdin=True, _preload_content=False)
    one.write_stdin("attached\n")
    assert next(follow) == "<attached>"
    one.close()
    assert core.read_namespaced_pod_log("web", SPACE, tail_lines=1) == "<attached>\n"
    raises(400, core.read_namespaced_pod_log, "web", SPACE, container="other")


@step
def port_forward():
    run_pod("echo", ["serve-echo", "--tcp", "7000"], listens=7000)
    forward = stream.portforward(core.connect_get_namespaced_pod_portforward, "echo", SPACE, ports="7000")
    with contextlib.closing(forward.socket(7000)) as wire:
        wire.setblocking(True)
        for number in range(5):
            text = str(number).encode() * 20_000
            threading.Thread(target=wire.sendall, args=(text,)).start()
            back = b""
            while len(back) < len(text):
                piece = wire.recv(65536)
                assert piece, "the forward ended"
                back += piece
            assert back == text
    assert forward.error(7000) is None
    forward = stream.portforward(core.connect_get_namespaced_pod_portforward, "echo", SPACE, ports="7001")
    wire = forward.socket(7001)
    wire.setblocking(True)
    assert wire.recv(10) == b""
    assert "refused" in forward.error(7001), forward.error(7001)


@step
def token_eviction_and_deletion():
    until_account()
    request = client.AuthenticationV1TokenRequest(spec=client.V1TokenRequestSpec(audiences=["vault"], expiration_seconds=600))
    token = core.create_namespaced_service_account_token("default", SPACE, request).status.token
    told = client.AuthenticationV1Api().create_token_review(client.V1TokenReview(spec=client.V1TokenReviewSpec(token=token, audiences=["vault"])))
    assert told.status.user.username == f"system:serviceaccount:{SPACE}:default", told
    core.create_namespaced_pod_eviction("web", SPACE, client.V1Eviction(metadata=client.V1ObjectMeta(name="web", namespace=SPACE)))
    until_gone("web")
    core.delete_namespaced_pod("echo", SPACE, grace_period_seconds=0)
    core.delete_collection_namespaced_config_map(SPACE, label_selector="watched", propagation_policy="Background")
    core.delete_collection_namespaced_pod(SPACE, grace_period_seconds=0)


def until_gone(name):
    listed = core.list_namespaced_pod(SPACE, field_selector=f"metadata.name={name}")
    version = listed.metadata.resource_version
    events = watch.Watch().stream(core.list_namespaced_pod, SPACE, resource_version=version, timeout_seconds=60)
    assert not listed.items or any((e["type"], e["object"].metadata.name) == ("DELETED", name) for e in events)


def until_account():
    for _ in watch.Watch().stream(core.list_namespaced_service_account, SPACE, field_selector="metadata.name=default", timeout_seconds=60):
        return
    raise AssertionError("no account was made")


@step
def election_by_a_lease():
    led = threading.Event()
    end = threading.Event()

    class Done(Exception):
        pass

    def leads():
        led.set()

    lock = LeaseLock("election", SPACE, "one")
    setting = electionconfig.Config(lock, lease_duration=3, renew_deadline=2, retry_period=1, onstarted_leading=leads, onstopped_leading=end.set)
    threading.Thread(target=leaderelection.LeaderElection(setting).run, daemon=True).start()
    assert led.wait(30), "nobody leads"
    assert leases.read_namespaced_lease("election", SPACE).spec.holder_identity == "one"


def main():
    core.create_namespace({"metadata": {"name": SPACE}})
    until_account()
    failed = False
    for run in STEPS:
        name = run.__name__.replace("_", " ")
        try:
            run()
            print("ok", name)
        except Exception as error:
            failed = True
            print(f"FAILED {name}: {type(error).__name__}: {str(error)[:1500]}")
            traceback.print_exc()
    core.delete_namespace(SPACE)
    sys.exit(1 if failed else 0)


main()
