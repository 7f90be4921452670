/**
 * The text of a rank's runner (POSIX sh) and of the two bash scripts that it runs. Pure. The runner is what outlives
 * skylet and agent: it waits at its gate, runs setup and run with output straight into the log files, and writes exit
 * codes into the attempt's folder. It must never need Node once it runs the user's scripts, and its files' format must not change
 * between versions, because a newer skylet adopts the runners of an older one. Called by attempts.ts.
 */
import { leaseFault } from "../../shared/agent-wire.ts";
import { shellQuoted } from "./environment.ts";

/** Files in an attempt's folder. Content: a decimal number and a newline, unless said otherwise. */
export const attemptFiles = {
  /** JSON: what was asked for; written before the runner exists. */
  spec: "spec.json",
  /** JSON: pid and start time of the runner; written before anybody can say go. */
  runner: "runner.json",
  runnerScript: "runner.sh",
  setupScript: "setup.sh",
  runScript: "run.sh",
  /** JSON: what the command program makes the run script from; only of tasks with a command generator. */
  generatorOrder: "generator.json",
  setupEnvironment: "setup.env",
  runEnvironment: "run.env",
  /** Empty; made by the runner with O_EXCL before any user code: whoever finds it does not start a second time. */
  started: "started",
  /** Empty; made by a stop. From then on the runner begins nothing new. */
  stopped: "stopped",
  setupExit: "setup.exit",
  /** Empty; made by the skylet when every rank's setup is done. */
  mayRun: "mayrun",
  /** A fifo; a byte in it makes a waiting runner look again. */
  wake: "wake",
  /** Empty; the run script begins. */
  running: "running",
  /** The run script's exit code, or `-` when it never began. The runner's last act. */
  exit: "exit",
  /** Text: why the runner could not do its work, or was ended by its lease. */
  fault: "fault",
  /** Seconds of /proc/uptime until which the attempt may run; only of attempts with a lease. */
  lease: "lease",
  watcherScript: "watcher.sh",
  /** Empty; made by the skylet when the warning signal is sent. */
  warned: "warned",
  /** JSON: what files/main.ts is to bring before setup; only of attempts with files. */
  filesOrder: "files.json",
  /** One path a line: what the runner unmounts at its end. */
  mounts: "mounts",
  /** What stands around the user's scripts: its arguments are run inside; only where something has to. */
  insideScript: "inside.sh",
  /** Ends the attempt's container; only of attempts that have one. */
  containerEnd: "container-end.sh",
  /** The task's `event_callback`, with the status as its argument, and its variables. */
  /** Fails where the scripts could not begin as they are to. */
  checkScript: "check.sh",
  eventScript: "event.sh",
  eventEnvironment: "event.env",
} as const;

export interface RunnerPlan {
  /** The attempt's folder, absolute. */
  folder: string;
  /** The user's home, absolute. */
  home: string;
  /** Soft limit of open files of the user's login, as `ulimit -Sn` prints it; Node raises its own, jobs must not inherit that. */
  nofile: string;
  setup: boolean;
  run: boolean;
  /** The program that brings files, Node and bundle; absent: there are none. */
  files?: { node: string; program: string };
  /** The program that makes the run script, Node and bundle; absent: it is there. */
  generator?: { node: string; program: string };
  /** The scripts run inside of `inside.sh`. */
  inside?: true;
  /** `inside.sh` has them run in a container, which ends with the attempt. */
  container?: true;
  /** Nothing of the user's gains privileges: the program that sees to it; `files`: also where files are brought. */
  guard?: { setpriv: string; files: boolean };
  /** Where the scripts begin; absent: `~/sky_workdir`. */
  workingDir?: string;
  /** Removed at the end. */
  scratchRoot?: string;
  /** In place of the user's home, for the scripts. */
  scratchHome?: string;
  /** `check.sh` is run before setup, as the scripts are. */
  check?: true;
  /** Where the output of `event.sh` goes; absent: there is none on this rank. */
  eventLog?: string;
  /** Ends the attempt when its lease has run out; null: it has none. */
  lease: { graceSeconds: number } | null;
  setupLog: string;
  runLog: string;
}

/**
 * Sections of the runner, in order. A number and its newline are one small write, and a reader takes only what ends in
 * a newline; so no `mv` is needed, and an exit code is kept even when the user's processes have used up every fork.
 */
function setupPart(plan: RunnerPlan): string {
  return `log=${shellQuoted(plan.setupLog, "The log's path")}
true >>"$log" || broken "cannot write $log: is the home full, over quota or not mounted?"
${bash(plan)} "$folder/${attemptFiles.setupScript}" >>"$log" 2>/dev/null
code=$?
echo "$code" >"$folder/${attemptFiles.setupExit}"
[ "$code" = 0 ] || ${failedSetup(plan)}
`;
}

/** The words before a script's path. A container runs the script's bash itself, and writes the log. */
function bash(plan: RunnerPlan): string {
  if (plan.container === true) {
    return `/bin/bash --noprofile --norc -p "$folder/${attemptFiles.insideScript}" "$log"`;
  }
  return `${around(plan)}/bin/bash -i`;
}

/** The words before a program of the user's own on the machine itself. */
function around({ inside, scratchHome, guard }: RunnerPlan): string {
  const home = scratchHome === undefined ? "" : `HOME=${shellQuoted(scratchHome, "The scratch home's path")} `;
  return `${home}${inside === true ? `/bin/sh "$folder/${attemptFiles.insideScript}" ` : ""}${guarded(guard?.setpriv)}`;
}

/** The last words before a program that is to gain no privileges. */
function guarded(setpriv: string | undefined): string {
  return setpriv === undefined ? "" : `${shellQuoted(setpriv, "The program's path")} --no-new-privs -- `;
}

/** A rank whose scripts cannot begin has failed in its setup, whether it has one or not. */
function checkPart(plan: RunnerPlan): string {
  const words = plan.container === true ? bash(plan) : `${around(plan)}/bin/sh`;
  return `log=${shellQuoted(plan.setupLog, "The log's path")}
true >>"$log" || broken "cannot write $log: is the home full, over quota or not mounted?"
${words} "$folder/${attemptFiles.checkScript}" >>"$log" 2>/dev/null
code=$?
if [ "$code" != 0 ]; then
  echo "$code" >"$folder/${attemptFiles.setupExit}"
  ${failedSetup(plan)}
fi
${plan.files === undefined || plan.setup ? "" : `echo 0 >"$folder/${attemptFiles.setupExit}"\n`}`;
}

function programWords({ node, program }: { node: string; program: string }): string {
  return [node, program].map((word) => shellQuoted(word, "The program's path")).join(" ");
}

/** Its exit code is the run's. A rank for which a generator made no script has nothing to run. */
function commandPart(plan: RunnerPlan): string {
  const script = `"$folder/${attemptFiles.runScript}"`;
  const run = `${bash(plan)} ${script} >>"$log" 2>/dev/null`;
  return plan.generator === undefined
    ? run
    : `${guarded(plan.guard?.setpriv)}${programWords(plan.generator)} command "$folder" >>"$log" 2>&1 && { [ ! -e ${script} ] || ${run}; }`;
}

/** Files come before setup and count as part of it. */
function filesPart(plan: RunnerPlan, files: { node: string; program: string }): string {
  const { setupLog, setup } = plan;
  const words = `${guarded(plan.guard?.files === true ? plan.guard.setpriv : undefined)}${programWords(files)}`;
  return `log=${shellQuoted(setupLog, "The log's path")}
true >>"$log" || broken "cannot write $log: is the home full, over quota or not mounted?"
${words} files "$folder" >>"$log" 2>&1
code=$?
if [ "$code" != 0 ]; then
  echo "$code" >"$folder/${attemptFiles.setupExit}"
  ${failedSetup(plan)}
fi
${
  setup || plan.check === true
    ? ""
    : `echo 0 >"$folder/${attemptFiles.setupExit}"
`
}`;
}

/**
 * Seconds for the task's event script, which holds up what follows: the order of events is theirs to rely on. A cancel
 * reaches every process, so the script that is to hear of it ignores the signal, until the KILL.
 */
const eventLimitSeconds = 60;

function eventFunction({ eventLog, guard }: RunnerPlan): string {
  if (eventLog === undefined) {
    return "";
  }
  const log = shellQuoted(eventLog, "The log's path");
  return `event() {
  (trap '' TERM; timeout -k 5 ${eventLimitSeconds} ${guarded(guard?.setpriv)}/bin/bash "$folder/${attemptFiles.eventScript}" "$1" >>${log} 2>&1)
}
ended() {
  if [ -e "$folder/${attemptFiles.stopped}" ]; then event CANCELLED; elif [ "$1" = 0 ]; then event SUCCEEDED; else event FAILED; fi
  finish "$1"
}
`;
}

function eventPart({ eventLog }: RunnerPlan, status: string): string {
  return eventLog === undefined ? "" : `event ${status}\n`;
}

/** A setup that ended because of a stop is no failed one. */
function failedSetup({ eventLog }: RunnerPlan): string {
  const event = `if [ -e "$folder/${attemptFiles.stopped}" ]; then event CANCELLED; else event FAILED_SETUP; fi; `;
  return eventLog === undefined ? "finish -" : `{ ${event}finish -; }`;
}

function endPart({ eventLog }: RunnerPlan): string {
  return `${eventLog === undefined ? "finish" : "ended"} "$?"\n`;
}

/** Without a run script the job is done. */
function emptyPart({ eventLog }: RunnerPlan): string {
  return eventLog === undefined ? "finish 0\n" : "ended 0\n";
}

/** What was mounted or started for the attempt goes with it. A stop signals the programs that do it, too. */
function finishPart(plan: RunnerPlan): string {
  const end = `finish() { echo "$1" >"$folder/${attemptFiles.exit}"; exit 0; }`;
  if (plan.files === undefined && plan.container === undefined && plan.scratchRoot === undefined) {
    return end;
  }
  const scratch =
    plan.scratchRoot === undefined ? "" : `  rm -rf ${shellQuoted(plan.scratchRoot, "The scratch folder's path")}\n`;
  const leave =
    plan.container === undefined
      ? ""
      : `  (trap '' TERM; /bin/sh "$folder/${attemptFiles.containerEnd}") >>"\${log:-/dev/null}" 2>&1\n`;
  return `clear() {
${leave}${scratch}  [ -e "$folder/${attemptFiles.mounts}" ] || return 0
  while IFS= read -r place; do
    fusermount3 -u -z "$place" || fusermount -u -z "$place"
  done <"$folder/${attemptFiles.mounts}"
}
${end.replace("{ echo", "{ clear; echo")}`;
}

function runPart(plan: RunnerPlan): string {
  return `log=${shellQuoted(plan.runLog, "The log's path")}
halted() { [ -e "$folder/${attemptFiles.stopped}" ] || [ ! -e "$folder/${attemptFiles.started}" ]; }
while [ ! -e "$folder/${attemptFiles.mayRun}" ]; do
  if halted; then finish -; fi
  # bash, because its read knows a time limit; the fifo is open both ways, so no wake-up is lost and no end is read.
  { [ -e "$folder/${attemptFiles.mayRun}" ] || /bin/bash --noprofile --norc -p -c 'read -r -t 5 _'; } <>"$folder/${attemptFiles.wake}" || pause
done
if halted; then finish -; fi
true >>"$log" || broken "cannot write $log: is the home full, over quota or not mounted?"
true >"$folder/${attemptFiles.running}"
${eventPart(plan, "RUNNING")}${commandPart(plan)}
${endPart(plan)}`;
}

/**
 * The watcher is started before anything of the user, in a session of its own, and says `ok` when it is in place: without
 * it nothing is begun. The substitution ends when the watcher has let go of its output.
 */
function leasePart(): string {
  return `watching=$(setsid /bin/bash --noprofile --norc -p "$folder/${attemptFiles.watcherScript}" "$$" 2>/dev/null &)
case $watching in
  ok) ;;
  late) broken "${leaseFault} Nothing of it was begun." ;;
  *) broken "its lease cannot be watched: is setsid installed, and may the user start more processes?" ;;
esac
`;
}

/** The runner. Its first line of input is `go`; anything else, and the end of input, means that it never starts. */
export function runnerScript(plan: RunnerPlan): string {
  return `#!/bin/sh
# One rank of a job. Written by sky-skylet; see agent/skylet/runner-script.ts.
# A stop signals every process; this one must live until it has written the exit code. Traps are not inherited.
trap : TERM INT HUP QUIT USR1 USR2 ALRM
folder=${shellQuoted(plan.folder, "The attempt's path")}
${finishPart(plan)}
${eventFunction(plan)}broken() { echo "$1" >"$folder/${attemptFiles.fault}"; finish -; }
pause() { [ -e "$folder/${attemptFiles.wake}" ] || sleep 1; }
word=
read -r word
[ "$word" = go ] || exit 0
exec </dev/null
set -C
true >"$folder/${attemptFiles.started}" || exit 0
set +C
if [ -e "$folder/${attemptFiles.stopped}" ]; then finish -; fi
${plan.lease === null ? "" : leasePart()}ulimit -S -n ${/^\d{1,9}$/.test(plan.nofile) ? plan.nofile : "unlimited"}
${plan.files !== undefined || plan.setup ? eventPart(plan, "SETTING_UP") : ""}${plan.files === undefined ? "" : filesPart(plan, plan.files)}${plan.check === true ? checkPart(plan) : ""}${plan.setup ? setupPart(plan) : ""}${plan.run ? runPart(plan) : emptyPart(plan)}`;
}

/** Fails with a sentence when the working folder cannot be entered. */
export function checkScript({ workingDir, container }: RunnerPlan): string {
  if (workingDir === undefined) {
    return "exit 0\n";
  }
  const where = container === true ? "in the job's container" : "on this machine";
  const path = shellQuoted(workingDir, "The working folder's path");
  const sentence = `The working folder ${workingDir} is not there ${where}, or this user may not enter it.`;
  return `cd ${path} 2>/dev/null && exit 0\necho ${shellQuoted(sentence, "The working folder's path")}\nexit 1\n`;
}

/** The task's event script; its argument is the status. */
export function eventScript(plan: Pick<RunnerPlan, "folder" | "home">, script: string): string {
  const file = shellQuoted(`${plan.folder}/${attemptFiles.eventEnvironment}`, "The attempt's path");
  const workdir = shellQuoted(`${plan.home}/sky_workdir`, "The home's path");
  return `builtin . ${file}; builtin export JOB_STATUS="$1"; builtin shift; builtin cd ${workdir} 2>/dev/null\n${script}\n`;
}

/**
 * A user's script with its preamble on line 1, so that line numbers in messages are one more than the user's.
 * In the order of the preamble: the log takes over stderr (before it, bash complains there about the missing terminal);
 * an interactive bash ignores TERM and would go on with the next line after a cancel; a TERM that came before the trap
 * was set is recognised by the stop's mark; `!` is an ordinary character, as in a script.
 */
export function userScript(
  plan: Pick<RunnerPlan, "folder" | "home" | "workingDir">,
  environment: string,
  script: string,
): string {
  const file = (name: string): string => shellQuoted(`${plan.folder}/${name}`, "The attempt's path");
  const workdir = shellQuoted(`${plan.home}/sky_workdir`, "The home's path");
  const preamble = [
    // `builtin exec` would take its redirection back; the backslash passes over an alias.
    "\\exec 2>&1",
    "builtin trap 'exit 143' TERM",
    `[ ! -e ${file(attemptFiles.stopped)} ] || builtin exit 143`,
    "builtin set +H",
    // It is there already but for the first time, and each program that is started costs a millisecond.
    plan.workingDir === undefined
      ? `builtin cd ${workdir} 2>/dev/null || { command mkdir -p ${workdir} && builtin cd ${workdir}; } || builtin exit 1`
      : `builtin cd ${shellQuoted(plan.workingDir, "The working folder's path")} || builtin exit 1`,
    // Last: a task may set PATH to anything.
    `builtin . ${file(environment)}`,
  ];
  return `${preamble.join("; ")}\n${script}${script.endsWith("\n") ? "" : "\n"}`;
}
