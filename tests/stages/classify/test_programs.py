"""TorchScript and exported networks: explained where their layers are known, else refused in one line."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from pipeline.config.recipe import resolve
from pipeline.engine.prepare import load_checked
from stages.classify.network import Network
from stages.classify.sources import load_network
from stages.errors import ConfigurationError
from stages.trace.probe import last_spatial_layer
from tests.stages.toys import GapLinear, seeded


def traced() -> nn.Module:
    return torch.jit.trace(seeded(GapLinear), torch.randn(2, 3, 32, 32))


def exported() -> object:
    shapes = ({0: torch.export.Dim("images")},)
    return torch.export.export(seeded(GapLinear), (torch.randn(2, 3, 32, 32),), dynamic_shapes=shapes)


class WithState(GapLinear):
    """Its state dict has an entry that is no tensor."""

    def get_extra_state(self) -> dict[str, object]:
        return {"epoch": 3, "who": object}

    def set_extra_state(self, state: object) -> None:
        pass


def with_state() -> nn.Module:
    return seeded(WithState)


class WithScript(GapLinear):
    """A scripted step before layers that can be watched."""

    def __init__(self) -> None:
        super().__init__()
        self.before = torch.jit.script(nn.Sequential(nn.Identity()))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.before(x))


pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # torch announces the end of TorchScript.
HERE = "python:tests.stages.classify.test_programs"


def test_a_script_is_refused_with_the_way_out(tiny):
    with pytest.raises(ConfigurationError, match=r"^a TorchScript network .* module\.load_state_dict\(") as caught:
        load_checked(resolve(tiny(f"model.spec={HERE}:traced")))
    assert "\n" not in str(caught.value) and caught.value.about == "network"
    with pytest.raises(ConfigurationError, match="a TorchScript network cannot be explained"):
        Network(torch.jit.script(seeded(GapLinear)))


@pytest.mark.parametrize("make", [traced, lambda: torch.jit.script(seeded(GapLinear))], ids=["traced", "scripted"])
def test_the_archive_of_a_script_is_no_checkpoint(make, tmp_path):
    make().save(tmp_path / "net.pt")
    with pytest.raises(ConfigurationError, match="is a TorchScript archive, which would run code") as caught:
        load_network(f"file:{tmp_path / 'net.pt'}?arch=nin")
    assert "torch.save(torch.jit.load('net.pt').state_dict(), 'tensors.pt')" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_the_tensors_of_a_script_are_a_checkpoint_as_the_message_says(tmp_path, monkeypatch):
    from stages.classify.sources.untrained import untrained

    module = untrained("torchvision:squeezenet1_1", 3)[0].eval()
    monkeypatch.chdir(tmp_path)
    torch.jit.trace(module, torch.randn(1, 3, 64, 64)).save("net.pt")
    torch.save(torch.jit.load("net.pt").state_dict(), "tensors.pt")
    found = load_network("file:tensors.pt?arch=torchvision:squeezenet1_1&num_classes=3")
    x = torch.randn(1, 3, 64, 64)
    assert torch.equal(found.module(x), module(x))


@pytest.mark.slow
def test_an_exported_program_is_explained_by_its_modules(tiny, tmp_path):
    found = load_checked(resolve(tiny(f"model.spec={HERE}:exported", "model.size=32", "explain.methods=[gradcam]")))
    assert found[1].layers == ["features"]
    x = torch.randn(4, 3, 32, 32)
    torch.testing.assert_close(found[0].module(x), seeded(GapLinear)(x))
    torch.export.save(exported(), tmp_path / "net.pt2")
    with pytest.raises(
        ConfigurationError, match=r"is an exported program.*torch\.export\.load\('net\.pt2'\)\.state_dict"
    ):
        load_network(f"file:{tmp_path / 'net.pt2'}?arch=nin")


def test_a_scripted_part_hides_its_own_layers_only():
    network = Network(seeded(WithScript))
    assert last_spatial_layer(network.module, 32) == "features"


def test_entries_of_a_state_dict_that_are_no_tensors_do_not_matter(tiny):
    found = load_checked(resolve(tiny(f"model.spec={HERE}:with_state", "model.size=32")))
    assert found[0].weights_sha256 == Network(seeded(GapLinear)).weights_sha256
