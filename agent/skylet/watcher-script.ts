/**
 * The text of the watcher (bash): the part of a runner that ends an attempt when its lease has run out. It needs neither
 * skylet nor agent nor network, starts no process, holds no file open, and lives in a session of its own, so that no signal
 * to the job's own groups reaches it. It never touches a process that is not the attempt's. Pure; called by
 * attempt-folder.ts. Only attempts with a lease have one.
 */
import { leaseFault } from "../../shared/agent-wire.ts";
import { folderVariable, shellQuoted } from "./environment.ts";
import { attemptFiles } from "./runner-script.ts";

/** Longest pause between two looks at the lease, in seconds. Counted in the coordinator's margin (core/leases.ts). */
const pauseMax = 5;
/** Milliseconds that the runner is spared after the first KILL, to write the exit code of what was killed. */
const runnerSpareMs = 2000;

/**
 * What of the attempt lives. All of it is what skylet/processes.ts counts: the members of its cgroup, of the runner's
 * session, those that carry the attempt's folder in their environment, and the children of all these.
 */
const searchPart = `cgroup=
findCgroup() {
  local line mount
  while read -r line; do
    [[ $line = 0::*"$name"* ]] || continue
    for mount in /sys/fs/cgroup /sys/fs/cgroup/unified; do
      [[ -r $mount\${line#0::}/cgroup.procs ]] && cgroup=$mount\${line#0::}/cgroup.procs
    done
  done </proc/self/cgroup
}
# Fills \`found\` with the attempt's processes but this one, parents before their children.
find() {
  local path pid entry grown members=" " runnerLives=
  local -A parents=() own=()
  local -a environment all=()
  lives && runnerLives=1
  if [[ -n $cgroup ]]; then
    while read -r pid; do members+="$pid "; done <"$cgroup"
  fi
  for path in /proc/[0-9]*; do
    pid=\${path#/proc/}
    look "$pid" && [[ $pid != "$$" && -O $path ]] || continue
    all+=("$pid") parents[$pid]=$parent
    if [[ $members = *" $pid "* || ( -n $runnerLives || ! -e /proc/$runner ) && $session = "$runner" ]]; then
      own[$pid]=1
      continue
    fi
    environment=()
    mapfile -d '' -t environment <"$path/environ"
    for entry in "\${environment[@]}"; do
      if [[ $entry = "$mark" ]]; then
        own[$pid]=1
        break
      fi
    done
  done 2>/dev/null
  grown=1
  while [[ -n $grown ]]; do
    grown=
    for pid in "\${all[@]}"; do
      if [[ -z \${own[$pid]} && -n \${own[\${parents[$pid]}]} ]]; then own[$pid]=1 grown=1; fi
    done
  done
  found=()
  order() {
    local child
    found+=("$1")
    for child in "\${all[@]}"; do
      if [[ -n \${own[$child]} && \${parents[$child]} = "$1" ]]; then order "$child"; fi
    done
  }
  for pid in "\${all[@]}"; do
    if [[ -n \${own[$pid]} && -z \${own[\${parents[$pid]}]} ]]; then order "$pid"; fi
  done
}
`;

/** Marks the end, then TERM once to each process, and KILL after the grace time until nothing is left. */
function finishPart(graceSeconds: number): string {
  return `finish() {
  local pid begin
  local -A told=()
  if [[ ! -e $folder/${attemptFiles.exit} ]]; then echo '${leaseFault}' >"$folder/${attemptFiles.fault}"; fi
  : >>"$folder/${attemptFiles.stopped}"
  uptime
  begin=$((now + ${graceSeconds * 1000}))
  while find; [[ \${#found[@]} -gt 0 ]]; do
    uptime
    for pid in "\${found[@]}"; do
      if [[ -z \${told[$pid]} ]]; then told[$pid]=1; kill -TERM "$pid"; fi
      if ((now >= begin)) && { [[ $pid != "$runner" ]] || ((now >= begin + ${runnerSpareMs})); }; then kill -KILL "$pid"; fi
    done
    pause 0.2
  done
  exit 0
} 2>/dev/null
`;
}

/**
 * Its argument is the runner's pid. `read -t` on a pipe is bash's pause without a process, and a TERM
 * ends it early: somebody stops the attempt.
 */
export function watcherScript(folder: string, lease: { graceSeconds: number }): string {
  const name = folder.slice(folder.lastIndexOf("/") + 1);
  return `# Ends this attempt when its lease runs out. Written by sky-skylet; see agent/skylet/watcher-script.ts.
trap 'echo >&3' TERM
trap : INT HUP QUIT USR1 USR2 ALRM PIPE TSTP TTIN TTOU
runner=$1
folder=${shellQuoted(folder, "The attempt's path")}
name=${shellQuoted(name, "The attempt's name")}
mark=${shellQuoted(`${folderVariable}=${folder}`, "The attempt's path")}
exec 3<> <(:)
pause() { read -r -t "$1" -u 3 _; }
# Milliseconds since boot.
uptime() { local text; read -r text _ </proc/uptime && now=$((10#\${text%.*} * 1000 + 10#\${text#*.} * 10)); }
# What is left of the lease, in milliseconds; a folder that is gone has none.
left() { local until=; read -r until <"$folder/${attemptFiles.lease}"; uptime; left=$((10#\${until:-0} * 1000 - now)); } 2>/dev/null
# state, parent, session and start of a process; false when it is gone or a zombie.
look() {
  local line fields
  read -r line <"/proc/$1/stat" || return 1
  fields=(\${line##*) })
  state=\${fields[0]} parent=\${fields[1]} session=\${fields[3]} start=\${fields[19]}
  [[ $state != [ZX] ]]
} 2>/dev/null
lives() { look "$runner" && [[ $start = "$born" ]]; }
${searchPart}${finishPart(lease.graceSeconds)}look "$runner" && born=$start || exit 1
findCgroup 2>/dev/null
left
if ((left <= 0)); then echo late; exit 0; fi
echo ok
exec >/dev/null </dev/null
while :; do
  left
  ((left > 0)) || finish
  seconds=$(((left + 999) / 1000))
  ((seconds <= ${pauseMax})) || seconds=${pauseMax}
  if [[ -e $folder/${attemptFiles.stopped} || ! -e $folder ]] || ! lives; then
    # Others end it, or it has ended; what it may have left behind is still watched.
    find
    [[ \${#found[@]} -gt 0 ]] || exit 0
    seconds=1
  fi
  pause "$seconds"
done
`;
}
