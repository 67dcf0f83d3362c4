"""A real headless Chromium, driven by its DevTools protocol: opens a page, asks it, and hears its errors."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import websocket

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)
_OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0", "--remote-allow-origins=*")
_ERRORS = ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled")


class Browser:
    """One window of a browser of its own, whose profile lies in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._calls = 0
        self._events: list[dict[str, Any]] = []

    def __enter__(self) -> Browser:
        command = [CHROMIUM, *_OPTIONS, f"--user-data-dir={self._folder}", "about:blank"]
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port()}/json") as answer:
            pages = [target for target in json.load(answer) if target["type"] == "page"]
        self._socket = websocket.create_connection(pages[0]["webSocketDebuggerUrl"], timeout=60)
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self._process.kill()
        self._process.communicate()

    def _port(self) -> str:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            if found := re.search(r"DevTools listening on ws://[\w.]+:(\d+)/", line):
                return found[1]
        raise RuntimeError(f"{CHROMIUM} ended before it listened")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """A command of the protocol; its result."""
        self._calls += 1
        self._socket.send(json.dumps({"id": self._calls, "method": method, "params": params}))
        while True:
            found: dict[str, Any] = json.loads(self._socket.recv())
            if found.get("id") == self._calls:
                assert "error" not in found, found
                result: dict[str, Any] = found["result"]
                return result
            self._events.append(found)

    def open(self, page: Path, width: int, *, dark: bool = False) -> None:
        """Opens a file in a window so many pixels wide."""
        self._events.clear()
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=page.as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self._events):
            self.ask("1")

    def ask(self, expression: str) -> Any:
        """The value of an expression in the page."""
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def press(self, key: str) -> None:
        """A key, as a person presses it."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key)

    def point(self, x: float, y: float) -> None:
        """Moves the pointer to a place of the window."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def errors(self) -> list[dict[str, Any]]:
        """What the page wrote to the console since it was opened, refusals of its policy included."""
        return [event for event in self._events if event["method"] in _ERRORS]

    def requests(self) -> list[str]:
        """What the page asked for since it was opened, itself and what lies inside it left out."""
        sent = [event for event in self._events if event["method"] == "Network.requestWillBeSent"]
        return [url for event in sent if not (url := event["params"]["request"]["url"]).startswith(("file:", "data:"))]
