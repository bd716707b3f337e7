"""A command on the server's own machine asks a plant with certificates that listens on every address."""

from __future__ import annotations

import ssl
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from cloud.__main__ import main
from cloud.commands.server_api import ask_server
from cloud.settings import ApiSettings, load_settings


class _Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b'{"well": true}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:8080"),
        ("::", "http://localhost:8080"),
        ("10.0.0.5", "http://10.0.0.5:8080"),
        ("fd00::5", "http://[fd00::5]:8080"),
    ],
)
def test_what_listens_everywhere_is_asked_at_loopback(host: str, url: str) -> None:
    assert ApiSettings(host=host).url() == url


def test_its_certificate_names_the_address_that_commands_ask(tmp_path: Path) -> None:
    home, server = tmp_path / "plant", HTTPServer(("0.0.0.0", 0), _Answers)
    port = server.server_address[1]
    assert main(["init", "--home", str(home), "--secure", "--broker-name", "broker.plant", "--api-port", str(port),
                 "--public-url", f"https://cloud.plant:{port}"]) == 0  # fmt: skip
    settings = load_settings(home / "cloud.toml")
    assert settings.api.host == "0.0.0.0"
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(settings.path(settings.api.cert_file), settings.path(settings.api.key_file))
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        assert ask_server(settings, "GET", "/v1/stations") == {"well": True}
    finally:
        server.shutdown()
        server.server_close()
        thread.join(30)
