.PHONY: setup demo test check format bench bundle fuzz lock

setup:
	@tools/setup.sh run

demo: setup
	@.venv/bin/python tools/demo.py

test:
	@tools/setup.sh test
	@.venv/bin/python -m pytest -q

# Exactly what CI runs before the tests.
check:
	@tools/setup.sh check
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/mypy src/action/provision.py
	.venv/bin/mypy tools/bundle.py
	.tools/node/node_modules/.bin/tsc --project tools/node/tsconfig.json
	.venv/bin/lint-imports
	.venv/bin/python tools/generated.py --check

format: setup
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

bench: setup
	@.venv/bin/python -m bench

# The prebuilt environment that releases carry: see tools/bundle.py.
bundle: setup
	@.venv/bin/python tools/bundle.py

# Coverage-guided, of everything that reads hostile bytes, for so many minutes in all: see tests/fuzz/targets.py.
MINUTES ?= 30
fuzz: setup
	@VIRTUAL_ENV=.venv .tools/bin/uv pip install --quiet --require-hashes --requirement requirements/fuzz.txt
	@.venv/bin/python -m tests.fuzz.campaign $(MINUTES)

lock:
	tools/lock.sh
