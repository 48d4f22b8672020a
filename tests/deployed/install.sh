#!/usr/bin/env bash
# The emulator's environment in $1, made by $2, the Python that functions run by ("" if there is none); or a line that says
# why not, which __main__.py finds in $1/why.
set -uo pipefail
cd "$(dirname "$0")/../.."
into=$1 python=$2
[ -z "$python" ] && exit 0 # __main__.py says so
[ -e "$into/ready" ] && [ "$into/ready" -nt locks/emulator.txt ] && exit 0
echo "Setting up $into (about half a minute, once) ..."
"$python" -m venv --clear "$into" &&
  "$into/bin/python" -m pip --quiet --quiet --disable-pip-version-check install --no-deps --require-hashes \
    --requirement locks/emulator.txt &&
  touch "$into/ready" && exit 0
mkdir -p "$into" && echo "the emulator can't be installed here" >"$into/why"
