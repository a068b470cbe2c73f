"""What must answer at once never imports torch."""

import subprocess
import sys

import source

LIGHT = ("search/", "evaluate/", "report/", "space/", "track/", "archive.py", "run.py", "config.py", "cli.py")
LIGHT_FILES = (
    "supernets/base.py",
    "supernets/cost_table.py",
    "supernets/families.py",
    "supernets/elastic_timm/cost.py",
    "supernets/elastic_timm/family.py",
    "supernets/elastic_timm/space.py",
    "supernets/elastic_timm/structure.py",
    "supernets/elastic_timm/subnet.py",
    "supernets/elasticvit/cost.py",
    "supernets/elasticvit/family.py",
    "supernets/elasticvit/published.py",
    "supernets/elasticvit/space.py",
    "supernets/evonet/cost.py",
    "supernets/evonet/family.py",
    "supernets/evonet/published.py",
    "supernets/evonet/space.py",
    "supernets/mbconv/cost.py",
    "supernets/mbconv/family.py",
    "supernets/mbconv/space.py",
    "supernets/ofa_mbv3/cost.py",
    "supernets/ofa_mbv3/family.py",
    "supernets/ofa_mbv3/formats.py",
    "supernets/ofa_mbv3/published.py",
    "supernets/ofa_mbv3/space.py",
    "cli_args.py",
    "cli_errors.py",
    "lock.py",
    "files.py",
    "randomness.py",
    "stages/base.py",
    "stages/cost.py",
    "stages/run.py",
    "stages/search.py",
    "stages/select.py",
    "stages/report.py",
    "objectives/analytic_costs.py",
    "objectives/tabular/evaluator.py",
    "data/nas_bench/base.py",
    "data/nas_bench/nb101.py",
    "data/nas_bench/nb301.py",
    "data/nas_bench/macro.py",
    "data/nas_bench/accel_nasbench.py",
    "tasks/table.py",
)
HEAVY = ("torch", "lightning", "timm", "torchvision", "torchmetrics", "wandb", "onnx")


def test_light_modules_import_without_torch() -> None:
    chosen = [path for path in source.files() if source.relative(path).startswith((*LIGHT, *LIGHT_FILES))]
    assert len(chosen) >= 25
    names = [source.module(path) for path in chosen if path.name != "__main__.py"]
    code = f"""
import importlib, sys
for name in {names!r}:
    importlib.import_module(name)
    heavy = sorted(set(sys.modules) & set({HEAVY!r}))
    assert not heavy, f"{{name}} imports {{heavy}}"
"""
    ended = subprocess.run([sys.executable, "-c", code], cwd=source.ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


def test_the_package_itself_imports_nothing() -> None:
    code = "import sys; before = set(sys.modules); import evonas; print(sorted(set(sys.modules) - before))"
    ended = subprocess.run([sys.executable, "-c", code], cwd=source.ROOT, capture_output=True, text=True)
    assert ended.stdout.strip() == "['evonas']"
