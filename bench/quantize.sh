#!/usr/bin/env bash
# Time of W8A16 quantization against copying the input, and its peak memory, on a checkpoint
# of random weights in TinyLlama-1.1B's shape. Fails above 1.5 times the copy or 300 MiB.
#
#   bench/quantize.sh [-b BUILD] [-t TEMP_DIR] [-r RUNS] [-- shape options of make_checkpoint]
#
# Needs 8 GB free in TEMP_DIR (default: the build directory, so that both sides write to the
# same file system). The input is read once beforehand, so that it comes from the page cache
# for both. The copy counts with its sync, as the program syncs what it writes; the ratio to a
# copy that is left in the page cache is printed too. Best of RUNS each.
set -euo pipefail
cd "$(dirname "$0")/.."

build=build/release temp='' runs=3 max_ratio=1.5 max_mib=300
while getopts b:t:r:h option; do
    case $option in
        b) build=$OPTARG ;;
        t) temp=$OPTARG ;;
        r) runs=$OPTARG ;;
        *) sed -n '2,10s/^# \{0,1\}//p' "$0"; exit 2 ;;
    esac
done
shift $((OPTIND - 1))
for program in "$build/gstick" "$build/bench/make_checkpoint"; do
    [ -x "$program" ] || { echo "quantize.sh: no $program: build first" >&2; exit 2; }
done

work=$(mktemp -d "${temp:-$build}/bench-quantize-XXXXXX")
trap 'rm -rf "$work"' EXIT

now() { date +%s.%N; }
least() { sort -g | head -1; }
number() { sed -n "s/.*\"$1\": *\([0-9.e+]*\).*/\1/p" "$2" | head -1; }

copy_once() {
    local started copied
    rm -rf "$work/copy"
    mkdir "$work/copy"
    sync "$work"
    started=$(now)
    cp "$work"/model/* "$work/copy/"
    copied=$(now)
    sync "$work"/copy/*
    echo "$(now) $started" | awk '{ print $1 - $2 }' >> "$work/copies"
    echo "$copied $started" | awk '{ print $1 - $2 }' >> "$work/unsynced"
    rm -rf "$work/copy"
}

quantize_once() {
    local started ended
    rm -rf "$work/bundle"
    sync "$work"
    started=$(now)
    "$build/gstick" quantize "$work/model" --scheme w8a16 -o "$work/bundle" --json > "$work/report.json"
    ended=$(now)
    echo "$ended $started" | awk '{ print $1 - $2 }' >> "$work/times"
    number peak_rss_bytes "$work/report.json" >> "$work/peaks"
}

"$build/bench/make_checkpoint" "$work/model" "$@"
cat "$work"/model/* > /dev/null
for ((i = 0; i < runs; i++)); do
    # in turn, so that a slow moment of the machine hits both
    copy_once
    quantize_once
done

copy=$(least < "$work/copies") unsynced=$(least < "$work/unsynced")
time=$(least < "$work/times")
peak=$(sort -g "$work/peaks" | tail -1)
echo "copy      $copy s (all: $(tr '\n' ' ' < "$work/copies"))"
echo "quantize  $time s (all: $(tr '\n' ' ' < "$work/times"))"
echo "copy      $unsynced s without the sync (ratio $(echo "$time $unsynced" | awk '{ printf "%.3f", $1 / $2 }'))"
awk -v c="$copy" -v t="$time" -v p="$peak" -v mr="$max_ratio" -v mm="$max_mib" 'BEGIN {
    mib = p / 1048576
    printf "ratio     %.3f (at most %s)\npeak      %.1f MiB (at most %s)\n", t / c, mr, mib, mm
    exit !(t / c <= mr && mib > 0 && mib <= mm)
}'
