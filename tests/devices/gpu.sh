#!/usr/bin/env bash
# What only a GPU can show, in one command of at most 8 minutes, on a machine without network:
#
#   tests/devices/gpu.sh [--minutes 8] [--out FOLDER] [--only PART]   a machine with CUDA and torch
#   tests/devices/gpu.sh --device cpu --quick                         a dry run: every line of it, on small sizes
#   tests/devices/gpu.sh --collect FOLDER                             with network: the wheels that such a machine may lack
#
# What is installed stays as it is: wheels in $WHEELS (or ./wheels) go to a folder of their own, behind it. The table of
# results is printed and written to FOLDER/gpu.json; exit 1 if a check failed.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
python=${PYTHON:-python3}
lacking=(simplejpeg platformdirs jinja2 safetensors pyyaml onnx onnxscript)

if [ "${1:-}" = --collect ]; then
  exec "$python" -m pip download --no-deps --only-binary :all: --python-version 3.12 \
    --platform manylinux_2_28_x86_64 --platform manylinux2014_x86_64 --dest "$2" "${lacking[@]}" markupsafe
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
wheels=${WHEELS:-wheels}
if [ -d "$wheels" ]; then
  "$python" -m pip install --quiet --no-index --no-deps --target "$work/wheels" "$wheels"/*.whl
fi
# Behind what is there: PYTHONPATH would go before it.
printf 'import os, sys; sys.path.append(os.environ["FASTVIT_WHEELS"])\n' >"$work/sitecustomize.py"
export FASTVIT_WHEELS="$work/wheels" PYTHONPATH="$root:$root/tests:$work"
"$python" "$here/gpu.py" --work "$work" "$@"
