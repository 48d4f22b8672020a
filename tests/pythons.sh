#!/usr/bin/env bash
# Runs the unit tests under each supported Python that this machine has and .venv isn't; says which it hasn't.
set -euo pipefail
cd "$(dirname "$0")/.."

find_python() { # the path of a python$1 that really runs: plain, or one of pyenv's
    local candidate
    for candidate in "python$1" "$(pyenv prefix "$(pyenv latest "$1" 2>/dev/null)" 2>/dev/null)/bin/python$1"; do
        if "$candidate" -c 'import venv' >/dev/null 2>&1; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

tested=$(.venv/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || true)
for version in 3.11 3.12 3.13; do
    if [ "$version" = "$tested" ]; then
        echo "Python $version: that is .venv's, which make test runs with"
        continue
    fi
    if ! python=$(find_python "$version"); then
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
