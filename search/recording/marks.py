"""The tags by which runs of MLflow are known to be a search's, and of which of its trials."""

PARENT = "mlflow.parentRunId"
STUDY = "wavezoo.study"  # of the run of a whole search: its name
SIGNATURE = "wavezoo.signature"  # of a trial's run
RESULT = "wavezoo.result"  # a digest of the result that the run tells whole
# Of an earlier training: the signature of the trial that its run no longer stands for
REPLACED = "wavezoo.replaced"
