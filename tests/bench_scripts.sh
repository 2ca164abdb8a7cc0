#!/bin/sh
# The tables of bench/ from lines as they are measured: bench_scripts.sh SOURCE BINARY
set -eu
source=$1
binary=$2
lines=$(mktemp)
trap 'rm -f "$lines"' EXIT

expect() {
  printf '%s\n' "$output" | grep -qF -- "$1" || {
    printf 'expected a line with: %s\ngot:\n%s\n' "$1" "$output" >&2
    exit 1
  }
}

"$binary/grouphead" bench --json --rounds 7 --min-time 0.001 'gemm m8 n8 k8 thr=1' >"$lines"
output=$("$source/bench/table.py" <"$lines")
expect '| `gemm f32 m8 n8 k8` | '
expect ' ms ±'

cat >"$lines" <<'END'
{"problem": "gemm f32 m64 n8 k8", "threads": 1, "library": "grouphead", "way": "", "median_ms": 2.0, "mad_ms": 0.02, "rounds": 7, "foreign_cpu": 0.0, "fraction": 0.5, "version": "0.1.0", "date": "2026-01-01", "cpu": "some"}
{"problem": "gemm f32 m64 n8 k8", "threads": 1, "library": "torch", "way": "mm", "median_ms": 4.0, "mad_ms": 0.8, "rounds": 7, "foreign_cpu": 0.3, "version": "2.0", "date": "2026-01-01", "cpu": "some"}
{"problem": "gemm f32 m64 n8 k8", "threads": 1, "library": "torch", "way": "slow", "median_ms": 9.0, "mad_ms": 0.8, "rounds": 7, "foreign_cpu": 0.0, "version": "2.0", "date": "2026-01-01", "cpu": "some"}
{"problem": "gemm f32 m64 n8 k8", "threads": 1, "library": "jax", "way": null, "why": "no", "date": "2026-01-01", "cpu": "some"}
END
output=$("$source/bench/rivals/table.py" --lines "$lines")
expect '| `gemm f32 m64 n8 k8` | 2 ms ±1%, 50% | 4 ms ±20%*~, 2.00x |'
expect 'Versions: grouphead 0.1.0, PyTorch 2.0.'
expect 'Fastest ways: PyTorch: mm.'

list=$(mktemp)
trap 'rm -f "$lines" "$list"' EXIT
echo 'gemm f32 m64 n8 k8 thr=2' >"$list"
output=$("$source/bench/rivals/table.py" --lines "$lines" --problems "$list")
expect '| `gemm f32 m64 n8 k8` | 2 ms'
echo 'gemm f32 m65 n8 k8' >"$list"
output=$("$source/bench/rivals/table.py" --lines "$lines" --problems "$list" 2>&1 || true)
expect 'table.py: no lines'

# The gate, on two programs: one that is as fast, one that takes twice as long.
folder=$(mktemp -d)
trap 'rm -rf "$lines" "$list" "$folder"' EXIT
for milliseconds in 1 2; do
  printf '#!/bin/sh\necho "{\\"median_ms\\": %s, \\"foreign_cpu\\": 0}"\n' "$milliseconds" >"$folder/$milliseconds"
  chmod +x "$folder/$milliseconds"
done
output=$("$source/bench/compare" "$folder/2" "$folder/1" --gate 2>&1)
expect 'gate: 0 of 10 problems are slower'
if output=$("$source/bench/compare" "$folder/1" "$folder/2" --gate 2>&1); then exit 1; fi
expect 'gate: 10 of 10 problems are slower'
expect 'slower: gemm f32 m1 k1024 n4096 weights=f32 thr=2: 1 ms ±0% -> 2 ms ±0%: 0.500 x as fast'

for script in compare growth rivals/run rivals/hub rivals/keras rivals/table.py; do
  output=$("$source/bench/$script" --help)
  expect 'usage:'
done
echo passed
