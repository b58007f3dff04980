"""The client of the measurements: plain http.client, told of a proxy by argument. Prints one JSON object."""

from __future__ import annotations

import http.client
import json
import ssl
import statistics
import sys
import threading
import time

HOST = "api.example.com"
CONTEXT = ssl.create_default_context()  # once: reading a system's roots takes 40 ms, a handshake two
SEQUENTIAL, CLIENTS, EACH, NEW = 300, 8, 120, 40


def connection(proxy: str) -> http.client.HTTPSConnection:
    """One connection, through the proxy ("host:port") if there is one."""
    if not proxy:
        return http.client.HTTPSConnection(HOST, context=CONTEXT, timeout=30)
    opened = http.client.HTTPSConnection(proxy, context=CONTEXT, timeout=30)
    opened.set_tunnel(HOST, 443)
    return opened


def get(opened: http.client.HTTPSConnection) -> None:
    """One small request."""
    opened.request("GET", "/small")
    answer = opened.getresponse()
    answer.read()
    if answer.status != 200:
        sys.exit(f"status {answer.status}")


def timed(function: object, count: int) -> list[float]:
    """Milliseconds of each call."""
    found = []
    for _ in range(count):
        began = time.perf_counter()
        function()  # type: ignore[operator]
        found.append(1000 * (time.perf_counter() - began))
    return found


def main() -> None:
    """Latency of small requests, throughput of eight clients, cost of new connections."""
    proxy = sys.argv[1] if len(sys.argv) > 1 else ""
    one = connection(proxy)
    get(one)
    latency = statistics.median(timed(lambda: get(one), SEQUENTIAL))
    opened = [connection(proxy) for _ in range(CLIENTS)]
    for each in opened:
        get(each)
    threads = [threading.Thread(target=lambda each=each: timed(lambda: get(each), EACH)) for each in opened]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rate = CLIENTS * EACH / (time.perf_counter() - began)
    fresh = statistics.median(timed(lambda: get(connection(proxy)), NEW))
    print(json.dumps({"latency": latency, "rate": rate, "fresh": fresh}))


if __name__ == "__main__":
    main()
