#!/usr/bin/env bash
# Time of `gstick verify` against sha256sum of the same files in the same run, and its peak memory, on a W8A16 bundle of
# 2.2 GB (random weights). Fails above 1.5 times sha256sum or 200 MiB, or if verify finds something.
#
#   bench/verify.sh [-b BUILD] [-t TEMP_DIR] [-r RUNS] [-s] [-f FORMAT] [-- shape options of make_checkpoint]
#
# -s makes static W8A8 instead, from a few random tokens; -f another format than ascend. Needs 8 GB free in TEMP_DIR (default: the build directory). The
# bundle is read once beforehand, so that it comes from the page cache for both. Best of RUNS each.
set -euo pipefail
cd "$(dirname "$0")/.."

build=build/release temp='' format=ascend runs=3 max_ratio=1.5 max_mib=200 scheme='--scheme w8a16'
while getopts b:t:r:sf:h option; do
    case $option in
        b) build=$OPTARG ;;
        t) temp=$OPTARG ;;
        r) runs=$OPTARG ;;
        s) scheme='static' ;;
        f) format=$OPTARG ;;
        *) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 2 ;;
    esac
done
shift $((OPTIND - 1))
for program in "$build/gstick" "$build/bench/make_checkpoint"; do
    [ -x "$program" ] || { echo "verify.sh: no $program: build first" >&2; exit 2; }
done
[ $# -gt 0 ] || set -- --layers 46

work=$(mktemp -d "${temp:-$build}/bench-verify-XXXXXX")
trap 'rm -rf "$work"' EXIT

now() { date +%s.%N; }
least() { sort -g | head -1; }
number() { sed -n "s/.*\"$1\": *\([0-9.e+]*\).*/\1/p" "$2" | head -1; }
since() { echo "$(now) $1" | awk '{ print $1 - $2 }'; }

hash_once() {
    local started
    started=$(now)
    sha256sum "$work"/bundle/* > /dev/null
    since "$started" >> "$work/hashes"
}

verify_once() {
    local started
    started=$(now)
    "$build/gstick" verify "$work/bundle" --json > "$work/report.json"
    since "$started" >> "$work/times"
    number peak_rss_bytes "$work/report.json" >> "$work/peaks"
}

"$build/bench/make_checkpoint" "$work/model" "$@"
if [ "$scheme" = static ]; then
    head -c 65536 /dev/zero > "$work/ids.i32"
    scheme="--scheme w8a8 --alpha none --calib $work/ids.i32 --samples 1 --seq 32"
fi
# shellcheck disable=SC2086
"$build/gstick" quantize "$work/model" $scheme --format "$format" -o "$work/bundle" -q > /dev/null
rm -r "$work/model"
cat "$work"/bundle/* > /dev/null
for ((i = 0; i < runs; i++)); do
    # in turn, so that a slow moment of the machine hits both
    hash_once
    verify_once
done

hash=$(least < "$work/hashes") time=$(least < "$work/times")
peak=$(sort -g "$work/peaks" | tail -1)
echo "format    $format"
echo "bundle    $(du -sb "$work/bundle" | cut -f1) bytes"
echo "sha256sum $hash s (all: $(tr '\n' ' ' < "$work/hashes"))"
echo "verify    $time s (all: $(tr '\n' ' ' < "$work/times"))"
awk -v c="$hash" -v t="$time" -v p="$peak" -v mr="$max_ratio" -v mm="$max_mib" 'BEGIN {
    mib = p / 1048576
    printf "ratio     %.3f (at most %s)\npeak      %.1f MiB (at most %s)\n", t / c, mr, mib, mm
    exit !(t / c <= mr && mib > 0 && mib <= mm)
}'
