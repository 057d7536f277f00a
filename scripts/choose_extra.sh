#!/bin/sh
# Prints the extra of pyproject.toml that suits this machine: cpu, gpu or gpu-cu12.
#
# gpu is built for CUDA 13, which needs an NVIDIA driver of 580 or later; gpu-cu12 takes older
# ones. Two folders may be given, for tests: where the kernel module says its version, and /dev.
set -u
proc=${1:-/proc/driver/nvidia}
dev=${2:-/dev}

if [ "$(uname -m)" != x86_64 ]; then
    echo cpu
    exit
fi

driver=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader 2>/dev/null) || driver=
if [ -z "$driver" ]; then
    # A container sees the host's /proc; without the device it cannot use the GPU all the same.
    if [ ! -e "$proc" ] || [ ! -e "$dev/nvidiactl" ]; then
        echo cpu
        exit
    fi
    driver=$(sed -n 's/^NVRM version:[^0-9]*x86_64[^0-9]* \([0-9][0-9]*\)\..*/\1/p' \
        "$proc/version" 2>/dev/null)
fi
major=$(printf '%s\n' "$driver" | sed -n '1s/^\([0-9][0-9]*\).*/\1/p')
if [ -n "$major" ] && [ "$major" -lt 580 ]; then
    echo gpu-cu12
else
    echo gpu
fi
