"""Every command through the real entry point, on a tiny model of one's own."""

from __future__ import annotations

import inspect
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import topomap
import topomap.recording
from topomap.cli import commands, main, make_app
from topomap.layout import Layout
from topomap.store import open_run, save_run

NETS = """
import numpy as np, torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

def mlp():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 3))

def cnn():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(1, 5, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2))

def cnn_for(side=6):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(1, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(5 * 4 * 4, 2))

class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(6, 3))

ready = mlp()
number = 3

def needs(width): ...
def gives_three(): return 3

def data():
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(size=(40, 6)).astype("float32"))
    return TensorDataset(x, torch.arange(40) % 3)

def loader(): return DataLoader(data(), batch_size=16)
def batches(): return ((torch.full((n, 6), 0.5), torch.zeros(n, dtype=torch.int64)) for n in (2, 1))
def none(): return iter([])
def breaks(): raise RuntimeError("no GPU\\nhere")
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a module of models and data, and an archive."""
    (tmp_path / "tiny_nets.py").write_text(NETS)
    rng = np.random.default_rng(1)
    label = np.arange(40) % 3
    x = rng.normal(size=(40, 6)) + label[:, None]
    np.savez(tmp_path / "data.npz", x=x, y=label, age=np.arange(40) % 2, classes=["ant", "bee", "cow"])
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "tiny_nets", raising=False)
    return tmp_path


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with labels, predictions and pictures, and a layout of its layer."""
    rng = np.random.default_rng(0)
    n = 30
    label = np.arange(n) % 3
    inputs = topomap.Inputs(
        np.arange(n),
        {"label": label, "prediction": np.where(np.arange(n) == 4, 0, label), "confidence": np.linspace(0.5, 1, n)},
        classes=("ant", "bee", "cow"),
        thumbnails=rng.integers(0, 255, size=(n, 4, 4), dtype=np.uint8),
    )
    values = (rng.normal(size=(n, 20)) + np.eye(3)[label] @ rng.normal(size=(3, 20))).astype(np.float32)
    values[:, 7] = 2.0
    run = topomap.Run(inputs, {("fc", "none"): topomap.Activations(values, inputs, "fc", "none")}, {"seed": 5})
    path = tmp_path_factory.mktemp("recorded") / "run"
    save_run(run, path)
    assert main(["embed", str(path), "--method", "pca"]) == 0
    return path


def fails(capsys: pytest.CaptureFixture[str], *argv: object) -> str:
    """Run a command that must fail by one line on stderr, and return that line."""
    capsys.readouterr()
    assert main([str(part) for part in argv]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("topomap: error: ")
    assert err.count("\n") == 1
    return err


def works(capsys: pytest.CaptureFixture[str], *argv: object) -> str:
    capsys.readouterr()
    code = main([str(part) for part in argv])
    out, err = capsys.readouterr()
    assert code == 0, err
    return out


def tree(path: Path) -> list[str]:
    return sorted(str(file.relative_to(path)) for file in path.rglob("*") if "__pycache__" not in str(file))


class TestHelp:
    def test_version_and_help_in_a_process(self) -> None:
        run = [sys.executable, "-m", "topomap"]
        version = subprocess.run([*run, "--version"], capture_output=True, text=True, check=True)
        assert version.stdout.strip() == topomap.__version__
        failed = subprocess.run([*run, "plto"], capture_output=True, text=True, check=False)
        assert failed.returncode == 2
        assert 'Did you mean "plot"?' in failed.stderr
        code = "import sys, topomap.cli; topomap.cli.main(['--help']); print(sorted(sys.modules))"
        helped = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        for heavy in ("torch", "numpy", "scipy", "matplotlib", "pydantic", "zarr"):
            assert f"'{heavy}'" not in helped

    @pytest.mark.parametrize("command", [command.__name__ for command in commands.COMMANDS])
    def test_every_command_has_documented_parameters_and_examples(
        self, command: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        typed = command.replace("_", "-")
        out = works(capsys, typed, "--help")
        assert f"topomap {typed}" in out
        assert "Examples:" in out
        function = getattr(commands, command)
        for name in inspect.signature(function).parameters:
            assert re.search(rf"^    {name}\n        \w", function.__doc__, re.MULTILINE), f"{name} is not explained"

    def test_examples_parse(self) -> None:
        lines = [
            line.strip()
            for text in commands.EXAMPLES.values()
            for line in text.replace("\\\n", " ").splitlines()
            if line.strip().startswith("topomap ")
        ]
        assert len(lines) > 12
        for line in lines:
            words = shlex.split(re.split(r"\s{3,}", line)[0])[1:]
            if words[-1] == "--help" or "--config" in words:
                continue
            make_app().parse_args(words, exit_on_error=False, print_error=False)

    def test_help_names_every_layout(self, capsys: pytest.CaptureFixture[str]) -> None:
        from topomap.layout.methods import METHODS

        for command in ("embed", "demo"):
            out = works(capsys, command, "--help")
            assert [name for name in METHODS if not re.search(rf"\b{name}\b", out)] == []


class TestLayers:
    def test_by_shape_and_by_data(self, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
        out = works(capsys, "layers", "tiny_nets:cnn_for", "--shape", 1, 6, 6)
        assert re.search(r"^0 +Conv2d +1 x 5 x 4 x 4 +1 +5", out, re.MULTILINE)
        out = works(capsys, "layers", "tiny_nets:mlp", "--data", "data.npz")
        assert re.search(r"^2 +Linear +2 x 3 +1 +3", out, re.MULTILINE)

    def test_mistakes(self, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert "either data (--data) or the shape" in fails(capsys, "layers", "tiny_nets:mlp")
        assert "positive" in fails(capsys, "layers", "tiny_nets:mlp", "--shape", 0)
        assert "gives no batch" in fails(capsys, "layers", "tiny_nets:mlp", "--data", "tiny_nets:none")


class TestRecord:
    def test_archive_with_metadata(self, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
        out = works(capsys, "record", "tiny_nets:mlp", "--data", "data.npz", "--layers", "0", "1", "--to", "run")
        assert "recorded 40 inputs into run" in out
        assert re.search(r"^  0 +none +40 +12 +12 +0 +values, float32", out, re.MULTILINE)
        run = open_run(here / "run")
        assert run.inputs.classes == ("ant", "bee", "cow")
        np.testing.assert_array_equal(run.inputs["age"], np.arange(40) % 2)
        np.testing.assert_array_equal(run.inputs.ids, np.arange(40))
        with np.load("data.npz") as archive:
            x = torch.from_numpy(archive["x"].astype(np.float32))
        model = sys.modules["tiny_nets"].mlp()
        np.testing.assert_allclose(run["0"].values[:], model[0](x).detach(), rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(run.inputs["prediction"], model(x).argmax(1))
        # the command it names next works
        assert main(shlex.split(out.splitlines()[-1].removeprefix("next: topomap "))) == 0

    def test_unlabelled_archive_with_metadata(self, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
        np.savez("plain.npz", x=np.eye(6), age=np.arange(6), name=list("abcdef"))
        works(capsys, "record", "tiny_nets:mlp", "--data", "plain.npz", "--to", "run", "--batch-size", 4)
        inputs = open_run("run").inputs
        assert inputs.label is None
        assert inputs["name"].tolist() == list("abcdef")
        assert inputs["age"].tolist() == list(range(6))

    def test_image_folder(self, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for i, name in enumerate(("cat", "cat", "dog")):
            (here / "pictures" / name).mkdir(parents=True, exist_ok=True)
            Image.new("L", (12, 6), 40 * i).save(here / "pictures" / name / f"{i}.png")
        options = ["--data", "pictures", "--size", 6, "--channels", 1, "--mean", 0.5, "--std", 0.5, "--reduce", "max"]
        works(capsys, "record", "tiny_nets:cnn_for", *options, "mean", "--layers", "0", "--to", "run")
        run = open_run("run")
        assert run.inputs.classes == ("cat", "dog")
        assert run.inputs.label.tolist() == [0, 0, 1]
        assert run.inputs["file"].tolist() == ["cat/0.png", "cat/1.png", "dog/2.png"]
        x = torch.full((1, 1, 6, 6), (80 / 255 - 0.5) / 0.5)
        values = sys.modules["tiny_nets"].cnn_for()[0](x).amax(dim=(2, 3)).detach()
        np.testing.assert_allclose(run["0", "max"].values[2], values[0], rtol=1e-5)
        assert run.reductions("0") == ("max", "mean")

    @pytest.mark.parametrize(
        ("spec", "n"), [("tiny_nets:data", 40), ("tiny_nets:loader", 40), ("tiny_nets:batches", 3)]
    )
    def test_factories(self, here: Path, capsys: pytest.CaptureFixture[str], spec: str, n: int) -> None:
        out = works(capsys, "record", "tiny_nets:ready", "--data", spec, "--layers", "0", "--to", "run")
        assert f"recorded {n} inputs" in out
        assert len(open_run("run").inputs) == n

    def test_the_layer_it_names_next_has_neurons_enough(self, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
        out = works(capsys, "record", "tiny_nets:mlp", "--data", "data.npz", "--to", "a run")
        assert out.endswith("next: topomap embed 'a run' --layer 0\n")  # not 2, which has three neurons
        assert main([*shlex.split(out.splitlines()[-1])[2:], "--method", "pca"]) == 0
        out = works(capsys, "record", "tiny_nets:mlp", "--data", "data.npz", "--layers", "2", "--to", "b")
        assert out.splitlines()[-1].startswith("no layer has 4 neurons that vary")

    def test_moments(self, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
        by = ["--by", "label", "--by", "label,correct"]
        argv = ["record", "tiny_nets:mlp", "--data", "data.npz", "--layers", "0", "--keep", "moments", *by]
        out = works(capsys, *argv, "--to", "run")
        assert "recorded 40 inputs" in out
        assert "moments, covariance, by label, label x correct" in out
        assert open_run("run")["0"].grouping(("label", "correct")).counts.sum() == 40
        out = works(capsys, "embed", "run", "--method", "pca")
        assert main(shlex.split(out.splitlines()[-1].split("next: topomap ")[1])) == 0
        assert "keeps no single input" in fails(capsys, "plot", "run", "--inputs", 3, "--to", "a.png")

    @pytest.mark.parametrize("kind", ["safetensors", "pt", "checkpoint", "parallel"])
    def test_weights(self, here: Path, capsys: pytest.CaptureFixture[str], kind: str) -> None:
        weights = {"0.weight": torch.eye(3, 6), "0.bias": torch.tensor([1.0, 2.0, 3.0])}
        path = Path("weights.safetensors" if kind == "safetensors" else "weights.pt")
        if kind == "safetensors":
            save_file(weights, path)
        elif kind == "checkpoint":
            torch.save({"epoch": 3, "state_dict": weights}, path)
        else:
            torch.save({f"module.{k}": v for k, v in weights.items()} if kind == "parallel" else weights, path)
        np.savez("eye.npz", x=np.eye(6), y=np.arange(6) % 2)
        works(capsys, "record", "tiny_nets:Net", "--weights", path, "--data", "eye.npz", "--layers", "0", "--to", "run")
        np.testing.assert_array_equal(open_run("run")["0"].values[0], [2.0, 2.0, 3.0])


class TestBadInput:
    """One clear error each, and nothing left behind."""

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (
                ["tiny_nets:mlp", "--data", "data.npz", "--layers", "fc1"],
                "no layer fits 'fc1'. Did you mean '1'? 'topomap layers tiny_nets:mlp --data data.npz' shows all",
            ),
            (
                ["tiny_nets:breaks", "--data", "data.npz"],
                "the model 'tiny_nets:breaks' raised RuntimeError: no GPU here (--debug shows where).",
            ),
            (["tiny_nets:mlp", "--data", "tiny_nets:breaks"], "data 'tiny_nets:breaks' raised RuntimeError: no GPU"),
            (["tiny_broken:mlp", "--data", "data.npz"], "the model 'tiny_broken:mlp' raised SyntaxError"),
            (["tiny_nets:mpl", "--data", "data.npz"], "has no 'mpl'. Did you mean 'mlp'?"),
            (["tiny_net:mlp", "--data", "data.npz"], "no module 'tiny_net'"),
            (["tiny_nets", "--data", "data.npz"], "must be package.module:factory; got 'tiny_nets'"),
            (["tiny_nets:needs", "--data", "data.npz"], "needs 'width'"),
            (["tiny_nets:gives_three", "--data", "data.npz"], "must be or return a torch.nn.Module; got int"),
            (["tiny_nets:number", "--data", "data.npz"], "must be or return a torch.nn.Module; got int"),
            (["tiny_nets:cnn", "--data", "data.npz"], "lazy"),
            (["tiny_nets:mlp", "--data", "nowhere.npz"], "nowhere.npz: No such file or directory"),
            (["tiny_nets:mlp", "--data", "nowhere"], "there is no 'nowhere'"),
            (["tiny_nets:mlp", "--data", "tiny_nets.py"], "another kind of file"),
            (["tiny_nets:mlp", "--data", "tiny_nets:number"], "must return a DataLoader, a Dataset or an iterable"),
            (["tiny_nets:mlp", "--data", "tiny_nets:none"], "no input"),
            (["tiny_nets:mlp", "--data", "tiny_nets:data", "--size", "3"], "size does not apply to a factory"),
            (["tiny_nets:mlp", "--data", "data.npz", "--size", "3"], "size is for image folders"),
            (["tiny_nets:mlp", "--data", "data.npz", "--std", "0"], "std must be above 0"),
            (["tiny_nets:mlp", "--data", "text.npz"], "text.npz cannot be read"),
            (["tiny_nets:mlp", "--data", "empty"], "no picture in empty"),
            (["tiny_nets:mlp", "--data", "data.npz", "--keep", "all"], 'Choose from: "values", "sparse", "moments"'),
            (["tiny_nets:mlp", "--data", "data.npz", "--reduce", "maen"], "Did you mean 'mean'"),
            (["tiny_nets:mlp", "--data", "data.npz", "--by", "label,"], "several joined by commas"),
            (["tiny_nets:mlp", "--data", "data.npz", "--n", "0"], "n must be at least 1"),
            (["tiny_nets:mlp", "--dta", "data.npz"], "Did you mean --data instead of --dta?"),
            (["tiny_nets:mlp", "--data", "data.npz", "--weights", "no.pt"], "there is no file no.pt"),
            (["tiny_nets:mlp", "--data", "data.npz", "--weights", "model.pt"], "torch.save(model.state_dict(), path)"),
            (["tiny_nets:mlp", "--data", "data.npz", "--weights", "list.pt"], "holds a list that is not a state dict"),
            (["tiny_nets:mlp", "--data", "data.npz", "--weights", "text.npz"], "cannot be read as a state dict"),
            (["tiny_nets:mlp", "--data", "data.npz", "--weights", "a.safetensors"], "is not a safetensors file"),
            (
                ["tiny_nets:mlp", "--data", "data.npz", "--weights", "net.pt"],
                "2 missing ('2.weight', '2.bias'); 1 unexpected ('more')",
            ),
            (["tiny_nets:Net", "--data", "data.npz", "--weights", "wide.pt"], "0.weight is (3, 7), expected (3, 6)"),
        ],
    )
    def test_record(self, here: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str) -> None:
        from torch import nn

        (here / "text.npz").write_text("hello")
        (here / "tiny_broken.py").write_text("def mlp(:")
        (here / "a.safetensors").write_text("hello")
        (here / "empty" / "class").mkdir(parents=True)
        torch.save(nn.Linear(6, 3), "model.pt")
        torch.save([1, 2], "list.pt")
        torch.save({"0.weight": torch.zeros(12, 6), "0.bias": torch.zeros(12), "more": torch.zeros(1)}, "net.pt")
        torch.save({"0.weight": torch.zeros(3, 7), "0.bias": torch.zeros(3)}, "wide.pt")
        before = tree(here)
        assert message in fails(capsys, "record", *options, "--to", "run")
        assert tree(here) == before

    def test_run_folder_exists(self, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
        argv = ["record", "tiny_nets:mlp", "--data", "data.npz", "--layers", "0", "--to", "run"]
        works(capsys, *argv, "--n", 10)
        before = [(name, (here / name).stat().st_mtime_ns) for name in tree(here)]
        assert "run exists: replace it with --overwrite" in fails(capsys, *argv)
        assert [(name, (here / name).stat().st_mtime_ns) for name in tree(here)] == before
        works(capsys, *argv, "--overwrite")
        assert len(open_run("run").inputs) == 40

    def test_model_that_raises_leaves_nothing(self, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
        np.savez("wrong.npz", x=np.eye(5))
        before = tree(here)
        with pytest.raises(RuntimeError):
            main(["record", "tiny_nets:mlp", "--data", "wrong.npz", "--to", "run"])
        assert tree(here) == before

    def test_debug_shows_the_traceback(self, here: Path) -> None:
        with pytest.raises(ValueError, match="no module 'nothing'"):
            main(["--debug", "record", "nothing:mlp", "--data", "data.npz", "--to", "run"])

    def test_debug_shows_where_a_factory_broke(self, here: Path) -> None:
        with pytest.raises(ValueError, match="raised RuntimeError") as caught:
            main(["--debug", "record", "tiny_nets:breaks", "--data", "data.npz", "--to", "run"])
        assert caught.value.__cause__ is not None
        assert caught.traceback[-1].name == "_call"
        assert caught.value.__cause__.__traceback__.tb_next.tb_frame.f_code.co_name == "breaks"

    @pytest.mark.parametrize(
        ("hidden", "shown"),
        [
            ("/data/.a.topomap-partial/run.zarr/layers", "/data/a"),
            ("/data/.a.topomap-partial", "/data/a"),
            ("/data/.maps.png-0123abcd.png", "/data/maps.png"),
            ("/data/maps.png", "/data/maps.png"),
        ],
    )
    def test_what_cannot_be_written_has_its_own_name(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, hidden: str, shown: str
    ) -> None:
        def refuse(path: object) -> None:
            raise PermissionError(13, "Permission denied", hidden)

        monkeypatch.setattr("topomap.store.open_run", refuse)
        assert fails(capsys, "info", "run") == f"topomap: error: {shown}: Permission denied\n"

    def test_hidden_names_are_those_in_use(self, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from matplotlib.figure import Figure

        from topomap.cli import _HIDDEN
        from topomap.plot.save import save_figure
        from topomap.store.index import aside

        assert _HIDDEN.search(str(aside(here / "run", "partial")))["run"] == "run"
        seen = []
        monkeypatch.setattr(Figure, "savefig", lambda self, path, **options: seen.append(path) or path.touch())
        save_figure(Figure(), here / "a.png")
        assert _HIDDEN.search(str(seen[0]))["file"] == "a.png"

    def test_no_run_folder(self, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for command in (["info"], ["embed"], ["plot", "--by", "label", "--to", "a.png"]):
            assert "nowhere" in fails(capsys, *command, "--run", "nowhere")
        assert not (here / "a.png").exists()

    def test_torn_run_folder(self, here: Path, recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
        import shutil

        shutil.copytree(recorded, here / "torn")
        next((here / "torn" / "run.zarr" / "layers").rglob("c.0.0")).unlink()
        assert "torn" in fails(capsys, "info", "torn")


class TestInterrupt:
    @pytest.mark.filterwarnings("default::topomap.TopomapWarning")
    def test_ctrl_c_says_what_was_kept(self, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (here / "tiny_stops.py").write_text(
            "import torch\n"
            "def data():\n"
            "    yield torch.zeros(4, 6), torch.zeros(4, dtype=torch.int64)\n"
            "    raise KeyboardInterrupt\n"
        )
        argv = ["record", "tiny_nets:mlp", "--data", "tiny_stops:data", "--layers", "0", "--to", "run"]
        assert main(argv) == 130
        out, err = capsys.readouterr()
        assert err.startswith("topomap: interrupted: recording was stopped after 4 inputs; they are in")
        assert out == ""
        assert main(["info", "run"]) == 0
        out, err = capsys.readouterr()
        assert "complete: False" in out
        assert re.fullmatch(r"topomap: warning: the recording in .* was cut short.*\n", err)

    def test_ctrl_c_elsewhere(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        def stop(path: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("topomap.store.open_run", stop)
        assert main(["info", "run"]) == 130
        assert capsys.readouterr().err == "topomap: interrupted; nothing was kept\n"


class TestEmbed:
    def test_stores_what_the_verb_makes(self, recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
        out = works(capsys, "embed", recorded, "--layer", "fc", "--method", "mds", "--region", "square", "--seed", 3)
        assert "Layout(mds: 20 neurons in a square, 1 dead, seed 3)" in out
        assert f"topomap plot {recorded} --layer fc --method mds --by label" in out
        stored = Layout.load(recorded, "fc", "none", "mds")
        made = topomap.embed(topomap.correlate(open_run(recorded)["fc"]), method="mds", region="square", seed=3)
        np.testing.assert_array_equal(stored.positions, made.positions)

    def test_metric_and_groups(self, recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
        works(capsys, "embed", recorded, "--method", "force", "--metric", "cosine", "--absolute", "--by", "label")
        stored = Layout.load(recorded, "fc", "none", "force")
        profiles = topomap.profile(open_run(recorded)["fc"], by="label")
        made = topomap.embed(topomap.correlate(profiles, metric="cosine", absolute=True), method="force")
        np.testing.assert_array_equal(stored.positions, made.positions)

    def test_aligned_to_a_stored_layout(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        rng = np.random.default_rng(0)
        label = np.arange(60) % 3
        records = {}
        for layer, n in (("fc1", 30), ("fc2", 20)):
            values = rng.normal(size=(60, n)) + np.eye(3)[label] @ rng.normal(size=(3, n))
            acts = topomap.Activations.from_array(values, layer=layer, label=label)
            records[layer, acts.reduce] = acts
        path = tmp_path / "run"
        save_run(topomap.Run(acts.inputs, records), path)
        assert "holds no layout to align to yet" in fails(capsys, "embed", path, "--layer", "fc1", "--align-to", "pca")
        works(capsys, "embed", path, "--layer", "fc1", "--method", "pca")
        works(capsys, "embed", path, "--layer", "fc2", "--method", "pca", "--align-to", "fc1", "--by", "label")
        works(capsys, "embed", path, "--layer", "fc2", "--method", "mds", "--align-to", "pca")
        run = open_run(path)
        first, second, third = (
            Layout.load(path, layer, "none", method)
            for layer, method in (("fc1", "pca"), ("fc2", "pca"), ("fc2", "mds"))
        )
        profiles = [topomap.profile(run[layer], by="label") for layer in ("fc2", "fc1")]
        compared = topomap.correlate(profiles[0])
        expected = topomap.embed(compared, "pca").align_to(first, profiles=tuple(profiles))
        np.testing.assert_array_equal(second.positions, expected.positions)
        made = topomap.embed(topomap.correlate(run["fc2"]), "mds", align_to=second)
        np.testing.assert_array_equal(third.positions, made.positions)
        error = fails(capsys, "embed", path, "--layer", "fc1", "--method", "tsne", "--align-to", "fc2")
        assert "must be one of 'fc2/mds', 'fc2/pca', 'pca'; got 'fc2'" in error

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--layer", "fcc"], "Did you mean 'fc'?"),
            (["--method", "umpa"], "Did you mean 'umap'"),
            (["--metric", "person"], 'Did you mean "pearson"?'),
            (["--reduce", "std"], "'std'"),
            (["--reduce", "foo"], "the reduction of layer 'fc' must be one of 'none', 'mean'"),
            (["--seed", "-1"], "seed must be at least 0; got -1"),
        ],
    )
    def test_mistakes(
        self, recorded: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
    ) -> None:
        before = tree(recorded)
        assert message in fails(capsys, "embed", recorded, *options)
        assert tree(recorded) == before


class TestPlot:
    def test_groups_in_three_formats(self, recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        files = [tmp_path / f"maps.{kind}" for kind in ("png", "pdf", "svg")]
        out = works(capsys, "plot", recorded, "--method", "pca", "--by", "label", "--to", *files)
        assert out.split() == [str(file) for file in files]
        assert [file.read_bytes()[:4] for file in files[:2]] == [b"\x89PNG", b"%PDF"]
        text = files[2].read_text()
        for name in ("ant", "bee", "cow", "noise"):
            assert name in text
        again = tmp_path / "again.png"
        works(capsys, "plot", recorded, "--method", "pca", "--by", "label", "--to", again)
        assert again.read_bytes() == files[0].read_bytes()

    def test_inputs_and_intersections(self, recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        file = tmp_path / "new" / "inputs.svg"
        works(capsys, "plot", recorded, "--method", "pca", "--inputs", 4, 0, "--to", file)
        text = file.read_text()
        assert text.index("bee → ant") < text.index("ant → ant")
        file = tmp_path / "both.svg"
        works(capsys, "plot", recorded, "--method", "pca", "--by", "label,correct", "--columns", 2, "--to", file)
        assert file.stat().st_size > 1000

    def test_a_missing_layout_is_made(self, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
        works(capsys, "record", "tiny_nets:mlp", "--data", "data.npz", "--layers", "0", "--to", "run")
        out = works(capsys, "plot", "run", "--method", "pca", "--by", "label", "--to", "a.png")
        assert out.startswith("stored in run: Layout(pca")
        assert works(capsys, "plot", "run", "--by", "label", "--to", "b.png") == "b.png\n"
        assert (here / "a.png").read_bytes() == (here / "b.png").read_bytes()

    def test_plain_means(self, recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        options = ["plot", recorded, "--method", "pca", "--by", "label"]
        text = []
        for more in ([], ["--contrast", "mean"], ["--contrast", "none"]):
            works(capsys, *options, *more, "--width", 6.5, "--to", tmp_path / "a.svg")
            text.append((tmp_path / "a.svg").read_text())
        assert text[0] == text[1]
        assert "minus" in text[0] and "minus" not in text[2]  # SVG breaks the caption into lines
        assert "Plain" in text[2]

    def test_published_look(self, recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        preset = ["--preset", "krug2023", "--method", "pca"]
        works(capsys, "plot", recorded, *preset, "--by", "label", "--to", tmp_path / "a.png")
        works(capsys, "plot", recorded, "--method", "pca", "--by", "label", "--to", tmp_path / "b.png")
        assert (tmp_path / "a.png").read_bytes() != (tmp_path / "b.png").read_bytes()
        # what is given goes before what the preset says
        works(capsys, "plot", recorded, *preset, "--by", "label", "--contrast", "none", "--to", tmp_path / "c.png")
        assert (tmp_path / "a.png").read_bytes() != (tmp_path / "c.png").read_bytes()

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--to", "a.png"], "either a grouping (--by label) or ids"),
            (["--by", "label", "--inputs", "3", "--to", "a.png"], "either a grouping (--by label) or ids"),
            (["--by", "label", "--to", "a.png", "a.jgp"], "Did you mean '.jpg'"),
            (["--by", "lable", "--method", "pca", "--to", "a.png"], "Did you mean 'label'?"),
            (["--inputs", "99", "--method", "pca", "--to", "a.png"], "there is no input '99'; ids are '0', '1'"),
            (["--by", "label", "--method", "pca", "--groups", "ent", "--to", "a.png"], "Did you mean 'ant'"),
            (["--by", "label"], "--to"),
            (["--inputs", "3", "--preset", "krug2023", "--to", "a.png"], "and --preset is for groups"),
            (["--inputs", "3", "--contrast", "mean", "--to", "a.png"], "and --contrast is for groups"),
            (
                ["--inputs", "3", "--groups", "ant", "--contrast", "none", "--to", "a.png"],
                "--inputs paints single inputs, and --contrast and --groups are for groups: leave one of them out",
            ),
            (["--by", "label", "--dpi", "100000", "--to", "a.png"], "dpi must be from 10 to 2400; got 100000"),
            (["--by", "label", "--dpi", "nan", "--to", "a.png"], "dpi must be from 10 to 2400; got nan"),
            (
                ["--by", "label", "--method", "pca", "--dpi", "2400", "--width", "60", "--to", "a.png"],
                "at 2400 dpi has more than 250 million pixels: lower --dpi or --width",
            ),
            (["--by", "label", "--width", "huge", "--to", "a.png"], "single, double or a number of inches; got 'huge'"),
        ],
    )
    def test_mistakes(
        self,
        recorded: Path,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
        options: list[str],
        message: str,
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert message in fails(capsys, "plot", recorded, *options)
        assert tree(tmp_path) == []

    def test_a_mistake_stores_no_layout(self, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
        works(capsys, "record", "tiny_nets:mlp", "--data", "data.npz", "--layers", "0", "--to", "run")
        before = tree(here)
        huge = ["--method", "pca", "--by", "label", "--dpi", "2400", "--width", "60"]
        for wrong in (["--by", "lable"], ["--by", "label", "--groups", "bea"], ["--inputs", "40"], huge):
            fails(capsys, "plot", "run", *wrong, "--to", "a.png")
        assert tree(here) == before

    def test_too_many_groups_for_one_figure(
        self, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rng = np.random.default_rng(0)
        np.savez("many.npz", x=rng.normal(size=(101, 6)), y=np.arange(101) % 3, age=np.arange(101))
        works(capsys, "record", "tiny_nets:mlp", "--data", "many.npz", "--layers", "0", "--to", "run")
        before = tree(here)
        monkeypatch.setattr("topomap.layout.embed", None)  # nothing is laid out in vain
        message = fails(capsys, "plot", "run", "--by", "age", "--to", "a.png")
        assert (
            "one figure shows at most 100 groups, and --by age makes 101: name those to draw with --groups" in message
        )
        assert tree(here) == before

    def test_several_layouts_need_a_choice(self, recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
        works(capsys, "embed", recorded, "--method", "random")
        message = fails(capsys, "plot", recorded, "--by", "label", "--to", "a.png")
        assert "several layouts: choose one with --method" in message
        assert "'random'" in message


def test_info_tells_everything(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = works(capsys, "info", recorded)
    assert str(recorded) in out
    assert "30 inputs" in out
    assert "classes: ant, bee, cow" in out
    assert "correct: 96.7%" in out
    assert "pictures: 4 x 4" in out
    assert re.search(r"^fc +none +30 +20 +19 +1 +values, float32$", out, re.MULTILINE)
    assert re.search(r"^fc +none +pca +disc +0 +20 +1$", out, re.MULTILINE)
    assert "  seed: 5" in out


class TestConfig:
    def write(self, text: str) -> list[str]:
        Path("topomap.toml").write_text(text)
        return ["--config", "topomap.toml"]

    RECORD = '[record]\nmodel = "tiny_nets:mlp"\ndata = "data.npz"\nlayers = "0"\nn = 12\nseed = 3\n'

    def test_default_file_command_line(self, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
        config = self.write(self.RECORD)
        works(capsys, "record", *config, "--to", "a")
        assert re.search(r"notes\n +model: tiny_nets:mlp\n +data: data.npz\n", works(capsys, "info", "a"))
        run = open_run("a")
        assert (len(run.inputs), run.layers, run.provenance["seed"]) == (12, ("0",), 3)
        assert run["0"].values.dtype == np.float32  # a default
        works(capsys, *config, "record", "--to", "b", "--n", 5, "--layers", "1", "2", "--dtype", "float16")
        run = open_run("b")
        assert (len(run.inputs), run.layers, run.provenance["seed"]) == (5, ("1", "2"), 3)

    def test_flags_and_lists(self, here: Path, recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
        config = self.write('[plot]\nto = ["a.png", "b.pdf"]\nmethod = "pca"\nby = "label"\ngroups = ["ant", "cow"]\n')
        assert works(capsys, "plot", recorded, *config).split() == ["a.png", "b.pdf"]
        config = self.write(self.RECORD + "overwrite = true\nto = 'run'\n")
        works(capsys, "record", *config)
        works(capsys, "record", *config)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ('[record]\nlyers = ["0"]', "[record] has no parameter 'lyers'. Did you mean 'layers'?"),
            ("[recrod]\nn = 3", "a table must be one of"),
            ("n = 3", "'n' stands outside any table"),
            ("record = 3", "'record' must be a table, written [record]"),
            ('[record]\nkeep = "all"', "[record] keep: Input should be 'values', 'sparse' or 'moments'; got 'all'."),
            ('[record]\nn = "many"', "[record] n: Input should be a valid integer"),
            ('[record]\nlayers = [["0"]]', "[record] layers[0]: Input should be a valid string"),
            ("[record\n", "is not a TOML file"),
            ("[embed]\nsede = 3", "[embed] has no parameter 'sede'. Did you mean 'seed'"),
        ],
    )
    def test_mistakes(self, here: Path, capsys: pytest.CaptureFixture[str], text: str, message: str) -> None:
        error = fails(capsys, "record", *self.write(text), "tiny_nets:mlp", "--data", "data.npz", "--to", "run")
        assert "topomap.toml" in error
        assert message in error
        assert not (here / "run").exists()

    def test_no_file(self, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert "there is no file other.toml" in fails(capsys, "record", "--config", "other.toml")


def test_masks_from_files(tmp_path):
    from PIL import Image

    from topomap.cli.stored import read_region

    inside = np.zeros((6, 8), dtype=bool)
    inside[1:4, 2:5] = True
    np.save(tmp_path / "mask.npy", inside)
    Image.fromarray(np.uint8(255 * inside)).save(tmp_path / "light.png")
    dark = np.zeros((6, 8, 4), dtype=np.uint8)
    dark[inside, 3] = 255
    Image.fromarray(dark).save(tmp_path / "opaque.png")
    for name in ("mask.npy", "light.png", "opaque.png"):
        assert np.array_equal(read_region(str(tmp_path / name)), inside), name
    Image.fromarray(np.zeros((6, 8), dtype=np.uint8)).save(tmp_path / "dark.png")
    (tmp_path / "no.png").write_text("no picture")
    for name, message in (
        ("dark.png", "dark or transparent all over"),
        ("no.png", "no mask"),
        ("x.npy", "there is no"),
    ):
        with pytest.raises(ValueError, match=message):
            read_region(str(tmp_path / name))
