"""A storage of trials that goes away, stays away, or was never there."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from machines import KEY, Machines, write
from s3_server import Bucket
from test_search_training import settings

from search import files, storage
from search.failures import AWAY, StorageAway, kind_of
from search.running.process import TrialProcess


@pytest.fixture
def away(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """A server that has answered once, and then went away; nobody waits for it long."""
    monkeypatch.setattr(storage, "PATIENCE_SECONDS", 0.1)
    monkeypatch.setenv(files.TRIALS, f"{bucket.address}/{tmp_path.name}")
    monkeypatch.setenv("WAVEZOO_HOME", str(tmp_path))
    files.bring(KEY)
    bucket.stop()
    yield bucket
    if bucket.server is None:
        bucket.start()


def test_a_trial_goes_on_while_the_storage_is_away_and_brings_it_up_to_date_later(away: Bucket) -> None:
    write(epochs=1)
    assert not files.share(KEY)
    write(epochs=2)
    away.start()
    assert files.share(KEY)
    known = files.storage().about(KEY)
    assert (known.ended, known.epochs) == (False, 2)


def test_a_storage_that_stays_away_is_named_at_the_end_of_a_trial(away: Bucket) -> None:
    write(epochs=1)
    with pytest.raises(
        StorageAway, match=r"can't use cluster\.storage=s3://bucket-.*: When reading"
    ) as error:
        files.share(KEY, patient=True)
    assert kind_of(error.value) is AWAY
    assert AWAY.ends_search, "the trial would be told as failed, and its training be lost"


def test_a_bucket_that_goes_away_costs_no_epoch_but_ends_the_search(
    bucket: Bucket, machines: Machines, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(storage, "PATIENCE_SECONDS", 0.1)
    address, wanted = f"{bucket.address}/{tmp_path.name}", settings(seed=9)
    process = TrialProcess.__new__(TrialProcess)  # a worker's end without a worker around it
    common = {"home": str(files.home()), "trials": address, "threads": 1, "lineage": {}}
    monkeypatch.setenv(files.TRIALS, address)
    process.setup({**common, "settings": wanted.to_json(), "signature": wanted.signature()})
    rows = [process.step()]
    bucket.stop()
    try:
        while not rows[-1]["done"]:
            rows.append(process.step())
    finally:
        bucket.start()
    assert [row["epoch"] for row in rows[:-1]] == [1, 2, 3]
    assert rows[-1]["failure"]["kind"] == "storage away"
    assert f"can't use cluster.storage={address}: " in rows[-1]["failure"]["why"]

    # The same command again: it was trained, and only has to be copied
    process.reset_config(process.assigned)
    assert process.step()["result"]["epochs"] == 4
    assert files.storage().about(wanted.signature()).ended


def test_a_storage_that_was_there_is_waited_for(away: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "PATIENCE_SECONDS", 60.0)
    monkeypatch.setattr(storage.time, "sleep", lambda seconds: away.start())  # it comes back meanwhile
    write(epochs=1)
    assert files.share(KEY, patient=True)
    assert files.storage().about(KEY).epochs == 1


def test_a_storage_that_can_not_be_written_to_is_refused_before_anything_is_trained(bucket: Bucket) -> None:
    with pytest.raises(StorageAway, match=r"can't use cluster\.storage=s3://no-such-bucket: .*bucket"):
        storage.at("s3://no-such-bucket", storage.endpoint()).check()
    with pytest.raises(StorageAway, match=r"can't use cluster\.storage=/proc/trials: .*No such file"):
        storage.at("/proc/trials", None).check()
    good = storage.at(bucket.address, storage.endpoint())
    good.check()
    assert "probe" not in bucket.names()
