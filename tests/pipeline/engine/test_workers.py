from types import SimpleNamespace

import pytest

from pipeline.engine.workers import advise, place
from stages.errors import ConfigurationError


def having(cpus: int, gpus: float) -> SimpleNamespace:
    """An executor on a machine of such a size."""
    return SimpleNamespace(capacity=lambda: (cpus, gpus))


def test_a_worker_gets_a_share_of_one_gpu(tiny):
    runtime = tiny("runtime.executor=ray", "runtime.gpus_per_worker=0.5").runtime
    assert place(runtime, having(8, 2)) == ("cuda", None)
    assert place(tiny("runtime.executor=ray", "runtime.gpus_per_worker=0.33").runtime, having(8, 2)) == ("cuda", None)
    assert place(tiny("runtime.executor=ray", "runtime.gpus_per_worker=2").runtime, having(8, 0)) == ("cpu", None)


@pytest.mark.parametrize(
    ("option", "line"),
    [
        ("runtime.gpus_per_worker=2", "runtime.gpus_per_worker: 2 is not one GPU divided by a number of workers"),
        ("runtime.gpus_per_worker=0.4", "runtime.gpus_per_worker: 0.4 is not one GPU divided"),
        ("runtime.gpus_per_worker=100", "runtime.gpus_per_worker: 100 is not one GPU divided"),
        ("runtime.device=cuda:1", "runtime.device: Ray gives every worker a GPU; use cuda instead of cuda:1"),
    ],
)
def test_what_ray_cannot_give_is_refused(tiny, option, line):
    with pytest.raises(ConfigurationError, match=line):
        place(tiny("runtime.executor=ray", option).runtime, having(8, 4))


def test_inline_uses_all_cores_and_says_that_it_uses_one_gpu(tiny, caplog):
    def said(runtime, machine):
        caplog.clear()
        advise(runtime, machine, place(runtime, machine)[0])
        return [one.message for one in caplog.records]

    one, other, default = (tiny(*option).runtime for option in (["runtime.device=cuda"], ["runtime.device=cuda:2"], []))
    assert place(one, having(4, 4)) == ("cuda", 4) and place(other, having(4, 4)) == ("cuda:2", 4)
    assert said(one, having(4, 4)) == ["runtime.executor: inline uses 1 of 4 GPUs; ray uses all of them"]
    assert said(other, having(4, 4)) == []
    assert place(default, having(8, 0)) == ("cpu", 8) and said(default, having(8, 0)) == []
    assert said(one, having(16, 1)) == [
        "runtime.executor: inline decodes in one process, which keeps a GPU waiting; ray uses all cores"
    ]
    assert said(tiny("runtime.executor=ray").runtime, having(16, 4)) == []
