# make demo: everything on embedded data. make test: every check. See each target's first line.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
RUN := $(VENV)/bin/python
BASE := $(VENV)/.base
DEV := $(VENV)/.dev
# in the order of their names: the last file is not the longest
PYTEST := $(RUN) -m pytest -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: demo test test-all test-faults test-ray openmm kernels lint format gpu-check wheel-check figures docs release-check clean

# install, run all stages, end with the path of the report
demo: $(BASE)
	$(RUN) -m evonas +task=synthetic

# what must pass before a change goes in; the benchmark of speed in small, to see that it runs
test: $(DEV)
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	{ $(RUN) -m mypy && $(RUN) benchmarks/speed.py --small; } & beside=$$!; \
	$(PYTEST) -m "not slow and not gpu"; tests=$$?; wait $$beside && exit $$tests

# the same with the tests that take minutes
test-all: lint
	$(PYTEST) -m "not gpu"

# crashes, hangs, full disks and torn files
test-faults: $(DEV)
	$(RUN) -m pytest tests/faults

# the engine's contract on a Ray of its own, and a cluster that loses a machine; takes minutes
test-ray: $(DEV)
	$(RUN) -m pip install --quiet --editable ".[ray]"
	$(RUN) -m pytest tests/contract/test_engines.py tests/faults/test_same_dump.py -k "Ray or ray or machine"

# OpenMMLab's maintained packages, without a compiler (two minutes), and what is tested with them
openmm: $(DEV)
	$(RUN) -m pip install --quiet --editable ".[det-mm,seg-mm]"
	$(RUN) -m pytest tests/unit/mm/test_upernet.py tests/unit/mm/test_configs.py tests/contract/test_mm_detection_heads.py

# compiled kernels for this processor; needs a C++ compiler, takes seconds
kernels: $(BASE)
	$(RUN) -m pip install --quiet --force-reinstall --no-deps ./kernels
	$(RUN) -m evonas doctor | grep ":native"

lint: $(DEV)
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

format: $(DEV)
	$(RUN) -m ruff format .
	$(RUN) -m ruff check --fix .

# needs an accelerator; says which one it used
gpu-check: $(DEV) kernels
	$(RUN) -c "import torch; assert torch.cuda.is_available(), 'no GPU here'; print(torch.cuda.get_device_name())"
	$(RUN) -m pytest -m gpu
	$(RUN) benchmarks/step.py +experiment=evonas_kitti hardware=gpu train.supernet.batch_size=4 limits.teacher_size=tiny

# build the wheel, install it where no source tree is, and let it look around
wheel-check: $(DEV)
	rm -rf dist
	$(RUN) -m build --wheel --outdir dist .
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && \
	$(PYTHON) -m venv "$$folder/venv" && \
	"$$folder/venv/bin/python" -m pip install --quiet dist/evonas-*.whl && \
	cd "$$folder" && venv/bin/evonas doctor && venv/bin/evonas --cfg job +task=synthetic > /dev/null

# draw the pictures of the documents again, from the committed run in docs/figures; needs Chromium
figures: $(DEV)
	PYTHONPATH=tests/browser:. $(RUN) docs/figures/draw.py

# the documentation as a site in build/site; any warning is an error
docs: $(DEV)
	$(RUN) -m pip install --quiet --editable ".[docs]"
	$(RUN) -m mkdocs build --strict

# before a release: versions agree, the site is whole, and the wheel of the source archive runs where no source is
release-check: docs
	rm -rf dist
	$(RUN) -m pytest tests/cli/test_release.py -m "not slow"
	$(RUN) -m build --outdir dist .
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && \
	$(PYTHON) -m venv "$$folder/venv" && \
	"$$folder/venv/bin/python" -m pip install --quiet "$$(echo dist/evonas-*.whl)[export]" && \
	cd "$$folder" && venv/bin/evonas doctor && \
	venv/bin/evonas +task=synthetic limits=debug data.train=32 data.validation=8 data.test=8 \
		budget.population=4 budget.evaluations=8 select.include_max=false run=released && \
	test -s outputs/released/report/index.html && test -s outputs/released/export/knee/model.onnx

clean:
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(BASE): pyproject.toml
	$(PYTHON) -c "import sys; assert sys.version_info >= (3, 11), 'Python 3.11 or newer is needed: make PYTHON=...'"
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --upgrade pip
	$(RUN) -m pip install --quiet --editable ".[export]"
	touch $@

$(DEV): $(BASE)
	$(RUN) -m pip install --quiet --editable ".[dev]"
	touch $@
