#!/bin/sh
# Make requirements/*.txt again from pyproject.toml: pinned, hashed, for all platforms, without download addresses.
set -eu
cd "$(dirname "$0")/.."
UV=${UV:-.tools/bin/uv}
compile() {
  "$UV" pip compile --quiet --universal --python-version 3.12 --generate-hashes --no-emit-index-url --no-header --no-annotate "$@"
}
compile pyproject.toml --output-file requirements/runtime.txt
compile pyproject.toml --group dev --constraint requirements/runtime.txt --output-file requirements/dev.txt
compile --group fuzz --output-file requirements/fuzz.txt
echo uv | compile - --output-file requirements/uv.txt
