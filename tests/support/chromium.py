"""A real Chromium without a window, driven over the DevTools protocol through two pipes: no port, and
nothing that has to be installed besides the browser."""

import base64
import json
import os
import pathlib
import select
import shutil
import subprocess
import tempfile
import time

KEYS = {"Enter": (13, "\r"), "Escape": (27, None), "ArrowLeft": (37, None), "ArrowRight": (39, None), "ArrowUp": (38, None),
        "ArrowDown": (40, None), "Home": (36, None), "End": (35, None), "Tab": (9, None)}


def binary():
    """Where one is, or None."""
    names = [os.environ.get("TALLY_CHROMIUM") or "", "chromium", "chromium-browser", "google-chrome"]
    return next((found for name in names if name and (found := shutil.which(name))), None)


class Chromium:
    def __init__(self):
        self.profile = tempfile.mkdtemp(prefix="tally-chromium-")
        to_browser, self.write = os.pipe()
        self.read, from_browser = os.pipe()
        # It takes orders from 3 and answers on 4. Its sandbox needs what containers and root lack; it shows our
        # page alone, and no name resolves.
        arguments = ["--headless=new", "--remote-debugging-pipe", f"--user-data-dir={self.profile}", "--no-sandbox",
                     "--no-first-run", "--disable-gpu", "--disable-dev-shm-usage", "--disable-extensions",
                     "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-pings",
                     "--hide-scrollbars", "--force-color-profile=srgb", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
        self.process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{to_browser} 4>&{from_browser}', "bash", binary(), *arguments],
            pass_fds=(to_browser, from_browser), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": self.profile})
        os.close(to_browser)
        os.close(from_browser)
        self.buffer = b""
        self.count = 0
        self.answers = {}
        self.pages = {}

    def close(self):
        try:
            self.send("Browser.close")
            self.process.wait(timeout=10)
        except (OSError, RuntimeError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        os.close(self.write)
        os.close(self.read)
        shutil.rmtree(self.profile, ignore_errors=True)

    def send(self, method, parameters=None, session=None):
        self.count += 1
        number = self.count
        message = {"id": number, "method": method, "params": parameters or {}}
        if session:
            message["sessionId"] = session
        os.write(self.write, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + 60
        while number not in self.answers:
            self.listen(end - time.monotonic())
        answer = self.answers.pop(number)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def listen(self, seconds):
        """Takes what the browser says next."""
        if not select.select([self.read], [], [], max(seconds, 0))[0]:
            raise RuntimeError("Chromium does not answer")
        part = os.read(self.read, 1 << 20)
        if not part:
            raise RuntimeError("Chromium has ended")
        *messages, self.buffer = (self.buffer + part).split(b"\0")
        for message in map(json.loads, messages):
            if "id" in message:
                self.answers[message["id"]] = message
            elif message.get("sessionId") in self.pages:
                self.pages[message["sessionId"]].hear(message["method"], message["params"])

    def page(self, width=1280, height=900, theme="light"):
        target = self.send("Target.createTarget", {"url": "about:blank"})["targetId"]
        session = self.send("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        return Page(self, target, session, width, height, theme)


class Page:
    """A tab. What goes wrong in it is kept in `errors`, and every address that it asks for in `requests`."""

    def __init__(self, browser, target, session, width, height, theme):
        self.browser, self.target, self.session = browser, target, session
        self.errors, self.requests = [], []
        browser.pages[session] = self
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")
        self.send("Page.addScriptToEvaluateOnNewDocument", {"source": "window.hacked = () => { document.title = 'hacked'; window.was_hacked = true; };"})
        self.size(width, height)
        self.theme(theme)

    def close(self):
        del self.browser.pages[self.session]
        self.browser.send("Target.closeTarget", {"targetId": self.target})

    def send(self, method, parameters=None):
        return self.browser.send(method, parameters, self.session)

    def hear(self, method, parameters):
        if method == "Runtime.exceptionThrown":
            details = parameters["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description", details["text"]))
        elif method == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning"):
            self.errors.append(parameters["entry"]["text"] + " " + parameters["entry"].get("url", ""))
        elif method == "Runtime.consoleAPICalled":
            self.errors.append(str([each.get("value") for each in parameters["args"]]))
        elif method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])

    def size(self, width, height):
        self.send("Emulation.setDeviceMetricsOverride", {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False})

    def theme(self, theme):
        self.send("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": theme},
                                                              {"name": "prefers-reduced-motion", "value": "reduce"}]})

    def go(self, address):
        self.send("Page.navigate", {"url": address})

    def eval(self, script):
        answer = self.send("Runtime.evaluate", {"expression": script, "returnByValue": True, "awaitPromise": True})
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"].get("exception", {}).get("description", "exception"))
        return answer["result"].get("value")

    def wait(self, condition, seconds=20):
        """Until the expression is true; answers with it."""
        end = time.monotonic() + seconds
        while True:
            try:
                if value := self.eval(condition):
                    return value
            except RuntimeError as error:  # Between two documents there is none to ask.
                if time.monotonic() > end:
                    raise error
            if time.monotonic() > end:
                raise AssertionError(f"never true: {condition}; errors: {self.errors}; the page: {self.text()[:600]}")
            time.sleep(0.02)

    def text(self):
        return self.eval("document.body?.innerText ?? ''")

    def key(self, key):
        code, text = KEYS.get(key, (ord(key.upper()) if len(key) == 1 else 0, key))
        down = {"type": "keyDown" if text else "rawKeyDown", "key": key, "windowsVirtualKeyCode": code}
        self.send("Input.dispatchKeyEvent", {**down, **({"text": text} if text else {})})
        self.send("Input.dispatchKeyEvent", {"type": "keyUp", "key": key, "windowsVirtualKeyCode": code})

    def type(self, text):
        self.send("Input.insertText", {"text": text})

    def picture(self, path, whole=True):
        parameters = {"format": "png", "captureBeyondViewport": whole}
        if whole:
            size = self.send("Page.getLayoutMetrics")["cssContentSize"]
            parameters["clip"] = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], 2400), "scale": 1}
        pathlib.Path(path).write_bytes(base64.b64decode(self.send("Page.captureScreenshot", parameters)["data"]))
