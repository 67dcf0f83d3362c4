"""A cloud's notice becomes a drain with the cloud's deadline: fake metadata services on loopback, real raylets."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import ray
from ray.cluster_utils import Cluster

from swav_ray.launch import spot_watcher
from swav_ray.launch.ray_internals.draining import Gcs, draining_nodes
from swav_ray.launch.spot_watcher import Aws, Azure, Gcp, NoMetadata, Notice

SOON = int(time.time()) + 7200  # a node may take its time to join, and drains before its deadline


class Metadata:
    """All three services at once, or only those whose path begins with `only`.

    `ends`: the time of the notice, 0 for none; `up`: whether it answers.
    """

    def __init__(self) -> None:
        self.ends, self.up, self.only, self.tokens, self.polled = 0, True, "/", ["token-0"], threading.Event()
        metadata = self

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                ok = self.path == "/latest/api/token" and self.headers["X-aws-ec2-metadata-token-ttl-seconds"]
                self.answer(200 if ok and "/latest/".startswith(metadata.only) else 404, metadata.tokens[-1])

            def do_GET(self) -> None:
                self.answer(*metadata.get(self.path, self.headers))
                metadata.polled.set()

            def answer(self, status: int, body: str) -> None:
                self.send_response(status if metadata.up else 503)
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def get(self, path: str, headers: object) -> tuple[int, str]:
        if not path.startswith(self.only):
            return 404, "Not Found"
        if path == "/latest/meta-data/spot/instance-action":
            if headers["X-aws-ec2-metadata-token"] != self.tokens[-1]:
                return 401, "Unauthorized"
            when = datetime.fromtimestamp(self.ends, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            return (200, json.dumps({"action": "terminate", "time": when})) if self.ends else (404, "Not Found")
        if path == "/computeMetadata/v1/instance/preempted" and headers["Metadata-Flavor"] == "Google":
            return 200, "TRUE\n" if self.ends else "FALSE\n"
        if path.startswith("/metadata/instance/compute/name") and headers["Metadata"] == "true":
            return 200, "vm_7"
        if path.startswith("/metadata/scheduledevents") and headers["Metadata"] == "true":
            return 200, json.dumps({"DocumentIncarnation": 1, "Events": self.events()})
        return 403, ""

    def events(self) -> list[dict[str, object]]:
        at = formatdate(SOON - 300, usegmt=True)
        events = [
            {"EventType": "Preempt", "Resources": ["vm_8"], "EventStatus": "Scheduled", "NotBefore": at},
            {"EventType": "Freeze", "Resources": ["vm_7"], "EventStatus": "Scheduled", "NotBefore": at},
        ]
        if self.ends:
            at = formatdate(self.ends, usegmt=True)
            events.append({"EventType": "Preempt", "Resources": ["vm_7"], "EventStatus": "Scheduled", "NotBefore": at})
        return events


@pytest.fixture
def metadata() -> Iterator[Metadata]:
    server = Metadata()
    yield server
    server.server.shutdown()
    server.server.server_close()


@pytest.mark.parametrize("cloud", [Aws, Azure])
def test_a_notice_carries_the_clouds_deadline(metadata: Metadata, cloud: type[Aws | Azure]) -> None:
    source = cloud(metadata.url)
    assert source.notice() is None
    metadata.ends = SOON
    notice = source.notice()
    assert notice is not None
    assert notice.deadline == SOON


def test_an_answer_that_is_no_http_counts_as_no_metadata() -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connection.recv(4096)
            connection.sendall(b"rubbish\r\n\r\n")
            connection.close()

    threading.Thread(target=answer, daemon=True).start()
    try:
        with pytest.raises(NoMetadata, match="BadStatusLine"):
            Gcp(f"http://127.0.0.1:{listener.getsockname()[1]}").notice()
    finally:
        listener.close()


def test_google_cloud_names_no_time_and_means_thirty_seconds(metadata: Metadata) -> None:
    source = Gcp(metadata.url)
    assert source.notice() is None
    metadata.ends, polled = SOON, time.time()
    notice = source.notice()
    assert notice is not None
    assert polled <= notice.deadline - 30 <= time.time()


def test_an_expired_session_token_is_renewed(metadata: Metadata) -> None:
    source = Aws(metadata.url)
    assert source.notice() is None
    metadata.tokens.append("token-1")
    metadata.ends = SOON
    assert source.notice() is not None


def test_an_azure_event_under_way_has_no_time_any_more(metadata: Metadata, monkeypatch: pytest.MonkeyPatch) -> None:
    started = {"EventType": "Terminate", "Resources": ["vm_7"], "EventStatus": "Started", "NotBefore": ""}
    monkeypatch.setattr(metadata, "events", lambda: [started])
    polled = time.time()
    notice = Azure(metadata.url).notice()
    assert notice is not None
    assert polled <= notice.deadline - 30 <= time.time()


@pytest.mark.parametrize(("prefix", "cloud"), [("/latest", Aws), ("/computeMetadata", Gcp), ("/metadata", Azure)])
def test_the_cloud_is_the_one_that_answers(metadata: Metadata, prefix: str, cloud: type) -> None:
    metadata.only = prefix
    assert type(spot_watcher.detect(metadata.url)) is cloud


def test_if_no_cloud_answers_the_message_says_what_each_did(metadata: Metadata) -> None:
    metadata.up = False
    with pytest.raises(NoMetadata, match="503"):
        spot_watcher.detect(metadata.url)


def test_a_service_that_fails_for_a_while_is_polled_again(metadata: Metadata, caplog: pytest.LogCaptureFixture) -> None:
    metadata.up = False
    metadata.ends = SOON
    found: list[Notice] = []
    thread = threading.Thread(target=lambda: found.append(spot_watcher.watch(Gcp(metadata.url), 0.01)), daemon=True)
    thread.start()
    assert metadata.polled.wait(120)
    assert found == []
    metadata.up = True
    thread.join(120)
    assert len(found) == 1
    assert sum("does not answer" in record.message for record in caplog.records) == 1


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@ray.remote(num_cpus=0)
class Busy:
    """Work that keeps a node: one without any leaves as soon as it drains."""

    def here(self) -> str:
        return ray.get_runtime_context().get_node_id()


def busy_node(cluster: Cluster, name: str) -> tuple[str, object]:
    """A new node with an actor on it; the actor lives as long as the caller keeps it."""
    node = cluster.add_node(num_cpus=1, resources={name: 1})
    actor = Busy.options(resources={name: 1}).remote()
    assert ray.get(actor.here.remote()) == node.node_id
    return node.node_id, actor


@pytest.mark.ray
@pytest.mark.parametrize("cloud", ["aws", "azure", "gcp"])
def test_the_process_drains_its_node_and_no_other(cluster: Cluster, metadata: Metadata, cloud: str) -> None:
    node, _actor = busy_node(cluster, cloud)
    command = [sys.executable, "-m", "swav_ray.launch.spot_watcher", "--cloud", cloud, "--metadata-url", metadata.url]
    arguments = ["--address", cluster.address, "--node-id", node, "--poll-seconds", "0.05"]
    process = subprocess.Popen(
        [*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ.copy()
    )
    assert metadata.polled.wait(240)
    before = draining_nodes()
    assert node not in before
    metadata.ends = SOON
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    assert f"node {node} drains" in output
    after = draining_nodes()
    assert set(after) - set(before) == {node}
    if cloud != "gcp":
        assert after[node] == SOON * 1000


@pytest.mark.ray
def test_drain_now_needs_no_cloud(cluster: Cluster) -> None:
    node, _actor = busy_node(cluster, "now")
    began = time.time()
    assert spot_watcher.main(["--address", cluster.address, "--node-id", node, "--drain-now", "100"]) == 0
    # Ray keeps whole milliseconds.
    assert began - 0.001 <= draining_nodes()[node] / 1000 - 100 <= time.time()


@pytest.mark.ray
def test_without_an_id_it_finds_the_nodes_of_its_machine(cluster: Cluster) -> None:
    def alive() -> set[str]:
        return {node["NodeID"] for node in ray.nodes() if node["Alive"]}

    # Nodes that other tests have drained may leave meanwhile; none joins.
    before = alive()
    found = set(spot_watcher.own_nodes(Gcs(cluster.address), cluster.address))
    assert alive() <= found <= before


def test_a_ray_that_does_not_answer_in_time_is_exit_status_1(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(address: str) -> Gcs:
        raise RuntimeError(f"nothing listens at {address}")

    monkeypatch.setattr(spot_watcher, "Gcs", nobody)
    assert spot_watcher.main(["--address", "127.0.0.1:1", "--drain-now", "-1"]) == 1
