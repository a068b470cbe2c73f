"""`_target_` makes what is ours, and what hides behind the names of ours stays hidden."""

from collections.abc import Callable
from typing import Any

import pytest
from omegaconf import OmegaConf

from evonas import config

SILENT: dict[str, Any] = {"_target_": "evonas.track.base.Silent"}

# each would leave a file named marker in the current folder
TARGETS: dict[str, list[Any]] = {
    "os.mkdir": ["marker"],
    "os.system": ["touch marker"],
    "posix.system": ["touch marker"],
    "builtins.open": ["marker", "w"],
    "io.open": ["marker", "w"],
    "subprocess.run": [["touch", "marker"]],
    "pathlib.Path.touch": [{"_target_": "pathlib.Path", "_args_": ["marker"]}],
    "shutil.copy": ["/etc/hostname", "marker"],
    "tempfile.mkdtemp": [None, "marker", "."],
    "runpy.run_path": ["marker.py"],
    "timeit.timeit": ["open('marker', 'w')"],
    "code.interact": ["open('marker', 'w')"],
    "ctypes.CDLL": ["marker.so"],
    "logging.FileHandler": ["marker"],
    "logging.os.mkdir": ["marker"],
    "logging.config.dictConfig": [{"version": 1, "handlers": {"x": {"()": "os.mkdir", "path": "marker"}}}],
    "numpy.save": ["marker", [1]],
    "numpy.memmap": ["marker", "uint8", "w+", 0, [1]],
    "torch.save": [[1], "marker"],
    "torch.optim.adam.torch.save": [[1], "marker"],
    "torch.optim.lr_scheduler.types.FunctionType": [1, {}],
    "lightning.pytorch.loggers.csv_logs.os.mkdir": ["marker"],
    "lightning.pytorch.callbacks.timer.time.sleep": [0],
    "hydra.utils.instantiate": [{"_target_": "os.mkdir", "path": "marker"}],
    "hydra.utils.get_method": ["os.mkdir"],
    "omegaconf.OmegaConf.save": [{"a": 1}, "marker"],
    "evonas.stages.doctor.os.mkdir": ["marker"],
    "evonas.stages.doctor.shutil.copy": ["/etc/hostname", "marker"],
    "evonas.search.base.os.mkdir": ["marker"],
    "evonas.supernets.evonet.checkpoint_names.Path.touch": ["marker"],
    "evonas.track.csv.Path": ["marker"],
    "evonas.files.write_text": ["marker", "x"],
    "evonas.weights.save": ["marker", {}],
    "evonas.lock.acquire": ["marker", "x"],
    "evonas.stages.show.build": [{"_target_": "os.mkdir", "path": "marker"}],
    "evonas.config.build": [{"_target_": "os.mkdir", "path": "marker"}],
    "evonas.data.io.safe.open_stream": ["/etc/hostname"],
    "evonas.data.detection.coco.safe.open_stream": ["/etc/hostname"],
    "evonas.runtimes.latency_server.main": [["--job", "marker"]],
    "evonas.runtimes.latency_server.Benchmark": [["touch", "marker"], "(.)"],
    "evonas.runtimes.device.subprocess.run": [["touch", "marker"]],
    "evonas.runtimes.device.device_at": ["ssh://me@here"],
    "evonas.stages.serve_latency.latency_server.serve": [None],
    "evonas.track.base.Silent.__init__.__globals__": [],
    "evonas.track.base.Silent.__class__.__base__.__subclasses__": [],
    "evonas.track.base._LOG.info": ["x"],
    "evonas.track.base.GuardedTracker.scalars": [],
    "EVONAS.track.base.Silent": [],
    "evonas.track.base.Silent ": [],
    "evonas.track\u2024base.Silent": [],
    "evonas": [],
    ".os.system": ["touch marker"],
}
PLACES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "root": lambda bad: bad,
    "nested": lambda bad: {**SILENT, "folder": {"deep": bad}},
    "listed": lambda bad: {**SILENT, "folder": [1, [bad]]},
    "partial": lambda bad: {**bad, "_partial_": True},
    "interpolated": lambda bad: (
        OmegaConf.create({"bad": bad["_target_"], "node": {**bad, "_target_": "${bad}"}}).node
    ),
}


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES.keys())
@pytest.mark.parametrize("target", TARGETS)
def test_it_is_refused(hostile: Any, target: str, place: Callable[[dict[str, Any]], Any]) -> None:
    node = place({"_target_": target, "_args_": TARGETS[target]})
    hostile.refused(lambda: config.build(node))
