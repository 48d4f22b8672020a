#!/usr/bin/env bash
# Prints the path of a python$1 that really runs: plain, or one of pyenv's. Fails if there is none.
for candidate in "python$1" "$(pyenv prefix "$(pyenv latest "$1" 2>/dev/null)" 2>/dev/null)/bin/python$1"; do
    if "$candidate" -c 'import venv' >/dev/null 2>&1; then
        command -v "$candidate"
        exit
    fi
done
exit 1
