"""Exported networks: what other programs get is the network, all of it, or nothing."""

import json
import zipfile

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import zoo
from zoo.__main__ import main
from zoo.trained import exporting
from zoo.trained.exporting import export
from zoo.trained.tagger import Tagger

NAME, EVEN, MEL = "samplecnn_m3_n3_s9", "samplecnn_m2_n4_s8", "melcnn_m3_n3_s27_w81"
TAGS = ("guitar", "slow", "Gesang für Männer")


def tagger_of(name):
    """A network with nobody's default weights, as `zoo.load` gives it."""
    torch.manual_seed(4)
    network = zoo.create(name, n_tags=3)
    waves = torch.rand(16, network.input_samples) * 2 - 1
    zoo.calibrate(network, [waves])
    network(waves)
    card = zoo.Card.of(network, TAGS, scores={"test": {"roc_auc": 0.9}}, lineage={"run": "r1"}, licence="CC0")
    return Tagger(network.eval(), card, "this test")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("exported")


@pytest.fixture(scope="module")
def taggers():
    return {name: tagger_of(name) for name in (NAME, EVEN, MEL)}


@pytest.fixture(scope="module")
def exported(folder, taggers):
    """Every small network in both formats: (name, format) -> Exported."""
    return {
        (name, format): export(tagger, folder / f"{name}{ending}", format)
        for name, tagger in taggers.items()
        for format, ending in exporting.ENDINGS.items()
    }


def logits_of(tagger, waves):
    with torch.no_grad():
        return tagger.network(waves).numpy()


@pytest.mark.parametrize("name", [NAME, EVEN, MEL])
@pytest.mark.parametrize("batch", [1, 2, 5])
def test_onnx_gives_the_network_s_probabilities_for_any_batch(exported, taggers, name, batch):
    session = onnxruntime.InferenceSession(exported[name, "onnx"].file)
    waves = torch.rand(batch, taggers[name].segment_samples) * 2 - 1
    probabilities, logits = session.run(None, {"wave": waves.numpy()})
    expected = logits_of(taggers[name], waves)
    assert np.abs(logits - expected).max() < 1e-4
    assert np.abs(probabilities - 1 / (1 + np.exp(-expected))).max() < 1e-4


@pytest.mark.parametrize("name", [NAME, EVEN, MEL])
@pytest.mark.parametrize("batch", [1, 2, 5])
@pytest.mark.filterwarnings("ignore:The given buffer is not writable")  # torch's own, on loading
def test_a_torch_program_gives_the_same(exported, taggers, name, batch):
    program = torch.export.load(exported[name, "torch-export"].file).module()
    waves = torch.rand(batch, taggers[name].segment_samples) * 2 - 1
    probabilities, logits = program(waves)
    assert np.abs(logits.detach().numpy() - logits_of(taggers[name], waves)).max() < 1e-4
    assert torch.allclose(probabilities, logits.sigmoid())


def test_onnx_names_its_ends_and_leaves_the_batch_open(exported):
    session = onnxruntime.InferenceSession(exported[NAME, "onnx"].file)
    ends = [(end.name, end.shape, end.type) for end in (*session.get_inputs(), *session.get_outputs())]
    assert ends == [
        ("wave", ["batch", 243], "tensor(float)"),
        ("probabilities", ["batch", 3], "tensor(float)"),
        ("logits", ["batch", 3], "tensor(float)"),
    ]


def test_onnx_carries_the_card_whole_and_by_field(exported, taggers):
    session = onnxruntime.InferenceSession(exported[NAME, "onnx"].file)
    facts, card = session.get_modelmeta().custom_metadata_map, taggers[NAME].card
    assert json.loads(facts["tags"]) == list(TAGS)
    assert (facts["tag_hash"], facts["network"], facts["licence"]) == (card.tag_hash, NAME, "CC0")
    assert (facts["sample_rate_hz"], facts["segment_samples"]) == ("22050", "243")
    assert json.loads(facts["scores"]) == {"test": {"roc_auc": 0.9}}
    assert json.loads(facts["options"]) == json.loads(facts["protocol"]) == {}
    assert zoo.Card.from_json(facts["card"]) == card


@pytest.mark.filterwarnings("ignore:The given buffer is not writable")
def test_a_torch_program_carries_the_card(exported, taggers):
    files = {"card.json": ""}
    torch.export.load(exported[MEL, "torch-export"].file, extra_files=files)
    assert zoo.Card.from_json(files["card.json"]) == taggers[MEL].card


def test_the_onnx_file_is_valid_and_holds_no_fourier_transform(exported):
    model = onnx.load(exported[MEL, "onnx"].file)
    onnx.checker.check_model(model, full_check=True)
    assert not {node.op_type for node in model.graph.node} & {"DFT", "STFT"}
    assert model.opset_import[0].version == exported[MEL, "onnx"].opset


def test_no_place_on_this_machine_is_in_the_files(exported):
    home = str(exporting.__file__).removesuffix("/zoo/trained/exporting.py").encode()
    assert home not in exported[MEL, "onnx"].file.read_bytes()
    with zipfile.ZipFile(exported[MEL, "torch-export"].file) as archive:
        assert not [name for name in archive.namelist() if home in archive.read(name)]


def test_the_network_stays_as_it_was(taggers, exported):
    network = taggers[MEL].network
    assert network.front.spectrogram.basis is None
    assert not network.training
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_the_summary_says_how_to_use_the_file(exported):
    lines = str(exported[NAME, "onnx"]).splitlines()
    assert lines[0].endswith(f"{NAME}.onnx: {NAME} as onnx, opset {exported[NAME, 'onnx'].opset}, 2.3 MB")
    assert lines[1].startswith("its logits are the network's to ")
    assert "waves are (batch, 243) float32 in [-1, 1], mono at 22050 Hz" in lines[2]
    assert exported[NAME, "onnx"].difference < 1e-4


@pytest.mark.parametrize("format", ["onnx", "torch-export"])
@pytest.mark.filterwarnings("ignore:The given buffer is not writable")
def test_the_lines_of_the_summary_run_from_any_folder(exported, format, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    waves = torch.rand(2, 243)
    names = {"waves": waves.numpy() if format == "onnx" else waves}
    exec("\n".join(str(exported[NAME, format]).splitlines()[-4:]), names)
    assert names["tags"] == list(TAGS)
    assert tuple(names["probabilities"].shape) == (2, 3)


def fast(monkeypatch, run=None):
    """An export without torch's exporter: bytes, and logits that are the network's or `run`'s."""

    def write(program, card, part):
        part.write_bytes(b"new")
        return 1, run or (lambda waves: program(waves).numpy())

    monkeypatch.setattr(exporting, "_traced", lambda network, samples: network)
    monkeypatch.setattr(exporting, "_write_onnx", write)


def test_a_file_that_gives_other_logits_is_not_left(taggers, tmp_path, monkeypatch):
    network = taggers[NAME].network
    fast(monkeypatch, lambda waves: network(waves).numpy() + 0.25)
    (tmp_path / "old.onnx").write_text("old")
    words = rf"{NAME} as onnx is not written: on noise its logits differ from the network's by 0.25, more than 0.0001"
    for out in ("old.onnx", "new.onnx"):
        with pytest.raises(zoo.ZooError, match=words):
            export(taggers[NAME], tmp_path / out)
    assert [file.name for file in tmp_path.iterdir()] == ["old.onnx"]
    assert (tmp_path / "old.onnx").read_text() == "old"


def test_logits_that_are_no_numbers_are_a_difference(taggers, tmp_path, monkeypatch):
    fast(monkeypatch, lambda waves: np.full((len(waves), 3), np.nan, dtype=np.float32))
    with pytest.raises(zoo.ZooError, match="differ from the network's by nan"):
        export(taggers[NAME], tmp_path / "new.onnx")


def test_a_file_that_does_not_run_is_refused_in_one_line(taggers, tmp_path, monkeypatch):
    def run(waves):
        raise RuntimeError("no kernel for batch 3\nframes follow")

    fast(monkeypatch, run)
    with pytest.raises(zoo.ZooError, match=f"^{NAME} cannot be exported as onnx: no kernel for batch 3$"):
        export(taggers[NAME], tmp_path / "new.onnx")
    assert not list(tmp_path.iterdir())


def test_an_existing_file_is_replaced(taggers, tmp_path, monkeypatch):
    fast(monkeypatch)
    (tmp_path / "model.onnx").write_text("old")
    export(taggers[NAME], tmp_path / "model.onnx")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("model.onnx", "new")]


class Unexportable(torch.nn.Module):
    def forward(self, values):
        return values * values.sum().item() if values.sum() > 0 else values


def test_a_network_that_cannot_be_traced_is_refused_in_one_line(tmp_path):
    tagger = tagger_of(NAME)
    tagger.network.dropout = Unexportable()
    words = f"{NAME} cannot be exported as torch-export: Could not guard on data-dependent expression"
    with pytest.raises(zoo.ZooError, match=words) as caught:
        export(tagger, tmp_path / "model.pt2", "torch-export")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("out", "format", "words"),
    [
        ("model.onnx", "onxx", "format=onxx is not one of onnx, torch-export; did you mean onnx?"),
        ("model.pt", "onnx", "out=model.pt must end in .onnx, as format=onnx is called"),
        ("model.onnx", "torch-export", "out=model.onnx must end in .pt2, as format=torch-export"),
        (".", "onnx", "out=. is a folder; name the file to write, such as model.onnx"),
        (
            "no/model.onnx",
            "onnx",
            "out=no/model.onnx cannot be written: there is no folder no; make it first",
        ),
    ],
)
def test_a_place_that_cannot_be_written_is_refused_before_anything_is_loaded(
    out, format, words, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(zoo.ZooError, match=words.replace("?", r"\?")):
        export("nowhere", out, format)
    assert main(["export", "model=nowhere", f"out={out}", f"format={format}"]) == 2
    assert capsys.readouterr().err.startswith(words)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["out=x.onnx"], "export needs model=: python -m zoo export model="),
        (["model=x"], "export needs out=: python -m zoo export model="),
        (["x", "model=x"], "export takes words such as model= only, not 'x': python -m zoo export"),
        (
            ["model=nowhere", "out=x.onnx"],
            "there is no folder nowhere; if it is a registered model, did you mean models:/nowhere@champion?",
        ),
        (["model=x", "fromat=onnx"], "'fromat=onnx' is not understood; did you mean format?"),
    ],
)
def test_wrong_words_are_answered_in_one_line(words, error, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["export", *words]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(error)
    assert shown.err.count("\n") == 1


def test_the_command_says_what_it_does_and_what_came_out(taggers, tmp_path, capsys, monkeypatch):
    fast(monkeypatch)
    tagger = taggers[NAME]
    zoo.save(tagger.network, tmp_path / "checkpoint", tagger.card)
    assert main(["export", f"model={tmp_path / 'checkpoint'}", f"out={tmp_path / 'x.onnx'}"]) == 0
    shown = capsys.readouterr()
    assert shown.err == f"exporting {NAME}, and checking what comes out of it ...\n"
    assert shown.out.startswith(f"{tmp_path / 'x.onnx'}: {NAME} as onnx, opset 1")
