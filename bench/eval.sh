#!/usr/bin/env bash
# Evaluation speed of a SmolLM2-135M-shaped model (or any GGUF/HF path with that shape) against
# the GEMM rate that oneDNN reaches by itself on the same shapes, measured in the same run.
# Fails when bf16 is slower than f32, or below 60 % of oneDNN's bf16 rate.
#
#   bench/eval.sh [-b BUILD] [-m MODEL] [-w WINDOWS] [-r RUNS]
#
# The floating-point operations of a window of T tokens: 2 T times the parameters of the linears and
# of the head, plus 2 T^2 heads*head_dim a layer for causal attention. Best of RUNS each.
set -euo pipefail
cd "$(dirname "$0")/.."

build=build/release model=${XDG_CACHE_HOME:-$HOME/.cache}/gstick/SmolLM2-135M-Instruct.Q4_1.gguf windows=4 runs=3
while getopts b:m:w:r:h option; do
    case $option in
        b) build=$OPTARG ;;
        m) model=$OPTARG ;;
        w) windows=$OPTARG ;;
        r) runs=$OPTARG ;;
        *) sed -n '2,10s/^# \{0,1\}//p' "$0"; exit 2 ;;
    esac
done
[ -e "$model" ] || { echo "eval.sh: no $model: scripts/quickstart fetches it, or give one with -m" >&2; exit 2; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
window=2048

# ids of no meaning: the work does not depend on them
LC_ALL=C awk -v n=$((windows * window)) 'BEGIN {
    for (i = 0; i < n; i++) printf "%c%c%c%c", (i * 7919) % 128, (i * 104729) % 96, 0, 0 }' > "$work/ids.i32"

rate() { # DTYPE: tokens a second
    "$build/gstick" eval "$model" --tokens "$work/ids.i32" --window $window --dtype "$1" --json |
        sed 's/.*"tokens_per_second": \([0-9.e+]*\).*/\1/'
}

for ((i = 0; i < runs; i++)); do
    for dtype in f32 bf16; do rate $dtype >> "$work/$dtype"; done
    "$build/bench/bench_gemm" --only gemm --rows $window >> "$work/gemm"
done
best() { sort -g "$work/$1" | tail -1; }

awk -v f32="$(best f32)" -v bf16="$(best bf16)" -v t=$window '
    # "bf16  2048 x 576 x 576  337.5 GFLOP/s  oneDNN  153.6 ..."
    $3 == "x" && $5 == "x" {
        shape = $1 " " $4 " " $6
        for (i = 7; i < NF; i++) if ($i == "oneDNN" && $(i + 1) > own[shape]) own[shape] = $(i + 1)
    }
    function layer_time(d,    s) {
        s = 2 * 576 * 576 / own[d " 576 576"] + 2 * 192 * 576 / own[d " 192 576"]
        return 2 * t * (s + 2 * 1536 * 576 / own[d " 1536 576"] + 576 * 1536 / own[d " 576 1536"])
    }
    function report(d, tokens,    linear, flops, onednn, ours) {
        linear = 2 * t * (30 * (2 * 576 * 576 + 2 * 192 * 576 + 3 * 1536 * 576) + 49152 * 576)
        flops = linear + 30 * 2 * t * t * 576
        onednn = linear / (30 * layer_time(d) + 2 * t * 49152 * 576 / own[d " 49152 576"])
        ours = flops / (t / tokens) / 1e9
        printf "%-5s %8.0f tokens/s  %7.1f GFLOP/s of %7.1f (oneDNN on the same shapes): %.0f %%\n", d, tokens, ours, onednn, 100 * ours / onednn
        return ours / onednn
    }
    END {
        report("f32", f32)
        share = report("bf16", bf16)
        printf "bf16 is %.2f times as fast as f32\n", bf16 / f32
        exit !(share >= 0.6 && bf16 >= f32)
    }' "$work/gemm"
