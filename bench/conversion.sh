#!/bin/sh
# The table of docs/conversion.md: what fewer key/value heads cost a trained language model, and what
# 5 % of its steps win back. bench/conversion.sh FOLDER [FILE...] trains on the files' text (none:
# that of ./quickstart) in FOLDER, which must be new or hold the trained model of a run before. Some
# five minutes on two cores.
set -eu
program=$(dirname "$0")/../build/release/grouphead
folder=$1
shift
mkdir -p "$folder"
if [ $# -eq 0 ]; then
  headers=$(echo '#include <vector>' | c++ -E -x c++ - | sed -n 's|^# 1 "\(.*\)/vector".*|\1|p' | head -n 1)
  # shellcheck disable=SC2046  # a list of files
  set -- $(find "$headers" -maxdepth 3 -type f \( -name '*.h' -o -name '*.hpp' -o -name '*.tcc' -o ! -name '*.*' \) | LC_ALL=C sort)
fi
steps=400
uptraining=20
text=$folder/text
cat "$@" >"$text"

# What a run says of its validation loss: before the first step, after the last.
losses() {
  sed -n 's/^validation loss \([0-9.]*\) nats per byte.*/\1/p' "$1" | tr '\n' ' '
}

# A row: name, source folder, bytes of cache.
row() {
  "$program" train --quiet --overwrite --init-from "$2" --text "$text" --out "$2-trained" \
    --steps $uptraining >"$2-trained.log"
  # shellcheck disable=SC2046  # two numbers
  set -- "$1" "$3" $(losses "$2-trained.log")
  printf '| %s | %s | %s | %s |\n' "$1" "$2" "$3" "$4"
}

[ -d "$folder/mha" ] || "$program" train --quiet --text "$text" --out "$folder/mha" --heads 8 \
  --kv-heads 8 --seq 128 --steps $steps >"$folder/mha.log"
echo "8 key/value heads, $steps steps: validation loss $(losses "$folder/mha.log")"
echo
echo "| key/value heads, pooling | cache bytes per token | loss converted | after $uptraining steps |"
echo "|---|---|---|---|"
row "8, not converted" "$folder/mha" 8192
for heads in 4 2 1; do
  for pool in mean first random; do
    target=$folder/$pool-$heads
    "$program" convert --overwrite --kv-heads $heads --pool $pool --seed 1 "$folder/mha" "$target" \
      --inputs "$text" >"$target.report"
    row "$heads, $pool" "$target" $((heads * 1024))
  done
done
