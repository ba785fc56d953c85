#!/usr/bin/env python3
"""Runs every query of a Grafana dashboard against a Prometheus and says which of them find data.

    deploy/check-dashboard.py [--prometheus URL] [--rate-interval 1m] [--dashboard FILE]

A query that finds nothing is a panel that shows nothing: a metric was renamed, a label is gone, or what it counts has
not happened yet. Exit code 1 if there is any, 2 if Prometheus does not answer. Needs the standard library only.
"""

import argparse
import json
import math
import pathlib
import re
import sys
import urllib.error
import urllib.parse
import urllib.request

DASHBOARD = pathlib.Path(__file__).parent / "grafana" / "dashboards" / "flamingock.json"


def queries(dashboard):
    """(panel's title, query) of every panel, those inside rows among them."""
    panels = list(dashboard["panels"])
    while panels:
        panel = panels.pop(0)
        panels[:0] = panel.get("panels", [])
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]


def substitute(expr, variables):
    """Grafana's variables, as it would fill them in. One that is left over is an error of the dashboard."""
    filled = re.sub(r"\$(?:\{(\w+)\}|(\w+))", lambda match: variables[match[1] or match[2]], expr)
    return filled


def variables_of(dashboard, rate_interval):
    variables = {"__rate_interval": rate_interval, "__interval": rate_interval, "__range": "1h"}
    for variable in dashboard.get("templating", {}).get("list", []):
        variables[variable["name"]] = variable.get("allValue") or ".*"
    return variables


def ask(prometheus, expr):
    """The samples of an instant query, those that are no number left out."""
    body = urllib.parse.urlencode({"query": expr}).encode()
    request = urllib.request.Request(prometheus.rstrip("/") + "/api/v1/query", data=body)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            found = json.load(answer)["data"]
    except urllib.error.HTTPError as error:
        # Prometheus explains what is wrong with a query in the body of a 4xx.
        return [], json.load(error).get("error", str(error))
    samples = found["result"] if found["resultType"] == "vector" else [{"metric": {}, "value": found["result"]}]
    values = [float(sample["value"][1]) for sample in samples]
    return [value for value in values if not math.isnan(value)], None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prometheus", default="http://127.0.0.1:9090", metavar="URL")
    parser.add_argument("--rate-interval", default="1m", help="what $__rate_interval stands for (default: 1m)")
    parser.add_argument("--dashboard", type=pathlib.Path, default=DASHBOARD, metavar="FILE")
    arguments = parser.parse_args()

    dashboard = json.loads(arguments.dashboard.read_text(encoding="utf-8"))
    variables = variables_of(dashboard, arguments.rate_interval)
    rows, empty = [], 0
    for title, expr in queries(dashboard):
        try:
            values, complaint = ask(arguments.prometheus, substitute(expr, variables))
        except KeyError as error:
            values, complaint = [], f"unknown variable {error}"
        except (OSError, ValueError) as error:
            print(f"error: {arguments.prometheus} does not answer as a Prometheus does: {error}", file=sys.stderr)
            return 2
        empty += not values
        largest = f"{max(values):.4g}" if values else "-"
        rows.append((title, str(len(values)), largest, complaint or ("ok" if values else "NO DATA"), expr))

    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for title, series, largest, verdict, expr in [("PANEL", "SERIES", "LARGEST", "", "QUERY"), *rows]:
        print(f"{title:{widths[0]}}  {series:>6}  {largest:>9}  {verdict:{widths[3]}}  {expr}")
    print(f"{len(rows) - empty} of {len(rows)} queries found data")
    return 1 if empty else 0


if __name__ == "__main__":
    sys.exit(main())
