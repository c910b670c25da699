"""What the numbers mean: counters, rates, restarts, leaks, and that the seed and the clock alone decide."""

from datetime import datetime
from itertools import pairwise

from collector.sim import ManualClock, SimConfig, SimulatedCluster

START = 1_800_000_000.0


def make(**chosen):
    return SimulatedCluster(SimConfig(**{"nodes": 2, "pods": 20, "clock": ManualClock(START), **chosen}))


def seconds(text):
    return datetime.fromisoformat(text).timestamp()


def entities(summary):
    """Every counted thing of an answer: key (with its epoch) to its section."""
    node = summary["node"]
    yield ("node", node["startTime"]), node
    for part in node["systemContainers"]:
        yield ("system", part["name"], part["startTime"]), part
    for pod in summary["pods"]:
        yield (pod["podRef"]["uid"], pod["startTime"]), pod
        for part in pod["containers"]:
            yield (pod["podRef"]["uid"], part["name"], part["startTime"]), part


def test_the_same_seed_and_clock_give_the_same_bytes_whatever_was_asked_before():
    one, other = make(), make()
    for moment in (START + 5, START + 200, START + 1_000):
        one.world.summary_at(0, moment)

    for node in (1, 0):
        assert bytes(one.world.summary_at(node, START + 700)) == bytes(other.world.summary_at(node, START + 700))


def test_another_seed_gives_another_cluster():
    assert make(seed=1).truth(0) != make(seed=2).truth(0)


def test_a_rate_from_two_answers_is_the_rate_the_kubelet_reports():
    cluster = make()
    before, after = dict(entities(cluster.truth(0, START + 100))), dict(entities(cluster.truth(0, START + 110)))
    compared = 0
    for key, section in after.items():
        if key not in before or "usageNanoCores" not in section["cpu"]:
            continue
        first, last = before[key]["cpu"], section["cpu"]
        elapsed = seconds(last["time"]) - seconds(first["time"])
        rate = (last["usageCoreNanoSeconds"] - first["usageCoreNanoSeconds"]) / elapsed
        assert elapsed == 10
        assert abs(rate - last["usageNanoCores"]) <= 1
        compared += 1
    assert compared > 50


def test_a_rate_over_a_minute_is_the_mean_of_the_rates_within_it():
    cluster = make(churn=0.0)
    answers = [dict(entities(cluster.truth(0, START + 600 + 10 * tick))) for tick in range(7)]
    for key in answers[0]:
        rates = [answer[key]["cpu"]["usageNanoCores"] for answer in answers[1:] if key in answer]
        if len(rates) == 6:
            first, last = answers[0][key]["cpu"], answers[6][key]["cpu"]
            assert seconds(last["time"]) - seconds(first["time"]) == 60
            counted = last["usageCoreNanoSeconds"] - first["usageCoreNanoSeconds"]
            assert abs(counted / 60 - sum(rates) / 6) <= 1


def test_counters_never_fall_within_an_epoch():
    cluster, highest = make(churn=0.5), {}
    for step in range(60):
        for key, section in entities(cluster.truth(0, START + 17 * step)):
            counters = [section["cpu"]["usageCoreNanoSeconds"], section["memory"]["pageFaults"]]
            if "network" in section:
                counters += [section["network"]["rxBytes"], section["network"]["txBytes"]]
            assert all(now >= then for now, then in zip(counters, highest.get(key, counters), strict=True)), key
            highest[key] = counters


def test_load_moves_within_minutes_and_by_the_hour_of_the_day():
    cluster = make(churn=0.0)
    hours = [cluster.truth(0, START + 3_600 * hour)["node"]["cpu"]["usageNanoCores"] for hour in range(24)]
    minutes = [cluster.truth(0, START + 60 * minute)["node"]["cpu"]["usageNanoCores"] for minute in range(10)]

    assert max(hours) > 1.2 * min(hours)
    assert len(set(minutes)) == 10


def test_a_leaking_container_grows_until_it_is_killed_and_starts_again_from_nothing():
    cluster = make(nodes=1, churn=0.0)
    seen = []
    for step in range(150):
        for pod in cluster.truth(0, START + 10 * step)["pods"]:
            if pod["podRef"]["namespace"] == "leaky":
                seen += [part for part in pod["containers"] if part["name"] == "app"]
    starts = list(dict.fromkeys(part["startTime"] for part in seen))
    lives = [[part for part in seen if part["startTime"] == start] for start in starts]

    assert len(lives) >= 2
    whole = max(lives, key=len)
    sizes = [part["memory"]["workingSetBytes"] for part in whole]
    assert sizes[-1] > 2 * sizes[0]
    assert sizes[-1] <= 512 * 2**20
    for before, after in pairwise(lives):
        assert after[0]["cpu"]["usageCoreNanoSeconds"] < before[-1]["cpu"]["usageCoreNanoSeconds"]
        assert after[0]["memory"]["workingSetBytes"] < before[-1]["memory"]["workingSetBytes"]


def test_the_first_sample_of_a_container_has_a_counter_and_no_rate():
    cluster, first = make(churn=1.0), []
    for step in range(30):
        for pod in cluster.truth(0, START + 10 * step)["pods"]:
            first += [part["cpu"] for part in pod["containers"] if "usageNanoCores" not in part["cpu"]]

    assert first
    assert all(cpu["usageCoreNanoSeconds"] >= 0 for cpu in first)


def test_memory_of_limited_containers_and_of_the_node_adds_up():
    summary = make().truth(0)
    memory = summary["node"]["memory"]
    pods = summary["node"]["systemContainers"][2]

    assert pods["name"] == "pods"
    total = sum(pod["memory"]["workingSetBytes"] for pod in summary["pods"])
    assert pods["memory"]["workingSetBytes"] == total
    assert memory["workingSetBytes"] > total
    for pod in summary["pods"]:
        for part in pod["containers"]:
            size = part["memory"]
            assert size["workingSetBytes"] <= size["usageBytes"]
            assert size.get("availableBytes", 1) > 0


def test_node_cpu_is_a_little_more_than_all_its_pods():
    summary = make(churn=0.0).truth(0, START + 400)
    pods = sum(pod["cpu"]["usageNanoCores"] for pod in summary["pods"])

    assert pods * 0.8 < summary["node"]["cpu"]["usageNanoCores"] < pods * 1.5


def times(part):
    """Every `time` of an answer, seconds since 1970."""
    if isinstance(part, dict):
        if "time" in part:
            yield seconds(part["time"])
        for child in part.values():
            yield from times(child)
    elif isinstance(part, list):
        for child in part:
            yield from times(child)


def test_sample_times_are_right_when_the_hour_gets_another_first_digit():
    cluster, ten = make(churn=0.0), START + 7_200  # ten o'clock
    for moment in (ten - 10, ten, ten + 5, ten + 10, ten, ten + 36_000):
        for node in (0, 1):
            shown = set(times(cluster.truth(node, moment)))
            assert len(shown) > 5
            assert moment - 20 <= min(shown) <= max(shown) <= moment


def test_an_answer_changes_once_a_housekeeping_interval():
    cluster = make(churn=0.0)

    assert cluster.truth(0, START + 20) == cluster.truth(0, START + 29)
    assert cluster.truth(0, START + 20) != cluster.truth(0, START + 30)
    brisk = make(housekeeping=1, churn=0.0)
    assert brisk.truth(0, START + 20) != brisk.truth(0, START + 21)
