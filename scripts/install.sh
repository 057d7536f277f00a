#!/bin/sh
# Installs streamer into .venv, or does nothing when it is installed as asked.
#
#   scripts/install.sh EXTRA [PYTHON] [dev]
#
# EXTRA is cpu, gpu or gpu-cu12. Without PYTHON the existing .venv is kept, or the first python3
# that is new enough makes one. .venv/streamer-installed says what was installed from what.
set -eu
cd "$(dirname "$0")/.."
extra=$1
asked=${2:-}
dev=${3:-}

fail() {
    echo "streamer: $1" >&2
    exit 1
}

case $extra in
    cpu | gpu) constraints=constraints.txt ;;
    gpu-cu12) constraints=constraints-cu12.txt ;;
    *) fail "EXTRA must be cpu, gpu or gpu-cu12, not '$extra'; leave it out to let make choose." ;;
esac

version_of() { # prints "3.12" of a Python that runs, nothing otherwise
    "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || true
}

new_enough() {
    case $1 in 3.1[1-9] | 3.[2-9][0-9] | [4-9].*) return 0 ;; *) return 1 ;; esac
}

choose_python() {
    for candidate in ${asked:-python3 python3.14 python3.13 python3.12 python3.11}; do
        version=$(version_of "$candidate")
        if new_enough "$version"; then
            python=$candidate
            return
        fi
    done
    if [ -n "$asked" ]; then
        found=$(version_of "$asked")
        fail "streamer needs Python 3.11 or later, and $asked is ${found:-not to be found}; \
name another with make PYTHON=python3.12."
    fi
    found=$(version_of python3)
    fail "streamer needs Python 3.11 or later, and python3 is ${found:-not to be found}; install \
a newer one (Debian and Ubuntu: apt-get install python3 python3-venv) or name it with make \
PYTHON=python3.12."
}

sum=$(cat pyproject.toml "$constraints" | cksum)
installed=
[ ! -f .venv/streamer-installed ] || installed=$(cat .venv/streamer-installed)

# Another Python was asked for by name: make .venv anew.
if [ -n "$asked" ] && [ -x .venv/bin/python ]; then
    version=$(version_of "$asked")
    if new_enough "$version" && [ "$version" != "$(version_of .venv/bin/python)" ]; then
        echo "streamer: making .venv anew for Python $version"
        rm -rf .venv
        installed=
    elif ! new_enough "$version"; then
        choose_python # says why not
    fi
fi

case $installed in
    "$extra $sum dev") exit 0 ;;
    "$extra $sum") [ -n "$dev" ] || exit 0 ;;
    "$extra "*dev) dev=dev ;; # what was there before stays
esac

if ! [ -x .venv/bin/python ]; then # also where the Python it was made with is gone
    choose_python
    "$python" -c 'import venv, ensurepip' 2>/dev/null ||
        fail "Python $version has no venv module; install it (Debian and Ubuntu: apt-get \
install python$version-venv) and make again."
    rm -rf .venv
    "$python" -m venv .venv || {
        rm -rf .venv
        fail "$python -m venv .venv failed; the lines above say why."
    }
    case $version in
        3.1[1-4]) ;;
        *) echo "streamer: Python $version is newer than any tried here; if the installation \
fails, use make PYTHON=python3.14" ;;
    esac
else
    new_enough "$(version_of .venv/bin/python)" ||
        fail ".venv was made with a Python older than 3.11; remove it (make clean) and make again."
    .venv/bin/python -m pip --version >/dev/null 2>&1 ||
        fail ".venv has no pip; remove it (make clean) and make again."
fi

case $extra,$dev in
    cpu,) size="about 150 MB to download" ;;
    cpu,*) size="about 300 MB to download" ;;
    *) size="about 1.7 GB to download, for the GPU; make EXTRA=cpu does without" ;;
esac
echo "streamer: installing into .venv with the extra '$extra${dev:+,dev}' ($size)"

pip() {
    .venv/bin/python -m pip --quiet --quiet --no-input --disable-pip-version-check "$@"
}
case $installed in
    "$extra "*) ;;
    *) # The CPU and GPU builds of ONNX Runtime are one folder: never lay one over the other.
        rm -f .venv/streamer-installed
        pip uninstall --yes onnxruntime onnxruntime-gpu 2>/dev/null || true ;;
esac
pip install -c "$constraints" -e ".[$extra${dev:+,dev}]" ||
    fail "the installation failed; the lines above say why, and make again goes on from here."
echo "$extra $sum${dev:+ dev}" >.venv/streamer-installed
