#!/bin/sh
# The tables of docs/conversion.md: what fewer key/value heads cost a trained language model, and what
# 5 % of its steps win back. bench/conversion.sh [--gpt2] FOLDER [FILE...] trains on the files' text
# (none: that of ./quickstart) in FOLDER, which must be new or hold the trained model of a run before.
# Some five minutes on two cores. With --gpt2 it is a GPT-2-like model of transformers, which
# build/rivals must have (bench/rivals/run installs it).
set -eu
root=$(dirname "$0")/..
program=$root/build/release/grouphead
kind=bytes
if [ "$1" = --gpt2 ]; then
  kind=gpt2
  shift
fi
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

# The model whose heads become fewer, trained; further arguments go to train.
train_first() {
  [ -d "$folder/mha" ] || "$program" train --quiet --text "$text" --out "$folder/mha" --seq 128 \
    --batch 16 --steps $steps "$@" >"$folder/mha.log"
}

# What a run says of its validation loss: before the first step, after the last.
losses() {
  sed -n 's/^validation loss \([0-9.]*\) nats per .*/\1/p' "$1" | tr '\n' ' '
}

# A row: name, source folder, bytes of cache.
row() {
  "$program" train --quiet --overwrite --init-from "$2" --text "$text" --out "$2-trained" \
    --seq 128 --batch 16 --lr $rate --steps $uptraining >"$2-trained.log"
  # shellcheck disable=SC2046  # two numbers
  set -- "$1" "$3" $(losses "$2-trained.log")
  printf '| %s | %s | %s | %s |\n' "$1" "$2" "$3" "$4"
}

rate=0.002
if [ $kind = gpt2 ]; then
  rate=0.001
  [ -d "$folder/new" ] || "$root/build/rivals/bin/python" "$root/bench/gpt2_like.py" "$text" "$folder/new"
  train_first --init-from "$folder/new" --lr $rate
else
  train_first --heads 8 --kv-heads 8
fi
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
