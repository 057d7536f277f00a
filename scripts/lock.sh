#!/bin/sh
# Chooses the exact versions in constraints.txt and constraints-cu12.txt anew.
#
# uv resolves pyproject.toml once for Python 3.11 to 3.14 on x86-64 Linux, with one version of
# each package that suits them all. Versions that still fit are kept; start from the newest with
# UPGRADE=yes. The two CUDA builds of onnxruntime-gpu cannot share a file, hence two.
set -eu
cd "$(dirname "$0")/.."
work=build/lock
python=.venv/bin/python
[ -x "$python" ] || python=python3
mkdir -p "$work"
[ -x "$work/venv/bin/uv" ] || {
    "$python" -m venv "$work/venv"
    "$work/venv/bin/python" -m pip --quiet --quiet --disable-pip-version-check install uv
}
cat pyproject.toml - >"$work/pyproject.toml" <<'TOML'

[tool.uv]
environments = [
    "sys_platform == 'linux' and platform_machine == 'x86_64' and implementation_name == 'cpython' and python_version < '3.15'",
]
TOML

lock() { # FILE EXTRA...
    file=$1
    shift
    extras=
    for extra in "$@"; do extras="$extras --extra $extra"; done
    [ ! -f "$file" ] || cp "$file" "$work/$file"
    [ "${UPGRADE:-no}" = no ] || rm -f "$work/$file"
    # shellcheck disable=SC2086
    (cd "$work" && venv/bin/uv pip compile --quiet --universal --python-version 3.11 \
        --fork-strategy fewest --no-header --no-annotate $extras -o "$file" pyproject.toml)
    {
        echo "# Exact versions for the extras $*, Python 3.11 to 3.14 on x86-64 Linux."
        echo "# Made by 'make constraints' from pyproject.toml; do not edit."
        sed 's/ *;.*//' "$work/$file" | sort
    } >"$work/$file.new"
    twice=$(grep -v '^#' "$work/$file.new" | sed 's/==.*//' | uniq -d)
    if [ -n "$twice" ]; then
        echo "lock: one version of these does not suit every Python: $twice" >&2
        exit 1
    fi
    mv "$work/$file.new" "$file"
    echo "$file: $(grep -vc '^#' "$file") packages"
}

lock constraints.txt cpu gpu dev
[ -f constraints-cu12.txt ] || cp constraints.txt constraints-cu12.txt
lock constraints-cu12.txt gpu-cu12 dev
