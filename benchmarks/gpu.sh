#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Everything that only an NVIDIA GPU can show, in under four minutes: the tests for GPUs, and the speed of every engine.
#
#     benchmarks/gpu.sh [FOLDER] [--device cpu]
#
# FOLDER (default: out/gpu) gets results.jsonl, one line for each figure as it comes, tests.txt and log.txt, and at the
# end, also when the script is killed, gpu.json with all of it. Each step has its own time limit; what no time is left
# for is named in gpu.json. PYTHON is the interpreter (default: the one of tools/run), LIMIT_S the time for everything.
# `--device cpu` tries the script itself, on small images.
#
# Exit status: 0 every step ran and passed, 1 one did not, 3 there is no GPU.
set -u
cd "$(dirname "$0")/.." || exit 1

folder=out/gpu device=cuda
while [ $# -gt 0 ]; do
    case $1 in
        --device) device=${2:-}; shift 2 || exit 1 ;;
        -*) echo "gpu.sh: unknown option $1" >&2; exit 1 ;;
        *) folder=$1; shift ;;
    esac
done
limit=${LIMIT_S:-230}
if [ -n "${PYTHON:-}" ]; then python=("$PYTHON"); else python=(tools/run python); fi

if [ "$device" != cpu ] && ! "${python[@]}" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' 2>/dev/null; then
    echo "gpu.sh: torch sees no NVIDIA GPU here, so nothing was run (--device cpu tries the script without one)" >&2
    exit 3
fi
mkdir -p "$folder" || exit 1
results=$folder/results.jsonl
: > "$results"; : > "$folder/log.txt"; rm -f "$folder/tests.txt" "$folder/gpu.json"

step=0
status=0
finish() {
    trap - EXIT
    [ "$step" -ne 0 ] && kill -- -"$step" 2>/dev/null
    "${python[@]}" -m benchmarks.gpu_steps summary "$folder" || status=1
    exit "$status"
}
trap finish EXIT
trap 'status=1; exit 1' INT TERM HUP

# run SECONDS NAME COMMAND...: one step, in a group of its own; its lines are appended to the results.
run() {
    local most=$1 name=$2 left=$((limit - SECONDS)) start=$SECONDS code out=$results
    shift 2
    if [ "$left" -lt 5 ]; then
        echo "{\"step\": \"$name\", \"status\": \"no time left\"}" >> "$results"
        status=1
        return
    fi
    [ "$most" -gt "$left" ] && most=$left
    [ "$name" = tests ] && out=$folder/tests.txt
    setsid timeout -k 5 "$most" "$@" >> "$out" 2>> "$folder/log.txt" &
    step=$!
    wait "$step"
    code=$?
    step=0
    echo "{\"step\": \"$name\", \"status\": $code, \"seconds\": $((SECONDS - start)), \"limit_s\": $most}" >> "$results"
    [ "$code" -eq 0 ] || status=1
}

measure=("${python[@]}" -m benchmarks.gpu_steps --device "$device" --folder "$folder")
run 30 facts "${measure[@]}" facts
# First without cuDNN's search, which can take longer than everything else.
run 40 torch "${measure[@]}" engine torch
run 30 torch-fp16 "${measure[@]}" engine torch-fp16
# The slowest last: whatever is cut off then is little. -v writes each test's result when it is known.
run 80 tests "${python[@]}" -m pytest -v -p no:cacheprovider --tb=short -m cuda test/engine/test_cuda.py
run 40 frames "${measure[@]}" frames
run 60 export "${measure[@]}" export
for engine in onnxruntime-cuda-fp16 tensorrt-fp16 onnxruntime-cuda tensorrt onnxruntime-tensorrt-fp16 onnxruntime-tensorrt; do
    run 60 "$engine" "${measure[@]}" engine "$engine"
done
run 40 torch-fp16-search "${measure[@]}" engine torch-fp16 --search
run 40 official "${measure[@]}" official
