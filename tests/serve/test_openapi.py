"""The API obeys its own description: valid requests are served, invalid ones refused, every answer has its shape."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from serving import Server

pytest.importorskip("schemathesis")

CONFIGURATION = """
[[operations]]
include-path = "/v1/score"
# How many tokens a text has, a description cannot say; and in a form a number is a text.
checks.positive_data_acceptance.enabled = false
checks.negative_data_rejection.enabled = false

[[operations]]
include-path = "/v1/ask"
# Nor whether the model answers questions, and who speaks when in a conversation.
checks.positive_data_acceptance.enabled = false
checks.negative_data_rejection.enabled = false
"""


def test_the_description_has_examples_ranges_and_every_route(client):
    description = client.get("/openapi.json").json()
    routes = {"/v1/caption", "/v1/score", "/v1/ask", "/v1/models", "/healthz", "/readyz", "/metrics"}
    assert set(description["paths"]) == routes
    caption = description["paths"]["/v1/caption"]["post"]
    options = {option["name"]: option["schema"] for option in caption["parameters"]}
    assert (options["candidates"]["minimum"], options["candidates"]["maximum"]) == (1, 8)
    assert options["url"]["maxItems"] == 0
    assert {"200", "400", "401", "413", "422", "503", "504"} <= set(caption["responses"])
    form = caption["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["properties"]["image"]["maxItems"] == 4
    assert description["components"]["schemas"]["Captioned"]["properties"]["caption"]["examples"]


def test_the_description_says_who_asks_for_a_token(client, strict_client):
    def asks(client: httpx.Client) -> tuple[object, list[bool]]:
        description = client.get("/openapi.json").json()
        operations = [operation for path in description["paths"].values() for operation in path.values()]
        schemes = description["components"].get("securitySchemes")
        return schemes, ["security" in each and "401" in each["responses"] for each in operations]

    assert asks(client) == (None, [False] * 7)
    assert asks(strict_client) == ({"HTTPBearer": {"type": "http", "scheme": "bearer"}}, [True] * 7)


def test_schemathesis_finds_nothing(server, tmp_path):
    run_schemathesis(server, tmp_path, "--phases", "examples,fuzzing", "--max-examples", "15")


@pytest.mark.slow
def test_schemathesis_finds_nothing_in_thousands_of_requests(server, tmp_path):
    run_schemathesis(server, tmp_path, "--max-examples", "1000")


def run_schemathesis(server: Server, folder: Path, *options: str) -> None:
    command = [str(Path(sys.executable).with_name("schemathesis")), "run", f"{server.url}/openapi.json", "--seed=0"]
    command += options
    (folder / "schemathesis.toml").write_text(CONFIGURATION, encoding="utf-8")
    hooks = {"PYTHONPATH": str(Path(__file__).parent), "SCHEMATHESIS_HOOKS": "schemathesis_hooks"}
    done = subprocess.run(command, cwd=folder, env={**os.environ, **hooks}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert httpx.get(f"{server.url}/healthz").status_code == 200
