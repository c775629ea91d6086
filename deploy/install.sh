#!/bin/sh
# deploy/install.sh collector|processor DIRECTORY: installs linktrail from this tree into a new virtual environment, from the locks alone.
#
# The Dockerfile runs this, and so can a host without containers. What is installed is what requirements-*.lock names, with its hashes and
# as wheels only: nothing is resolved and no third party's code runs while installing. linktrail's own wheel is built by the locked build backend,
# and is the same to the byte for the same tree (SOURCE_DATE_EPOCH).
set -eu

target=$1
directory=$2
here=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
lock=$here/deploy/requirements-$target.lock
test -f "$lock" || { echo "install.sh: no such target: $target (collector or processor)" >&2; exit 2; }
test ! -e "$directory" || { echo "install.sh: $directory is there already" >&2; exit 2; }

: "${SOURCE_DATE_EPOCH:=1767225600}"
export SOURCE_DATE_EPOCH PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONHASHSEED=0
umask 022

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The tools live in an environment of their own; neither pip nor the build backend is in what is shipped.
python3 -m venv "$work/tools"
pip="$work/tools/bin/python -m pip"
$pip install --quiet --require-hashes --only-binary :all: --no-deps -r "$here/deploy/requirements-build.lock"
$pip wheel --quiet --no-build-isolation --no-deps --wheel-dir "$work/wheel" "$here"

python3 -m venv --without-pip "$directory"
$pip --python "$directory/bin/python" install --quiet --require-hashes --only-binary :all: --no-deps -r "$lock"
$pip --python "$directory/bin/python" install --quiet --no-index --no-deps "$work"/wheel/linktrail-*.whl
$pip --python "$directory/bin/python" check >/dev/null

# What pyarrow brings for compiling against it and testing it.
for part in include tests src; do rm -rf "$directory"/lib/python3*/site-packages/pyarrow/$part; done
if [ "$target" = collector ]; then
    # A collector writes Arrow IPC to its spool: no remote calls, no object stores.
    for part in flight s3; do rm -f "$directory"/lib/python3*/site-packages/pyarrow/libarrow_*"$part"*; done
fi
