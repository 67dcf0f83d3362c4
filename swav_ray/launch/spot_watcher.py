"""`python -m swav_ray.launch.spot_watcher --cloud aws|gcp|azure|auto`: one small process a node, beside Ray.

Ray's own launcher lets a spot node vanish. This process polls the machine's metadata service for the cloud's notice.
Then it drains the node in Ray with the cloud's deadline: Ray places no new work there, and training learns of it in
time for a checkpoint. The process ends when Ray has accepted.

Sources: the clouds' documentation of the instance-action item (AWS), the `preempted` value (Google Cloud) and scheduled
events (Azure).
"""

from __future__ import annotations

import argparse
import http.client
import json
import logging
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import ray.exceptions
import ray.util

from swav_ray.launch.ray_internals.draining import Gcs, gcs_address

LINK_LOCAL = "http://169.254.169.254"
POLL_SECONDS = 2.0
# Between the notice and the machine's end, if the cloud names no time.
GCP_SECONDS = 30.0
AZURE_SECONDS = 30.0
_HTTP_SECONDS = 2.0

_log = logging.getLogger("spot_watcher")


@dataclass(frozen=True)
class Notice:
    """This machine is preempted: `deadline` in seconds since the epoch, and the cloud's reason."""

    deadline: float
    reason: str


class NoMetadata(RuntimeError):
    """The metadata service is unavailable or answers something else; the message says what."""


def _request(url: str, headers: dict[str, str], method: str = "GET") -> tuple[int, str]:
    """Status and body; raises NoMetadata if nothing answers."""
    # Never through a proxy: it would answer for another machine, or not at all.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(
            urllib.request.Request(url, headers=headers, method=method), timeout=_HTTP_SECONDS
        ) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace")
    except (OSError, http.client.HTTPException, UnicodeDecodeError) as error:
        raise NoMetadata(f"{url}: {type(error).__name__}: {error}") from None


def _expect(status: int, url: str) -> None:
    if status != 200:
        raise NoMetadata(f"{url}: HTTP status {status}")


class Aws:
    """IMDSv2: every request carries a session token, which expires after six hours."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/latest"
        self._token = ""

    def _renew(self) -> None:
        url = f"{self._url}/api/token"
        status, body = _request(url, {"X-aws-ec2-metadata-token-ttl-seconds": "21600"}, "PUT")
        _expect(status, url)
        self._token = body

    def notice(self) -> Notice | None:
        """The interruption of this spot instance; None while there is none. Raises NoMetadata."""
        if not self._token:
            self._renew()
        url = f"{self._url}/meta-data/spot/instance-action"
        status, body = _request(url, {"X-aws-ec2-metadata-token": self._token})
        if status == 401:
            self._renew()
            status, body = _request(url, {"X-aws-ec2-metadata-token": self._token})
        if status == 404:
            return None
        _expect(status, url)
        found = json.loads(body)
        deadline = datetime.fromisoformat(found["time"]).timestamp()
        return Notice(deadline, f"AWS preempts this spot instance: {found['action']} at {found['time']}")


class Gcp:
    """`preempted` becomes TRUE; the machine ends 30 seconds later."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/computeMetadata/v1/instance/preempted"

    def notice(self) -> Notice | None:
        """The preemption of this machine; None while there is none. Raises NoMetadata."""
        status, body = _request(self._url, {"Metadata-Flavor": "Google"})
        _expect(status, self._url)
        if body.strip() != "TRUE":
            return None
        return Notice(time.time() + GCP_SECONDS, "Google Cloud preempts this machine")


class Azure:
    """Scheduled events of the whole set of machines. Those count that name this one and end it."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/metadata"
        self._name = ""

    def notice(self) -> Notice | None:
        """The eviction of this machine; None while there is none. Raises NoMetadata."""
        headers = {"Metadata": "true"}
        if not self._name:
            url = f"{self._url}/instance/compute/name?api-version=2021-02-01&format=text"
            status, body = _request(url, headers)
            _expect(status, url)
            self._name = body.strip()
        url = f"{self._url}/scheduledevents?api-version=2020-07-01"
        status, body = _request(url, headers)
        _expect(status, url)
        for event in json.loads(body)["Events"]:
            if event["EventType"] in ("Preempt", "Terminate") and self._name in event["Resources"]:
                # NotBefore is empty once the event has started.
                before = event.get("NotBefore") or ""
                deadline = parsedate_to_datetime(before).timestamp() if before else time.time() + AZURE_SECONDS
                return Notice(deadline, f"Azure preempts this machine: {event['EventType']}, not before {before}")
        return None


CLOUDS: dict[str, Callable[[str], Aws | Gcp | Azure]] = {"aws": Aws, "gcp": Gcp, "azure": Azure}


def detect(url: str) -> Aws | Gcp | Azure:
    """The cloud whose metadata service answers at `url`; raises NoMetadata if none does."""
    problems = []
    for cloud in CLOUDS.values():
        source = cloud(url)
        try:
            source.notice()
        except (NoMetadata, ValueError, KeyError) as error:
            problems.append(str(error))
        else:
            return source
    raise NoMetadata("; ".join(problems))


def own_nodes(gcs: Gcs, address: str) -> list[str]:
    """Hex ids of the live Ray nodes of this machine: all of them end with it."""
    return gcs.nodes_at(ray.util.get_node_ip_address(address))


def drain(gcs: Gcs, node_id: str, notice: Notice) -> bool:
    """Requests that Ray drains a node until the deadline; whether Ray accepts. A node without work leaves at once."""
    accepted, why = gcs.drain(node_id, notice.reason, notice.deadline)
    left = notice.deadline - time.time()
    if accepted:
        _log.info("node %s drains, %.0f s left: %s", node_id, left, notice.reason)
    else:
        _log.warning("Ray refuses to drain node %s: %s", node_id, why)
    return accepted


def watch(source: Aws | Gcp | Azure, poll_seconds: float) -> Notice:
    """Polls until there is a notice. A service that does not answer is reported once and polled again."""
    silent = False
    while True:
        try:
            notice = source.notice()
        except (NoMetadata, ValueError, KeyError) as error:
            if not silent:
                _log.warning("the metadata service does not answer, trying again: %s", error)
            silent = True
        else:
            if silent:
                _log.info("the metadata service answers again")
            silent = False
            if notice is not None:
                return notice
        time.sleep(poll_seconds)


def act(notice: Notice, address: str, node_id: str) -> bool:
    """Drains this machine's Ray nodes, trying until the deadline; whether Ray has accepted."""
    while True:
        try:
            gcs = Gcs(address)
            nodes = [node_id] if node_id else own_nodes(gcs, address)
            if not nodes:
                _log.warning("no Ray node of this machine is alive in the cluster at %s", address)
            if nodes and sum(drain(gcs, node, notice) for node in nodes) == len(nodes):
                return True
        except (ray.exceptions.RayError, OSError, RuntimeError) as error:
            _log.warning("Ray at %s is unavailable, trying again: %s", address, error)
        if time.time() > notice.deadline:
            return False
        time.sleep(1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m swav_ray.launch.spot_watcher",
        description="Drains this machine's Ray node when the cloud announces that it preempts the machine.",
    )
    parser.add_argument(
        "--cloud", choices=[*CLOUDS, "auto"], default="auto", help="whose notices (default: tries each)"
    )
    parser.add_argument("--metadata-url", default=LINK_LOCAL, help="metadata service (default %(default)s)")
    parser.add_argument("--address", default="", help="HOST:PORT of Ray (default: RAY_ADDRESS, or this machine's)")
    parser.add_argument("--node-id", default="", help="Ray node to drain (default: those of this machine)")
    parser.add_argument("--poll-seconds", type=float, default=POLL_SECONDS, help="default %(default)s")
    parser.add_argument(
        "--drain-now", type=float, metavar="SECONDS", help="poll no cloud: this machine ends in SECONDS (for preStop)"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. 0: Ray drains the node; 1: Ray was not reached before the deadline; 2: a wrong argument."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)
    address = gcs_address(options.address or os.environ.get("RAY_ADDRESS") or "auto")
    if not address:
        _log.error("swav_ray: --address: no Ray runs on this machine; give HOST:PORT of the head")
        return 2
    if options.drain_now is not None:
        notice = Notice(time.time() + options.drain_now, "this machine is to stop")
    else:
        url = options.metadata_url.rstrip("/")
        try:
            source = detect(url) if options.cloud == "auto" else CLOUDS[options.cloud](url)
        except NoMetadata as error:
            _log.error("swav_ray: --cloud auto: no cloud's metadata service answers; name the cloud (%s)", error)
            return 2
        _log.info("watching for notices of %s at %s, for Ray at %s", type(source).__name__, url, address)
        notice = watch(source, options.poll_seconds)
    if act(notice, address, options.node_id):
        return 0
    when = datetime.fromtimestamp(notice.deadline, UTC).isoformat(timespec="seconds")
    _log.error("swav_ray: Ray did not accept before the machine's end at %s", when)
    return 1


if __name__ == "__main__":
    sys.exit(main())
