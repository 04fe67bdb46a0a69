"""Passwords in addresses: left out of all that is shown and kept, and of the command line where one likes."""

from pathlib import Path

import pytest

import zoo
from search.errors import without_password
from search.run import main
from search.study.records import no_ledger_yet, storage_url
from zoo.trained.locate import registered


def test_passwords_are_in_nothing_that_is_shown() -> None:
    shown = without_password("storage=postgresql://me:secret@db/x tracking=http://me:secret@host")
    assert shown == "storage=postgresql://...@db/x tracking=http://...@host"


@pytest.mark.parametrize("password", ["secret", "se/cret", "se:cret", "se@cret", "se%40cret"])
def test_a_password_is_left_out_whatever_is_in_it(password: str) -> None:
    assert without_password(f"postgresql+psycopg://me:{password}@db:5432/x") == (
        "postgresql+psycopg://...@db:5432/x"
    )
    assert without_password(f"postgresql://db/x?user=me&password={password}&sslmode=on") == (
        "postgresql://db/x?user=me&password=...&sslmode=on"
    )


def test_an_address_without_a_password_is_shown_as_it_is() -> None:
    for text in ("http://127.0.0.1:5000/x model=models:/demo@champion", "sqlite:////a/b.db", "s3://bucket/x"):
        assert without_password(text) == text


def test_a_registry_that_is_away_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    for ask in (registered, lambda: zoo.load("models:/demo/1"), lambda: zoo.load("runs:/0/checkpoint")):
        with pytest.raises(zoo.ZooError, match=r"http://\.\.\.@127\.0\.0\.1:1") as error:
            ask()
        assert "secret" not in str(error.value)


def test_a_password_is_not_in_the_words_to_go_on_with(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(typed: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("search.run._run", interrupted)
    assert main(["space=smoke", "storage=postgresql://me:secret@db/x"]) == 130
    assert capsys.readouterr().err.strip() == (
        "interrupted; nothing that was finished is lost. To go on: python -m search.run space=smoke "
        "storage=postgresql://...@db/x (with the password that is left out here; WAVEZOO_STORAGE=URL keeps the "
        "ledger's off the command line)"
    )
    assert main(["space=smoke"]) == 130
    assert capsys.readouterr().err.endswith("To go on: python -m search.run space=smoke\n")


def test_a_wrong_word_is_shown_without_its_password(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["storage=[postgresql://me:secret@db/x"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("can't read the words: ")
    assert "secret" not in said


def test_the_ledger_may_be_named_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAVEZOO_HOME", str(tmp_path))
    here, there = f"sqlite:///{tmp_path / 'studies.db'}", "postgresql://me:secret@db/x"
    assert (storage_url(None), no_ledger_yet(None)) == (here, True)
    monkeypatch.setenv("WAVEZOO_STORAGE", there)
    assert (storage_url(None), no_ledger_yet(None)) == (there, False)
    assert (storage_url(here), no_ledger_yet(here)) == (here, True)  # what is typed comes first
