"""The kubelets and the API server tell of the same pods."""

from datetime import datetime

HOUSEKEEPING = 10


def moment(text):
    return datetime.fromisoformat(text).timestamp()


async def test_kubelets_show_no_pod_that_the_api_server_does_not(simulate):
    simulation = await simulate(nodes=2, pods=20, churn=1.0)
    for _ in range(25):
        now = simulation.cluster.advance(5)
        pods = {
            (pod["metadata"]["namespace"], pod["metadata"]["name"]): pod
            for pod in await simulation.items("/api/v1/pods")
        }
        shown = set()
        for node, name in enumerate(simulation.cluster.node_names):
            for reported in simulation.cluster.truth(node)["pods"]:
                reference = reported["podRef"]
                pod = pods[reference["namespace"], reference["name"]]
                shown.add((reference["namespace"], reference["name"]))
                assert pod["spec"]["nodeName"] == name
                assert pod["status"]["phase"] == "Running"
                assert pod["status"]["startTime"] == reported["startTime"]
        settled = {
            key
            for key, pod in pods.items()
            if now - moment(pod["status"]["startTime"]) > 2 * HOUSEKEEPING + 5 and not restarted(pod, now)
        }
        assert settled <= shown


def restarted(pod, now):
    """Whether all its containers started lately: until they are sampled again, the pod is absent."""
    begun = [moment(part["state"]["running"]["startedAt"]) for part in pod["status"]["containerStatuses"]]
    return all(now - start <= 2 * HOUSEKEEPING for start in begun)


async def test_containers_have_the_start_times_and_names_of_their_statuses(simulate):
    simulation = await simulate(nodes=4, pods=20, churn=0.0)
    simulation.cluster.advance(1_000)
    restarts = 0
    pods = {pod["metadata"]["uid"]: pod for pod in await simulation.items("/api/v1/pods")}
    hashes = {
        pod["metadata"]["annotations"]["kubernetes.io/config.hash"]: pod
        for pod in pods.values()
        if "annotations" in pod["metadata"]
    }
    assert len(hashes) == 4  # the static pods: a kubelet knows them by the hash of their files

    for node in range(4):
        for reported in simulation.cluster.truth(node)["pods"]:
            uid = reported["podRef"]["uid"]
            pod = hashes.get(uid) or pods[uid]
            statuses = {part["name"]: part for part in pod["status"]["containerStatuses"]}
            for part in reported["containers"]:
                status = statuses[part["name"]]
                begun = status["state"]["running"]["startedAt"]
                if moment(begun) < simulation.cluster.config.clock() - HOUSEKEEPING:
                    assert part["startTime"] == begun
                restarts += status["restartCount"]
                if status["restartCount"] and pod["metadata"]["namespace"] == "leaky":
                    assert status["lastState"]["terminated"]["reason"] == "OOMKilled"
    assert restarts > 0


async def test_a_restart_is_told_as_a_modified_pod_with_one_restart_more(simulate):
    simulation = await simulate(nodes=1, pods=20, churn=0.0)
    answer = (await simulation.api("/api/v1/namespaces/leaky/pods")).decoded()
    (leaking,) = answer["items"]
    before = [part["restartCount"] for part in leaking["status"]["containerStatuses"]]
    version = answer["metadata"]["resourceVersion"]
    for _ in range(5):
        simulation.cluster.advance(240)
        events = await simulation.watch("/api/v1/pods", version, seconds=0.05, allowWatchBookmarks="true")
        version = events[-1]["object"]["metadata"]["resourceVersion"]
        for event in events[:-1]:
            assert event["type"] == "MODIFIED"
            body = event["object"]
            if body["metadata"]["namespace"] == "leaky":
                after = [part["restartCount"] for part in body["status"]["containerStatuses"]]
                assert sum(after) > sum(before)
                before = after
    final = (await simulation.api("/api/v1/namespaces/leaky/pods")).decoded()["items"][0]
    assert [part["restartCount"] for part in final["status"]["containerStatuses"]] == before
    assert sum(before) >= 2


async def test_about_the_wanted_fraction_of_pods_is_replaced_each_minute(simulate):
    simulation = await simulate(nodes=20, pods=20, churn=0.2)
    version = (await simulation.api("/api/v1/pods")).decoded()["metadata"]["resourceVersion"]
    simulation.cluster.advance(120)

    events = await simulation.watch("/api/v1/pods", version)

    deleted = sum(event["type"] == "DELETED" for event in events)
    assert 0.7 * 160 < deleted < 1.3 * 160


async def test_pod_names_are_unique_and_quantities_are_spelled_in_many_ways(simulate):
    simulation = await simulate(nodes=20, pods=20)
    pods = await simulation.items("/api/v1/pods")

    names = {(pod["metadata"]["namespace"], pod["metadata"]["name"]) for pod in pods}
    assert len(names) == len({pod["metadata"]["uid"] for pod in pods}) == len(pods) == 400
    assert len({namespace for namespace, _ in names}) >= 8
    requests = [
        part["resources"]["requests"]
        for pod in pods
        for part in pod["spec"]["containers"]
        if "requests" in part["resources"]
    ]
    suffixes = {request["memory"].lstrip("0123456789.") for request in requests}
    assert suffixes >= {"Mi", "Ki", "", "m"}
    assert {request["cpu"].lstrip("0123456789.") for request in requests} >= {"m", "e-3", "u", ""}
    assert {pod["metadata"]["ownerReferences"][0]["kind"] for pod in pods} == {
        "Node",
        "DaemonSet",
        "ReplicaSet",
        "StatefulSet",
    }
