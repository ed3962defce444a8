#!/usr/bin/env bash
# One run on Cloud TPU, from this machine: every verb acts on all workers of all slices.
#
#   launch/tpu.sh create NAME --type=v5p-128 [--slices=N] [--spot]   ask for chips, and wait until they are there
#   launch/tpu.sh push   NAME                                        this working tree onto them, installed
#   launch/tpu.sh run    NAME -- --config=... --workdir=gs://...     start the run, detached
#   launch/tpu.sh logs   NAME                                        every worker's log, into logs/NAME/
#   launch/tpu.sh status NAME                                        the chips, and what runs on each worker
#   launch/tpu.sh stop   NAME                                        ask the run to save and end
#   launch/tpu.sh delete NAME                                        give the chips back
#   launch/tpu.sh keep   NAME --type=... -- --config=... --workdir=gs://...
#                        all of it: what is pre-empted is asked for again and the run goes on, until it is done
#
# Options: --project and --zone (default: gcloud's own), --runtime, --env-file=FILE (KEY=VALUE lines for the run: tokens;
# copied as a file, never shown), --poll=SECONDS (default 30), --dry-run (print the commands, run none).
set -euo pipefail

verb="${1:-}" name="${2:-}"
usage() { sed -n '2,16s/^# \{0,1\}//p' "$0"; }
fail() { echo "launch/tpu.sh: $*" >&2; exit 2; }
case "$verb" in create | push | run | logs | status | stop | delete | keep) ;; *) usage >&2; exit 2 ;; esac
[[ "$name" =~ ^[a-z]([-a-z0-9]*[a-z0-9])?$ ]] || fail "NAME '$name': lower-case letters, digits and hyphens"
shift 2

type='' slices=1 spot='' runtime='' env_file='' poll=30 dry='' where=() rest=()
while [ $# -gt 0 ]; do
  case "$1" in
    --type=*) type="${1#*=}" ;;
    --slices=*) slices="${1#*=}" ;;
    --spot) spot=--spot ;;
    --runtime=*) runtime="${1#*=}" ;;
    --project=* | --zone=*) where+=("$1") ;;
    --env-file=*) env_file="${1#*=}" ;;
    --poll=*) poll="${1#*=}" ;;
    --dry-run) dry=1 ;;
    --) shift; rest=("$@"); break ;;
    *) fail "unknown option $1 (arguments of the run go after --)" ;;
  esac
  shift
done
[[ "$slices" =~ ^[1-9][0-9]*$ ]] || fail "--slices=$slices: a number from 1 on"
[ -z "$env_file" ] || [ -r "$env_file" ] || fail "--env-file=$env_file: no such file"
if [ -z "$runtime" ]; then
  case "$type" in
    v4-*) runtime=tpu-ubuntu2204-base ;;
    v5litepod-*) runtime=v2-alpha-tpuv5-lite ;;
    v5p-*) runtime=v2-alpha-tpuv5 ;;
    v6e-*) runtime=v2-alpha-tpuv6e ;;
  esac
fi
here="$(cd "$(dirname "$0")/.." && pwd)"
home=selfexec_run # on the workers
process='^[^ ]*python[^ ]* -m [s]elfexec_jax.main' # not the shell around it, which writes its exit code
patience=180      # seconds that a run may take to save and end

keys=https://packages.cloud.google.com/apt/doc/apt-key.gpg ring=/usr/share/keyrings/cloud.google.asc
gcsfuse="curl -fsS $keys | sudo tee $ring > /dev/null &&
echo \"deb [signed-by=$ring] https://packages.cloud.google.com/apt gcsfuse-\$(lsb_release -cs) main\" |
sudo tee /etc/apt/sources.list.d/gcsfuse.list > /dev/null && sudo apt-get update -qq && sudo apt-get install -qq -y gcsfuse"

say() { echo "$name: $*" >&2; }

# Runs a command of gcloud, or prints it.
gcloud_() {
  if [ -n "$dry" ]; then
    printf '%q ' gcloud "$@"
    echo
  else
    gcloud "$@"
  fi
}
resources() { gcloud_ compute tpus queued-resources "$@" ${where[@]+"${where[@]}"} --quiet; }
vm() { gcloud_ compute tpus tpu-vm "$@" ${where[@]+"${where[@]}"} --quiet; }

# The names of the slices: one has the resource's own.
nodes() {
  if [ "$slices" = 1 ]; then echo "$name"; else for ((i = 0; i < slices; i++)); do echo "$name-$i"; done; fi
}

# A command on every worker of every slice at once; the first that fails makes it fail, after all have ended.
everywhere() {
  local pids=() status=0 node pid
  for node in $(nodes); do
    vm ssh "$node" --worker=all --command="$1" &
    pids+=($!)
    [ -z "$dry" ] || wait $! # printed in order
  done
  for pid in "${pids[@]}"; do wait "$pid" || status=$?; done
  return "$status"
}

# Ssh to a fresh or busy worker fails now and then: three tries.
patiently() {
  local try
  for try in 1 2 3; do
    "$@" && return 0
    [ "$try" = 3 ] || { say "try $try failed; again in ${poll} s"; sleep "$poll"; }
  done
  return 1
}

state() {
  gcloud compute tpus queued-resources describe "$name" ${where[@]+"${where[@]}"} --format='value(state.state)' 2>/dev/null ||
    echo MISSING
}

create() {
  [ -n "$type" ] || fail "create needs --type, an accelerator name like v5p-128"
  [ -n "$runtime" ] || fail "--type=$type: of no known kind; give --runtime"
  local node=(--node-id="$name")
  [ "$slices" = 1 ] || node=(--node-count="$slices" --node-prefix="$name")
  resources create "$name" "${node[@]}" --accelerator-type="$type" --runtime-version="$runtime" ${spot:+"$spot"} ||
    return 1 # said here: keep goes on after it
  [ -z "$dry" ] || return 0
  local now before=''
  while now="$(state)" && [ "$now" != ACTIVE ]; do
    case "$now" in
      FAILED | SUSPENDED | SUSPENDING | MISSING) say "$now: not to be had"; return 1 ;;
    esac
    [ "$now" = "$before" ] || say "$now"
    before="$now"
    sleep "$poll"
  done
  say ACTIVE
}

push() {
  local archive node
  archive="$(mktemp -d)/code.tar.gz"
  git -C "$here" ls-files -z --cached --others --exclude-standard | tar -C "$here" --null -czf "$archive" -T -
  for node in $(nodes); do
    patiently vm scp "$archive" "$node:code.tar.gz" --worker=all || return 1
    if [ -n "$env_file" ]; then
      patiently vm scp "$env_file" "$node:.selfexec_env" --worker=all || return 1
    fi
  done
  rm -rf "$(dirname "$archive")"
  patiently everywhere "chmod -f 600 .selfexec_env; rm -rf $home/code $home/installed && mkdir -p $home/code &&
tar -xzf code.tar.gz -C $home/code && { [ -x $home/venv/bin/python ] || python3 -m venv $home/venv; } &&
$home/venv/bin/pip install -q -e '$home/code[tpu,hf]' && touch $home/installed"
}

# Starts the run on every worker; what it ends with is kept beside its log. All workers see the bucket of --workdir in
# the same place, without caches; checkpoints go there directly.
run() {
  [ ${#rest[@]} -gt 0 ] || fail "run needs the run's arguments after --"
  local quoted arg args=() bucket='' path mount=''
  for arg in "${rest[@]}"; do
    case "$arg" in
      --workdir=gs://*/*)
        path="${arg#--workdir=gs://}"
        bucket="${path%%/*}" path="${path#*/}"
        args+=("--workdir=../bucket/$bucket/$path" "--config.checkpoints=gs://$bucket/$path/checkpoints")
        ;;
      --workdir=gs://*) fail "$arg: give a folder of the bucket" ;;
      *) args+=("$arg") ;;
    esac
  done
  quoted="$(printf '%q ' "${args[@]}")"
  [ -z "$bucket" ] || mount="{ command -v gcsfuse > /dev/null || { $gcsfuse; }; } && mkdir -p $home/bucket/$bucket &&
{ mountpoint -q $home/bucket/$bucket || gcsfuse --implicit-dirs --metadata-cache-ttl-secs=0 \
  --metadata-cache-negative-ttl-secs=0 $bucket $home/bucket/$bucket; } && "
  # Only the run itself goes into the background: what fails before it makes this fail.
  everywhere "${mount}cd $home/code && rm -f ../exit && { [ ! -e ~/.selfexec_env ] || { set -a; . ~/.selfexec_env; set +a; }; } &&
{ nohup bash -c '../venv/bin/python -m selfexec_jax.main --hosts=auto ${quoted% }; echo \$? > ../exit' > ../log 2>&1 < /dev/null &
echo \$! > ../pid; }"
}

logs() {
  mkdir -p "logs/$name"
  local node failed=0
  for node in $(nodes); do
    # Every line begins with the worker that it is from.
    vm ssh "$node" --worker=all --command="sed \"s/^/\$(hostname): /\" $home/log" > "logs/$name/$node.log" || failed=1
    [ -z "$dry" ] || cat "logs/$name/$node.log"
  done
  [ -n "$dry" ] || say "logs/$name/"
  return "$failed"
}

# A line a worker: bare, where nothing is installed, or running, or its exit code, or nothing.
workers() {
  everywhere "if [ ! -e $home/installed ]; then echo bare; elif [ -e $home/exit ]; then echo exit \$(cat $home/exit); elif [ -e $home/pid ] &&
kill -0 \$(cat $home/pid) 2>/dev/null; then echo running; else echo nothing; fi"
}

stop() { everywhere "pkill -TERM -f '$process' || true"; }

# Until no process of the run is left on any worker: what still saves holds the chips.
settle() {
  everywhere "for i in \$(seq $patience); do pgrep -f '$process' > /dev/null || exit 0; sleep 1; done;
pkill -KILL -f '$process' || true"
}

delete() { resources delete "$name" --force; }

# Until the run is done: chips that are gone are asked for again, and the run goes on from its last checkpoint.
keep() {
  [ ${#rest[@]} -gt 0 ] || fail "keep needs the run's arguments after --"
  local found lived=0 again=0
  while true; do
    lived=$((lived + 1))
    case "$(state)" in
      ACTIVE) found="$(workers || echo lost)" ;;
      MISSING) found=gone ;;
      WAITING_FOR_RESOURCES | PROVISIONING | ACCEPTED | CREATING) sleep "$poll"; continue ;;
      *) delete || true; found=gone ;;
    esac
    if [ "$found" = gone ]; then
      say "asking for $type"
      create || { sleep "$poll"; continue; }
      found=bare
    fi
    if grep -q lost <<< "$found"; then
      say "a worker did not answer; again in ${poll} s"
    elif grep -q bare <<< "$found"; then
      push || { say "a worker could not be installed; again in ${poll} s"; sleep "$poll"; continue; }
      run || true
    elif grep -E '^exit ([12]|134)$' <<< "$found" >&2; then # an error of its own; others that end with it have 75
      logs || true
      say "the run failed; its logs are in logs/$name/"
      return 1
    elif grep -Eq '^exit [1-9]|^nothing$' <<< "$found"; then
      again=$((lived < 10 ? again + 1 : 1))
      [ "$again" -le 5 ] || { logs || true; say "it ended at once $again times; its logs are in logs/$name/"; return 1; }
      say "going on"
      stop || true
      settle || true
      run || true
      lived=0
    elif ! grep -q running <<< "$found"; then
      logs || true
      say "done"
      return 0
    fi
    sleep "$poll"
  done
}

case "$verb" in
  status)
    [ -n "$dry" ] || say "$(state)"
    workers
    ;;
  *) "$verb" ;;
esac
