# Shared by the scripts here and below: finds the project and a fitting Python. Plain POSIX shell.

root=$(CDPATH='' cd -- "$(dirname -- "$0")" && while [ ! -f pyproject.toml ] && [ "$PWD" != / ]; do cd ..; done && pwd)
venv="$root/.venv"

# A Python that the pinned packages have builds for. 3.11 comes first: it is what the list was made with.
find_python() {
    for candidate in python3.11 python3.12 python3.13 python3 python; do
        if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1; then
            command -v "$candidate"
            return
        fi
    done
    found=$(python3 --version 2>/dev/null || echo "no Python at all")
    echo "error: Python 3.11, 3.12 or 3.13 is needed; found $found. Install one (Debian: apt install python3 python3-venv) and start again." >&2
    return 1
}

# Makes .venv hold the lists named (see configs/requirements); quick when it does already.
bootstrap() {
    python=$(find_python) || exit 1
    "$python" "$root/scripts/bootstrap.py" "$@" || exit $?
}
