#!/bin/sh
# fuzz/run.sh BUILD SECONDS RANDOM: runs each target of a build that long, two at a time, and says how
# many inputs it tried. RANDOM is the seed of libFuzzer's changes; 0: another one each time. First
# inputs come from tests/golden; what is found interesting is kept in BUILD/corpus.
# Ends with 1 on a finding, whose input is then in BUILD/findings.
set -eu
cd "$(dirname "$0")/.."
build=$1
seconds=$2
random=$3

# The seeds of a target: files of these names, not too long to be changed well.
seeds() {
  target=$1
  shift
  [ -x "$build/fuzz/${target}_fuzz" ] || return 0
  mkdir -p "$build/seeds/$target" "$build/corpus/$target"
  for pattern in "$@"; do
    find tests/golden -name "$pattern" -size -48k | LC_ALL=C sort | while read -r file; do
      cp "$file" "$build/seeds/$target/$(echo "$file" | tr / _)"
    done
  done
  echo "$target"
}

# Those of the shards' index: each shard of a case, with an index of one of its tensors.
index_seeds() {
  [ "$(seeds hub_index)" ] || return 0
  for shard in tests/golden/hf/llama_bf16_shards/*.safetensors; do
    for tensor in model.norm.weight lm_head.weight model.embed_tokens.weight; do
      grep -q "\"$tensor\"" "$shard" || continue
      { printf '{"weight_map": {"%s": "s.safetensors"}}\0' $tensor; cat "$shard"; } \
        >"$build/seeds/hub_index/$tensor"
    done
  done
  echo hub_index
}

run_one() {
  target=$1
  log=$build/$target.log
  code=0
  "$build/fuzz/${target}_fuzz" -seed="$random" -max_total_time="$seconds" -timeout=10 \
    -rss_limit_mb=2048 -max_len=65536 -artifact_prefix="$build/findings/$target-" -print_final_stats=1 \
    "$build/corpus/$target" "$build/seeds/$target" >"$log" 2>&1 || code=$?
  if [ $code != 0 ]; then
    tail -n 60 "$log"
    echo "== fuzz: $target: a finding"
    return 1
  fi
  rate=$(sed -n 's/^stat::average_exec_per_sec: *//p' "$log")
  tried=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  echo "== fuzz: $target: $tried inputs, $rate in a second"
}

mkdir -p "$build/findings"
if [ "${4:-}" ]; then
  run_one "$4"
  exit
fi
{
  seeds safetensors '*.safetensors'
  seeds npy '*.npy'
  seeds config '*.json'
  seeds zip '*.npz' '*.keras'
  seeds hdf5 '*.h5'
  seeds keras '*.keras'
  seeds tokenizer 'tokenizer.json'
  seeds hub_config 'config.json'
  index_seeds
  seeds kv_cache
} | xargs -n 1 -P 2 "$0" "$build" "$seconds" "$random" || exit 1
