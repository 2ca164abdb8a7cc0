#!/bin/bash
# `mpirun grouphead train`: train.sh PROGRAM WORKDIR WHAT [TIMES]
#
#   same       the files of 1, 2, 3 and 4 processes, and those of one without mpirun, byte for byte
#   resumed    a run of 4 goes on with 1 and the other way round
#   grid       the losses of processes that share out sequences, tensors and batches, within 1e-5;
#              those of a run that goes on with others, within 1e-3
#   hub        the same of a model of Hugging Face, and files that a run of one goes on with
#   refused    other options or other files in one process; the others say which
#   faults     a disk that is full in one process; signals
#   killed     a process killed at a random time, TIMES times (5): the checkpoint can be read, and no
#              process is left behind. SEED=N repeats the times
set -eu
program=$1 work=$2 what=$3 times=${4:-5}
golden=$(cd "$(dirname "$0")/../golden/hf" && pwd)
rm -rf "$work"
mkdir -p "$work"
cd "$work"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_btl_vader_single_copy_mechanism=none
# A job of its own group, so that what it leaves behind can be found.
seq 1 4000 | awk '{print "line " $1 ": " $1 * $1 " is its square"}' >text
options="--text text --hidden 32 --layers 2 --heads 4 --kv-heads 2 --seq 32 --batch 16 --dropout 0.1
         --warmup 4 --lr 0.005 --threads 1 --quiet"

fail() {
  echo "$*" >&2
  exit 1
}
same_files() {
  for file in state.safetensors history.csv model.safetensors config.json; do
    cmp "$1/$file" "$2/$file" || fail "$file: $1 and $2 differ"
  done
}
# expect CODE TEXT COMMAND...: its exit code, and what its stderr holds
expect() {
  code=$1 text=$2
  shift 2
  got=0
  "$@" >out 2>err || got=$?
  [ "$got" = "$code" ] || fail "expected exit code $code, got $got of $*: $(cat err)"
  grep -qF -- "$text" err || fail "expected '$text' of $*, got $(cat err)"
}

same() {
  "$program" train $options --steps 50 --batch-blocks 8 --out alone >alone.txt
  for n in 1 2 3 4; do
    mpirun -n $n "$program" train $options --steps 50 --out of_$n >of_$n.txt
    same_files of_$n alone
    cmp of_$n.txt alone.txt
  done
}

resumed() {
  "$program" train $options --steps 12 --batch-blocks 8 --out whole >/dev/null
  mpirun -n 4 "$program" train $options --steps 5 --out four >/dev/null
  "$program" train --resume --allow-different --steps 12 --out four --quiet --threads 1 >/dev/null
  "$program" train $options --steps 5 --batch-blocks 8 --out one >/dev/null
  mpirun -n 4 "$program" train --resume --allow-different --steps 12 --out one --quiet --threads 1 >/dev/null
  # The schedules of 5 and of 12 steps differ, so two runs that were cut alike are compared.
  same_files one four
  # Stopped by a signal, a run has the schedule of all its steps.
  stopped_at 1 $options --steps 400 --batch-blocks 8 --out stopped
  mpirun -n 3 "$program" train --resume --out stopped --quiet --threads 1 >/dev/null
  "$program" train $options --steps 400 --batch-blocks 8 --out all >/dev/null
  same_files stopped all
}

# stopped_at N ARGUMENTS...: a run by N processes, one of which gets a signal on the way
stopped_at() {
  n=$1
  shift
  mpirun -n "$n" "$program" train "$@" >out 2>err &
  job=$!
  while ! [ -e "${*: -1}/state.safetensors" ]; do sleep 0.05; done
  sleep 0.2
  pkill -TERM -P $job -n
  got=0
  wait $job || got=$?
  [ "$got" = 143 ] || fail "expected exit code 143, got $got: $(cat err)"
  grep -q "stopped and saved after step" err || fail "no word of the stop: $(cat err)"
}

# near A B STEPS BOUND: every loss of two runs, of training and validation, within BOUND of itself
near() {
  paste -d, "$1/history.csv" "$2/history.csv" | awk -F, -v rows=$(($3 + 1)) -v bound="$4" '
    NR == 1 { for (i = 1; i <= NF / 2; ++i) if ($i ~ /loss/) { columns[i] = NF / 2 + i; ++found }
              next }
    { for (i in columns) { a = $i; b = $columns[i]
        if ((a == "") != (b == "") || a - b > bound * a || b - a > bound * a) exit bad = 1 } }
    END { exit bad || NR != rows || found != 2 }' || fail "the losses of $1 and $2 differ"
}

grid() {
  plain="$options --dropout 0 --seq 48 --steps 50"
  "$program" train $plain --out alone >/dev/null
  for grid in "2 --sp 2" "3 --sp 3" "4 --sp 4" "4 --dp 2 --sp 2" "2 --tp 2" "4 --dp 2 --tp 2" \
    "4 --sp 2 --tp 2"; do
    set -- $grid
    n=$1
    shift
    mpirun -n $n "$program" train $plain "$@" --out "by_$n$*" >/dev/null
    near "by_$n$*" alone 50 1e-5
  done
  # With dropout, and a trace that shows keys on their way.
  drop="$plain --dropout 0.1 --steps 20 --batch-blocks 2"
  "$program" train $drop --out dropped >/dev/null
  mpirun -n 2 "$program" train $drop --sp 2 --trace trace --out by_two >/dev/null
  near by_two dropped 20 1e-5
  grep -q "keys of process" trace || fail "no keys in the trace: $(head trace)"
  # A checkpoint knows nothing of the processes: from four to one and the other way round, as if
  # never stopped.
  "$program" train $plain --steps 400 --batch-blocks 1 --out whole >/dev/null
  stopped_at 4 $plain --sp 2 --tp 2 --steps 400 --batch-blocks 1 --out four
  "$program" train --resume --quiet --threads 1 --out four >/dev/null
  near four whole 400 1e-3
  stopped_at 1 $plain --steps 400 --batch-blocks 1 --out one
  mpirun -n 2 "$program" train --resume --tp 2 --quiet --threads 1 --out one >/dev/null
  near one whole 400 1e-3
}

hub() {
  mkdir llama
  cp "$golden/llama/config.json" "$golden/llama/model.safetensors" llama
  # Each letter is a token, and all else the first one.
  vocab=$(awk 'BEGIN { for (i = 0; i < 26; ++i) printf ", \"%c\": %d", 97 + i, i + 1 }')
  cat >llama/tokenizer.json <<END
{"version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
 "pre_tokenizer": null, "post_processor": null, "decoder": {"type": "Fuse"}, "model": {"type": "BPE",
 "dropout": null, "unk_token": "?", "continuing_subword_prefix": null, "end_of_word_suffix": null,
 "fuse_unk": false, "byte_fallback": false, "ignore_merges": false, "vocab": {"?": 0$vocab},
 "merges": []}}
END
  tune="--init-from llama --text text --seq 16 --batch 4 --lr 0.002 --threads 1 --quiet"
  "$program" train $tune --steps 20 --out alone >/dev/null
  for grid in "2 --sp 2" "2 --tp 2" "4 --sp 2 --tp 2"; do
    set -- $grid
    n=$1
    shift
    mpirun -n $n "$program" train $tune --steps 20 --batch-blocks 1 "$@" --out "by_$n$*" >/dev/null
    near "by_$n$*" alone 20 1e-5
    "$program" train --resume --allow-different --steps 21 --out "by_$n$*" --quiet >/dev/null
  done
}

refused() {
  run="$program train $options --steps 5"
  expect 2 "lr: process 0 has 0.005, process 1 has 0.1" \
    mpirun -n 1 $run --out refused : -n 1 $run --lr 0.1 --out refused
  expect 2 "batch: process 0 has 16, process 2 has 8" \
    mpirun -n 2 $run --batch-blocks 8 --out refused : -n 1 $run --batch 8 --batch-blocks 8 --out refused
  expect 2 "--save-every: process 0 has 100, process 1 has 7" \
    mpirun -n 1 $run --out refused : -n 1 $run --save-every 7 --out refused
  mkdir -p other
  head -n 3000 text >other/text
  expect 2 "text: process 0 has" \
    mpirun -n 1 $run --out "$work/refused" : -n 1 -wdir "$work/other" $run --out "$work/refused"
  # Weights to start with, under one name in two places.
  "$program" train $options --steps 1 --warmup 0 --out from >/dev/null
  (cd other && "$program" train $options --steps 1 --warmup 0 --out from >/dev/null)
  cp text other/text
  expect 2 "weights (a number made from them): process 0 has" \
    mpirun -n 1 $run --init-from from --batch-blocks 8 --out "$work/refused" : \
    -n 1 -wdir "$work/other" $run --init-from from --batch-blocks 8 --out "$work/refused"
  [ ! -e refused ] || fail "a refused run left a folder"
  expect 2 "--sp: expected a divisor of the number of processes, 4, got 3" \
    mpirun -n 4 $run --sp 3 --out refused
  expect 2 "sequence length: expected a multiple of two for each of the 3 processes" \
    mpirun -n 3 $run --dropout 0 --sp 3 --out refused
  expect 2 "--tp: expected a divisor of the 2 key/value heads, got 4" \
    mpirun -n 4 $run --tp 4 --out refused
  expect 2 "--dp: expected 4, as there are 4 processes, got 2" mpirun -n 4 $run --dp 2 --out refused
  expect 2 "--sp: process 0 has 1, process 1 has 2" \
    mpirun -n 1 $run --out refused : -n 1 $run --sp 2 --out refused
  expect 2 "--sp: expected a divisor of the number of processes, 1, got 2" $run --sp 2 --out refused
  expect 2 "batch blocks: expected one or more for each of 3 processes" \
    mpirun -n 3 $run --batch-blocks 2 --out refused
}

faults() {
  # A process whose files cannot grow: the last checkpoint stays.
  mpirun -n 3 "$program" train $options --steps 5 --out full >/dev/null
  cp full/state.safetensors before
  again="$program train --resume --allow-different --steps 9 --out full --quiet --threads 1"
  expect 2 "process 0 of 3" mpirun -n 1 bash -c "ulimit -f 8; exec $again" : -n 2 $again
  cmp full/state.safetensors before || fail "a full disk changed the checkpoint"
  mpirun -n 3 $again >/dev/null
  # A signal to one process stops all after the same step.
  stopped_at 3 $options --steps 100000 --out signal
  # A signal to mpirun reaches all.
  mpirun -n 3 "$program" train $options --steps 100000 --out job >out 2>err &
  job=$!
  while ! [ -e job/state.safetensors ]; do sleep 0.05; done
  kill -TERM $job
  wait $job || true
  no_process_left "out job"
  can_be_read job
}

no_process_left() {
  for try in $(seq 50); do
    pgrep -f -- "--$1" >/dev/null || return 0
    sleep 0.1
  done
  fail "processes are left behind: $(pgrep -af -- "--$1")"
}
can_be_read() {
  "$program" train --resume --allow-different --steps 1 --warmup 0 --out "$1" --quiet --threads 1 >/dev/null
}

killed() {
  RANDOM=${SEED:-$$}
  echo "seed ${SEED:-$$}"
  for run in $(seq "$times"); do
    rm -rf killed_$run
    # A name of its own in each command line.
    mpirun -n 3 "$program" train $options --steps 100000 --save-every 2 --out killed_$run >out 2>err &
    job=$!
    # Not before all have connected: Open MPI 4.1's mpirun may wait for one that dies on the way.
    for try in $(seq 600); do ! [ -e killed_$run/state.safetensors ] || break; sleep 0.05; done
    sleep "$(awk "BEGIN { print $RANDOM / 32768 * 1.5 }")"
    rank=$((RANDOM % 3))
    victim=$(pgrep -P $job -f -- "--out killed_$run" | sed -n "$((rank + 1))p")
    kill -KILL "$victim"
    got=0
    wait $job || got=$?
    [ "$got" != 0 ] || fail "run $run: a killed process went unnoticed"
    no_process_left "out killed_$run"
    grep -q "rank [0-2] with PID" err || fail "run $run: $(cat err)"
    can_be_read killed_$run
  done
}

$what
