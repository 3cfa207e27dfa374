"""A real Chromium without a window, driven over its debugging protocol; nothing but websockets is needed."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--use-gl=angle", "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-extensions", "--disable-dev-shm-usage", "--mute-audio",
    "--no-proxy-server", "--disable-background-timer-throttling", "--disable-renderer-backgrounding",
    "--disable-backgrounding-occluded-windows", "--remote-debugging-port=0", "--remote-debugging-address=127.0.0.1",
)  # fmt: skip
CODES = {"Tab": 9, "Enter": 13, "Escape": 27}


def executable() -> str | None:
    """Where Chromium is, if it is."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Page:
    """One tab. `console`: what it logged, and exceptions nobody caught."""

    def __init__(self, folder: Path, extra: tuple[str, ...] = ()) -> None:
        from websockets.sync.client import connect

        path = executable()
        assert path, "no Chromium"
        command = [path, *FLAGS, *extra, f"--user-data-dir={folder}", "about:blank"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            port_file = folder / "DevToolsActivePort"
            self._until(lambda: port_file.exists() and "\n" in port_file.read_text(), 20.0, "Chromium to start")
            port, address = port_file.read_text().split("\n")[:2]
            self._stack = contextlib.ExitStack()
            link = connect(f"ws://127.0.0.1:{port}{address}", max_size=64 << 20, proxy=None)
            self._socket = self._stack.enter_context(link)
            self._numbers = itertools.count(1)
            self._session: str | None = None
            self.console: list[str] = []
            target = self.call("Target.createTarget", url="about:blank")["targetId"]
            self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for domain in ("Page", "Runtime", "Log"):
                self.call(f"{domain}.enable")
        except BaseException:
            self._process.kill()
            raise

    @staticmethod
    def _until(done: Any, seconds: float, what: str) -> Any:
        end = time.monotonic() + seconds
        while not (value := done()):
            assert time.monotonic() < end, f"waited {seconds:g} s for {what}"
            time.sleep(0.05)
        return value

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command of the protocol and its result."""
        number = next(self._numbers)
        session = {"sessionId": self._session} if self._session else {}
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters} | session))
        while True:
            message = json.loads(self._socket.recv(timeout=20.0))
            if message.get("id") == number:
                assert "error" not in message, f"{method}: {message['error']}"
                return message["result"]
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        parameters = message.get("params", {})
        if message.get("method") == "Runtime.consoleAPICalled":
            texts = [str(a.get("value", a.get("description"))) for a in parameters["args"]]
            self.console.append(f"{parameters['type']}: {' '.join(texts)}")
        elif message.get("method") == "Runtime.exceptionThrown":
            self.console.append(f"exception: {parameters['exceptionDetails']['exception'].get('description')}")
        elif message.get("method") == "Log.entryAdded":
            entry = parameters["entry"]
            self.console.append(f"{entry['level']}: {entry['text']} {entry.get('url', '')}")

    def size(self, width: int, height: int, mobile: bool = False, ratio: float = 1.0) -> None:
        """The window's size in CSS pixels."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=ratio,
                  mobile=mobile)  # fmt: skip
        self.call("Emulation.setTouchEmulationEnabled", enabled=mobile)

    def open(self, url: str) -> None:
        """Load an address anew."""
        self.call("Page.navigate", url="about:blank")
        self.call("Page.navigate", url=url)

    def value(self, expression: str) -> Any:
        """The value of a JavaScript expression; promises are awaited."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, f"{expression}: {result.get('exceptionDetails')}"
        return result["result"].get("value")

    def wait(self, expression: str, seconds: float = 10.0) -> Any:
        """The value of an expression as soon as it is true."""
        return self._until(lambda: self.value(expression), seconds, expression)

    def press(self, key: str, code: str = "") -> None:
        """One key, down and up."""
        known = {"windowsVirtualKeyCode": CODES[key]} if key in CODES else {}
        text = {"text": key} if len(key) == 1 else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, code=code or key, **known, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key, code=code or key, **known)

    def screenshot(self) -> bytes:
        """PNG of what is to be seen."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])

    def close(self) -> None:
        """End Chromium."""
        with contextlib.suppress(Exception):
            self._session = None
            self.call("Browser.close")
        with contextlib.suppress(Exception):
            self._stack.close()
        try:
            self._process.wait(timeout=5.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
