.PHONY: setup demo test check format bench lock

setup:
	@tools/setup.sh run

demo: setup
	@.venv/bin/python tools/demo.py

test:
	@tools/setup.sh test
	@.venv/bin/python -m pytest -q

# Exactly what CI runs before the tests.
check: setup
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports
	.venv/bin/python tools/generated.py --check

format: setup
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

bench: setup
	@.venv/bin/python -m bench

lock:
	tools/lock.sh
