"""Helm's own engine, in a process of its own: cases from stdin, what it made of them to stdout, both JSON.

The library is Go's runtime in a shared object, which takes hold of signals: nothing for the process of the tests.
"""

import json
import sys
from typing import Any

import helm_python


def outcome(chart: helm_python.Chart, case: dict[str, Any]) -> dict[str, Any]:
    """The rendered files of a case, or the words of the refusal."""
    try:
        chart.validate_schema(case["values"])
        files = chart.render(case["values"], name=case["name"], namespace=case["namespace"])
    except helm_python.HelmError as error:
        return {"refused": str(error)}
    return {"files": files}


def main() -> None:
    asked = json.load(sys.stdin)
    with helm_python.Chart.load(asked["chart"]) as chart:
        answer = {
            "outcomes": {name: outcome(chart, case) for name, case in asked["cases"].items()},
            "values": chart.values,
            "lint": helm_python.lint(asked["chart"], strict=True, kube_version="v1.30.0"),
            "engine": helm_python.helm_sdk_version(),
        }
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
