# Sourced by scripts/run, scripts/test, scripts/docs and .ci/run: makes the environment .venv, once
# per pyproject.toml and constraints.txt. The constraints are the versions that were tested together,
# so that a new release of another project cannot break a first try.
# Usage: environment GROUP...   (dependency groups of pyproject.toml, none for the program alone)

cd "$(dirname "${BASH_SOURCE[0]}")/.."
venv=.venv
constraints=scripts/constraints.txt

find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3.13 python3.12 python3.11 python3.14 python3 python; do
        [ -n "$candidate" ] || continue
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "portadnn needs Python 3.11 or newer; none was found (set PYTHON to name one)" >&2
    exit 1
}

environment() {
    local group arguments=() stamp
    for group in "$@"; do arguments+=(--group "$group"); done
    if ! [ -x "$venv/bin/python" ]; then
        local python
        python=$(find_python) || exit 1
        "$python" -m venv "$venv" || {
            rm -rf "$venv"
            echo "the environment could not be created (on Debian: apt install python3-venv)" >&2
            exit 1
        }
    fi
    stamp="$venv/installed-$(IFS=-; echo "portadnn${*:+-$*}")"
    if ! cat pyproject.toml "$constraints" | cmp -s - "$stamp"; then
        echo "installing into $venv (once): portadnn $*" >&2
        # dependency groups need pip 25.1
        "$venv/bin/python" -m pip install --quiet --upgrade 'pip>=25.1'
        "$venv/bin/python" -m pip install --quiet --constraint "$constraints" --editable . "${arguments[@]}"
        cat pyproject.toml "$constraints" >"$stamp"
    fi
}
