"""The commands as a user types them: a process, its streams and its exit code."""

from __future__ import annotations

import json
import resource
import subprocess
import sys

import pytest

from tests.runs import wsl, wsl_here


def test_help_is_quick_and_imports_nothing_heavy():
    seconds, needed = [], []
    for _ in range(3):
        started = _seconds_of_children()
        result = wsl("--help")
        seconds.append(_seconds_of_children() - started)
        subprocess.run([sys.executable, "-c", "import typer"], check=True)
        needed.append(_seconds_of_children() - started - seconds[-1])
    assert result.returncode == 0 and "relocalize" not in result.stderr and "run" in result.stdout
    # The same machine is half as fast at times: then it is the library, without which there is no help, that tells.
    assert min(seconds) < max(0.5, 5 * min(needed))
    heavy = "torch", "ray", "pyarrow", "numpy", "cv2", "pydantic"
    watch = f"import atexit, sys; atexit.register(lambda: print([m for m in {heavy} if m in sys.modules]))"
    assert wsl("--help", prelude=watch).stdout.splitlines()[-1] == "[]"


def _seconds_of_children() -> float:
    """What they spent: what they took depends on what else the machine does."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


@pytest.mark.slow  # a cluster of its own
def test_a_run_prints_json_on_stdout_and_the_rest_on_stderr(tiny_data, tmp_path):
    # Ray repeats what its cluster said as it is shut down, after the answer.
    late = "import atexit; atexit.register(lambda: print('a last word'))"
    result = wsl("run", tiny_data / "tiny.yaml", "--json", cwd=tmp_path, prelude=late)
    assert result.returncode == 0, result.stderr
    metrics = json.loads(result.stdout)
    assert "a last word" in result.stderr
    assert metrics["methods"]["cam"]["gt_known_loc"]["0.5"]["n"] == 22
    out = tmp_path / metrics["run_dir"]
    assert out.parent.name == "runs" and out.name.startswith("tiny-")
    assert json.loads((out / "metrics.json").read_text()) == {k: v for k, v in metrics.items() if k != "run_dir"}
    assert "GT-known@0.5" in result.stderr and "full_image" in result.stderr
    run = json.loads((out / "run.json").read_text())
    row = next(line.split() for line in result.stderr.splitlines() if line.split()[:1] == ["cam"])
    assert "ms/image" in result.stderr
    assert float(row[-1]) == pytest.approx(1000 * run["seconds"]["explain/cam"] / run["computed_images"], rel=0.01)
    again = wsl("run", tiny_data / "tiny.yaml", cwd=tmp_path)
    assert again.returncode == 0 and "is complete; nothing to do" in again.stderr
    assert "cam" in again.stderr and again.stdout == ""
    state = json.loads(wsl_here("status", out, "--json").stdout)
    assert state.pop("images_per_second") > 0
    assert state == {"state": "complete", "images": 23, "done": 23, "failed": 1, "complete": True}
    page = wsl_here("report", out, "--dest", tmp_path / "page.html")
    assert page.returncode == 0 and (tmp_path / "page.html").read_bytes() == (out / "report/index.html").read_bytes()


def test_too_many_failures_are_exit_4_after_all_is_written(tiny_data, tmp_path):
    result = wsl_here("run", tiny_data / "tiny.yaml", "runtime.max_failures=0", "--out", tmp_path / "run", "-q")
    assert result.returncode == 4
    assert "4.3% of the images failed, more than runtime.max_failures=0.0" in result.stderr
    assert (tmp_path / "run" / "_SUCCESS").exists()


def test_brackets_in_names_are_no_markup(tiny_data, tmp_path):
    out = tmp_path / "of[bold] and [/b]"
    result = wsl_here("run", tiny_data / "tiny.yaml", "--limit", 3, "--out", out, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert str(out / "report/index.html") in result.stderr.replace("\n", "")


@pytest.mark.parametrize("text", ['{"a": 1}', '{"protocol_fingerprint": "x", "n_images": 3, "methods": []}'])
def test_scores_that_lack_something_are_damaged(tiny_data, tmp_path, text):
    arguments = "run", tiny_data / "tiny.yaml", "--limit", 3, "-q", "--out", tmp_path / "run"
    assert wsl_here(*arguments, cwd=tmp_path).returncode == 0
    (tmp_path / "run" / "metrics.json").write_text(text)
    for command in (("report", tmp_path / "run"), ("compare", tmp_path / "run", tmp_path / "run/.")):
        result = wsl_here(*command, cwd=tmp_path)
        assert result.returncode == 3 and "metrics.json is damaged; restore it, or remove it and run" in result.stderr
    assert wsl_here(*arguments, cwd=tmp_path).returncode == 0, "which writes them again"
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["n_images"] == 3


def test_a_dry_run_computes_nothing(tiny_data, tmp_path):
    result = wsl_here("run", tiny_data / "tiny.yaml", "--dry-run", "--limit", 7, "--json", cwd=tmp_path)
    assert json.loads(result.stdout)["images"] == 7
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("run", "imagenet-val"), 2, "data.root: it is not set"),
        (("run", "imagenet-val", "data.root=/nowhere/at/all"), 3, "/nowhere/at/all"),
        (("run", "{tiny}", "box.treshold=1"), 2, "did you mean box.threshold?"),
        (("run", "{tiny}", "box.protocol=cam2061"), 2, "did you mean cam2016?"),
        (("run", "{tiny}", "explain.methods=[gradcan]"), 2, "did you mean gradcam?"),
        (("run", "{tiny}", "explain.layer=features.9"), 2, "no layer 'features.9'"),
        (("run", "{tiny}", "model.spec=nothing"), 2, "unknown source"),
        (("run", "{tiny}", "model.spec=file:/none.pt?arch=lite0"), 5, "no weights at /none.pt"),
        (("run", "{tiny}", "--executor", "slurm"), 2, "runtime.executor"),
        (("run", "{tiny}", "runtime.device=tpu"), 2, "runtime.device"),
        (("run", "{tiny}", "runtime.device=cuda:7"), 2, "there is no GPU here"),
        (("run", "{tiny}", "--out", "/proc/none"), 2, "cannot write to /proc/none"),
        (("run", "{tiny}", "seed=-1"), 2, "seed: "),
        (("run", "{tiny}", "explain.layer=fc", "explain.methods=[gradcam]"), 2, "name a convolutional layer"),
        (("run", "demmo"), 2, "did you mean demo?"),
        (("list", "explainer"), 2, "did you mean explainers?"),
        (("list", "clases", "lite0"), 2, "did you mean classes?"),
        (("list", "classes"), 2, "list classes SPEC, such as list classes lite0"),
        (("list", "classes", "lite"), 2, "unknown source 'lite'"),
        (("list", "classes", "timm:convnext_tiny.in12k"), 2, "does not name its classes"),
        (("list", "protocols", "lite0"), 2, "list protocols takes nothing more"),
        (("status", "/nowhere"), 3, "no run.json"),
        (("report", "/nowhere"), 3, "/nowhere has no"),
        (("status", "n" * 300), 3, "no run.json"),
        (("status", "http://[bad/x"), 2, "http://[bad/x is neither a local path nor a uri"),
        (("report", "foo://bar/x"), 2, "error: foo://bar/x: runs are written to"),
        (("run", "{tiny}", "--out", "foo://bar/x"), 2, "error: --out: foo://bar/x"),
        (("compare", "/nowhere", "/nowhere"), 3, "/nowhere has no"),
        (("sweep", "{tiny}", "box.threshold=[0.1,0.2]", "box.threshold=0.5"), 2, "box.threshold is given twice"),
        (("sweep", "{tiny}", "explain.layer=[0.10,0.2]"), 2, "no layer '0.10'"),
    ],
)
def test_mistakes_are_one_line_and_the_right_code(tiny_data, tmp_path, arguments, code, message):
    filled = [argument.format(tiny=tiny_data / "tiny.yaml") for argument in arguments]
    result = wsl_here(*filled, cwd=tmp_path)
    lines = [line for line in result.stderr.splitlines() if line]
    assert result.returncode == code, result.stderr
    assert len(lines) == 1 and lines[0].startswith("error: ") and message in lines[0]
    assert result.stdout == ""


def test_a_network_in_a_file_of_the_working_directory(tiny_data, tmp_path):
    (tmp_path / "mynet.py").write_text(
        "import torch\nfrom stages.classify.network import Network, Preprocess\n"
        "def make():\n"
        "    torch.manual_seed(0)\n"
        "    net = torch.nn.Sequential(torch.nn.Conv2d(3, 7, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())\n"
        "    return Network(net, [f'class {i}' for i in range(7)], Preprocess(size=32))\n"
        "def pair():\n"
        "    class Pair(torch.nn.Module):\n"
        "        def forward(self, x): return x, x\n"
        "    return Pair()\n"
        "def misnamed(): return Network(make().module, ['one'])\n"
    )
    options = "explain.methods=[gradcam]", "--limit", 4, "--out", tmp_path / "run"
    good = wsl_here("run", tiny_data / "tiny.yaml", "model.spec=python:mynet:make", *options, cwd=tmp_path)
    assert good.returncode == 0, good.stderr
    for name, message in (("pair", "not logits"), ("misnamed", "1 class names for a network of 7 outputs")):
        spec = f"model.spec=python:mynet:{name}"
        bad = wsl_here(
            "run",
            tiny_data / "tiny.yaml",
            spec,
            "explain.layer=last",
            *options[:3],
            "--out",
            tmp_path / name,
            cwd=tmp_path,
        )
        assert bad.returncode == 2 and message in bad.stderr, bad.stderr


def test_debug_adds_the_traceback(tmp_path):
    result = wsl_here("status", "/nowhere", "--debug", cwd=tmp_path)
    assert result.returncode == 3 and "Traceback" in result.stderr


@pytest.mark.parametrize("arguments", [("rum",), ("run",), ("run", "demo", "--limit", "many"), ("status", "--nope")])
def test_usage_mistakes_are_exit_2(arguments):
    result = wsl_here(*arguments)
    assert result.returncode == 2 and result.stdout == ""
    assert len(result.stderr.splitlines()) == 1 and result.stderr.startswith("error: ")


@pytest.mark.parametrize("what", ["configs", "datasets", "models", "explainers", "protocols", "metrics", "formats"])
def test_lists_read_the_same_for_people_and_programs(what):
    table = json.loads(wsl_here("list", what, "--json").stdout)
    text = wsl_here("list", what).stdout
    assert len(table) >= 2 and all(name in text for name in table)


def test_the_classes_of_a_network_are_listed_without_torch():
    watch = "import atexit, sys; atexit.register(lambda: print('torch' in sys.modules))"
    lines = wsl("list", "classes", "lite0", "--search", "GREAT_white", prelude=watch).stdout.splitlines()
    assert lines == ["2  name=great white shark  wnid=n01484850", "False"]
    found = json.loads(wsl_here("list", "classes", "lite0", "--search", "dog", "--json").stdout)
    assert len(found) == 10 and found["275"] == {"name": "African hunting dog", "wnid": "n02116738"}
    assert len(json.loads(wsl_here("list", "classes", "lite0", "--json").stdout)) == 1000
    nothing = wsl_here("list", "explainers", "--search", "zebra")
    assert (
        nothing.returncode == 0 and nothing.stdout == "" and "nothing in this list contains 'zebra'" in nothing.stderr
    )


def test_version_and_doctor():
    versions = json.loads(wsl_here("version", "--json").stdout)
    assert {"wsl-pipeline", "python", "torch", "ray"} <= set(versions)
    result = wsl_here("doctor")
    assert result.returncode == 0 and "cores" in result.stdout and "lite0 weights" in result.stdout
