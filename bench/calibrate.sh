#!/usr/bin/env bash
# Peak memory of `gstick calibrate`, and its time against the bf16 forward pass of the same tokens,
# on random bf16 weights in Llama-2-7B's shape, 32 x 512 random token ids.
#
#   bench/calibrate.sh [-b BUILD] [-t TEMP_DIR] [-l LAYERS] [-n SEQUENCES] [-r RUNS] [-M MAX_MIB] [-R MAX_RATIO]
#
# Memory is what the program itself holds: the largest sum of RssAnon and RssShmem, sampled 20 times a second;
# mapped pages of the checkpoint (RssFile) are not counted, the kernel may take them back at any time. VmHWM, which
# counts them, is printed too.
# Time: `gstick calibrate` runs the embedding and the blocks; `gstick eval --dtype bf16 --window 512` runs these
# and the head. So each is run on LAYERS (default 4) blocks and on one, and what is compared is the difference: the time of
# LAYERS - 1 blocks, without head, tokenizer or start. With -l 1 there is no such difference, and only the
# totals are printed. Best of RUNS (default 3) each. Fails above MAX_MIB or MAX_RATIO where they are given.
# Needs 400 MB a layer and 1 GB twice in TEMP_DIR (default: the build directory).
set -euo pipefail
cd "$(dirname "$0")/.."

build=build/release temp='' layers=4 sequences=32 runs=3 max_mib='' max_ratio=''
while getopts b:t:l:n:r:M:R:h option; do
    case $option in
        b) build=$OPTARG ;;
        t) temp=$OPTARG ;;
        l) layers=$OPTARG ;;
        n) sequences=$OPTARG ;;
        r) runs=$OPTARG ;;
        M) max_mib=$OPTARG ;;
        R) max_ratio=$OPTARG ;;
        *) sed -n '2,17s/^# \{0,1\}//p' "$0"; exit 2 ;;
    esac
done
for program in "$build/gstick" "$build/bench/make_checkpoint"; do
    [ -x "$program" ] || { echo "calibrate.sh: no $program: build first" >&2; exit 2; }
done

work=$(mktemp -d "${temp:-$build}/bench-calibrate-XXXXXX")
trap 'rm -rf "$work"' EXIT
length=512 vocab=32000

# Minstd; the low bytes of an id are not uniform, which does not matter here
LC_ALL=C awk -v n=$((sequences * length)) -v vocab=$vocab 'BEGIN {
    x = 1
    for (i = 0; i < n; i++) {
        x = (x * 16807) % 2147483647
        id = int(x / 65536) % vocab
        low = id % 256; high = int(id / 256)
        printf "%c%c%c%c", low, high, 0, 0
    } }' > "$work/ids.i32"

number() { sed -n "s/.*\"$1\": *\([0-9.e+-]*\).*/\1/p" "$2" | head -1; }
least() { sort -g "$1" | head -1; }

# MODEL_LAYERS: a model of so many blocks
make_model() {
    "$build/bench/make_checkpoint" "$work/model-$1" --hidden 4096 --intermediate 11008 --layers "$1" --heads 32 --kv-heads 32 --vocab $vocab
    cat "$work/model-$1"/* > /dev/null # into the page cache, for both
}

# Largest RssAnon + RssShmem (kB) of a process, and its VmHWM, until it ends.
watch_memory() {
    local pid=$1 now peak=0 total=0
    while kill -0 "$pid" 2> /dev/null; do
        read -r now total < <(awk '/^Rss(Anon|Shmem):/ { s += $2 } /^VmHWM:/ { t = $2 } END { print s + 0, t + 0 }' \
            "/proc/$pid/status" 2> /dev/null || echo "0 $total") || true
        [ "${now:-0}" -gt "$peak" ] && peak=$now
        [ "${total:-0}" -gt "$(cat "$work/hwm" 2> /dev/null || echo 0)" ] && echo "$total" > "$work/hwm"
        sleep 0.05
    done
    echo "$peak" >> "$work/anon"
}

calibrate_once() { # LAYERS
    rm -rf "$work/stats"
    "$build/gstick" calibrate "$work/model-$1" --calib "$work/ids.i32" --samples "$sequences" --seq $length \
        -o "$work/stats" --json -q > "$work/report.json" &
    local pid=$!
    watch_memory $pid
    wait $pid
    number seconds "$work/report.json" >> "$work/calibrate-$1"
}

forward_once() { # LAYERS
    "$build/gstick" eval "$work/model-$1" --tokens "$work/ids.i32" --window $length --dtype bf16 --json -q > "$work/report.json"
    number seconds "$work/report.json" >> "$work/forward-$1"
}

depths=("$layers")
[ "$layers" -gt 1 ] && depths=(1 "$layers")
for depth in "${depths[@]}"; do make_model "$depth"; done
for ((i = 0; i < runs; i++)); do
    # in turn, so that a slow moment of the machine hits all
    for depth in "${depths[@]}"; do
        calibrate_once "$depth"
        forward_once "$depth"
    done
done

for depth in "${depths[@]}"; do
    echo "$depth blocks   calibrate $(least "$work/calibrate-$depth") s, bf16 forward with head $(least "$work/forward-$depth") s"
done
awk -v anon="$(sort -g "$work/anon" | tail -1)" -v hwm="$(cat "$work/hwm")" -v l="$layers" -v n=$((sequences * length)) \
    -v cl="$(least "$work/calibrate-$layers")" -v fl="$(least "$work/forward-$layers")" \
    -v c1="$(least "$work/calibrate-1" 2> /dev/null)" -v f1="$(least "$work/forward-1" 2> /dev/null)" \
    -v mm="$max_mib" -v mr="$max_ratio" 'BEGIN {
    mib = anon / 1024
    printf "peak       %.0f MiB of its own%s; %.0f MiB with mapped pages of the checkpoint\n", mib, mm ? " (at most " mm ")" : "", hwm / 1024
    bad = mm && mib > mm
    if (l > 1) {
        c = (cl - c1) / (l - 1); f = (fl - f1) / (l - 1)
        printf "a block    calibrate %.2f s, forward %.2f s: ratio %.3f%s, %.0f tokens/s\n", c, f, c / f, mr ? " (at most " mr ")" : "", n / c
        bad = bad || (mr && c / f > mr)
    }
    exit bad
}'
