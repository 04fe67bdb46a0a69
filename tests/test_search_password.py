"""A password that MLflow's server does not take is a wrong word; a server that is away is none."""

import base64
from collections.abc import Iterator

import pytest
from wayward_server import Server, says, sends, serving

from search.errors import SearchError
from search.recording import password


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "secret")
    with serving({}) as server:
        yield server


@pytest.mark.parametrize(("status", "said"), [(401, "401 Unauthorized"), (403, "403 Forbidden")])
def test_a_password_that_is_not_taken_is_refused_in_a_line(server: Server, status: int, said: str) -> None:
    unknown = "; or its --allowed-hosts lacks this name" if status == 403 else ""
    server.acts += [says(status)] * 2
    address = server.url.replace("//", "//me:secret@").rstrip("/")
    with pytest.raises(SearchError) as refused:
        password.check(address)
    assert str(refused.value) == (
        f"MLflow at {server.url.rstrip('/').replace('//', '//...@')} does not let this search in ({said}): set "
        f"MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD to those of its users, or give another tracking=URL"
        f"{unknown}"
    )


def test_mlflow_has_the_last_word_as_it_knows_more_places_for_a_password(server: Server) -> None:
    server.acts += [says(401), sends(b"{}")]
    password.check(server.url)
    assert len(server.asked) == 2


def test_a_server_that_lets_in_is_asked_once_with_name_and_password(server: Server) -> None:
    heads: list[str] = []
    server.acts.append(
        lambda handler, body: (heads.append(handler.headers["Authorization"]), sends(b"{}")(handler, body))
    )
    password.check(server.url)
    assert [base64.b64decode(head.removeprefix("Basic ")) for head in heads] == [b"me:secret"]
    assert len(server.asked) == 1


def test_a_server_that_fails_or_does_not_answer_refuses_nobody(server: Server) -> None:
    server.acts.append(says(503))
    password.check(server.url)
    password.check("http://127.0.0.1:1")
    password.check("sqlite:////nowhere/mlflow.db")
