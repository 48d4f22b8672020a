#!/usr/bin/env bash
# Runs the unit tests under each supported Python that this machine has and .venv isn't; says which it hasn't.
set -euo pipefail
cd "$(dirname "$0")/.."

tested=$(.venv/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || true)
for version in 3.11 3.12 3.13; do
    if [ "$version" = "$tested" ]; then
        echo "Python $version: that is .venv's, which make test runs with"
        continue
    fi
    if ! python=$(bash tests/find_python.sh "$version"); then
        echo "Python $version: not on this machine, skipped"
        continue
    fi
    venv=.venv-$version
    if [ ! -e "$venv/ready" ] || [ locks/dev.txt -nt "$venv/ready" ]; then
        "$python" -m venv --clear "$venv"
        "$venv/bin/python" -m pip --disable-pip-version-check -qq install --no-deps --require-hashes --requirement locks/dev.txt
        "$venv/bin/python" -m pip --disable-pip-version-check -qq install --no-deps --no-build-isolation --editable .
        touch "$venv/ready"
    fi
    echo "Python $version:"
    "$venv/bin/pytest" tests/unit -n 3 --dist loadfile -p no:cacheprovider
done
