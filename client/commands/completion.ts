/**
 * Completion scripts for bash, zsh and fish. They hold the commands and options of this build as plain words, and ask
 * the hidden `sky names` for clusters, jobs, requests and policies, which answers within its time limit or not at all:
 * what a cluster is called stands in its file, whatever the file's own name. They must never print anything else. Called
 * by client/program.ts.
 */
import type { Command } from "commander";

interface Words {
  name: string;
  description: string;
  options: { flags: string[]; description: string }[];
  takesClusters: boolean;
  takesJobs: boolean;
  /** `list` of `gpus list`. */
  subcommands: string[];
  /** Those of them that take names which the cluster knows, by what they are. */
  nameVerbs: { kind: "requests" | "policies"; verbs: string[] }[];
}

const named = [
  { kind: "requests", pattern: /^requests?$/ },
  { kind: "policies", pattern: /^policy$/ },
] as const;

function takes(command: Command, pattern: RegExp): boolean {
  return command.registeredArguments.some((argument) => pattern.test(argument.name()));
}

function wordsOf(program: Command): Words[] {
  const help = program.createHelp();
  return help
    .visibleCommands(program)
    .filter((command) => command.name() !== "help")
    .map((command) => ({
      name: command.name(),
      description: command.description(),
      options: help.visibleOptions(command).map((option) => ({
        flags: [option.short, option.long].filter((flag) => flag !== undefined),
        description: option.description,
      })),
      subcommands: help
        .visibleCommands(command)
        .map((inner) => inner.name())
        .filter((name) => name !== "help"),
      nameVerbs: named
        .map(({ kind, pattern }) => ({
          kind,
          verbs: command.commands.filter((inner) => takes(inner, pattern)).map((inner) => inner.name()),
        }))
        .filter(({ verbs }) => verbs.length > 0),
      takesClusters: takes(command, /^clusters?$/),
      takesJobs: takes(command, /^jobs?$/),
    }));
}

function bash(all: Words[]): string {
  const cases = all.map(
    (words) =>
      `    ${words.name}) options="${words.options.flatMap((option) => option.flags).join(" ")}"; ` +
      `clusters=${words.takesClusters ? 1 : 0}; jobs=${words.takesJobs ? 1 : 0}; ` +
      `inner="${words.subcommands.join(" ")}"; ` +
      `named=" ${words.nameVerbs.flatMap(({ kind, verbs }) => verbs.map((verb) => `${verb}:${kind}`)).join(" ")} " ;;`,
  );
  return `# bash completion for sky
_sky_names() {
  command sky names "$@" 2>/dev/null </dev/null
}
_sky() {
  local current="\${COMP_WORDS[COMP_CWORD]}" previous="\${COMP_WORDS[COMP_CWORD - 1]}"
  local options="" inner="" named="" kind="" clusters=0 jobs=0
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "${all.map((words) => words.name).join(" ")}" -- "$current"))
    return
  fi
  case "\${COMP_WORDS[1]}" in
${cases.join("\n")}
  esac
  case "$previous" in -c | --cluster) COMPREPLY=($(compgen -W "$(_sky_names clusters)" -- "$current")); return ;; esac
  case "$current" in
    -*) COMPREPLY=($(compgen -W "$options" -- "$current")) ;;
    *)
      [ "$COMP_CWORD" -eq 2 ] && [ -n "$inner" ] && { COMPREPLY=($(compgen -W "$inner" -- "$current")); return; }
      if [ "$jobs" = 1 ] && [ "$COMP_CWORD" -ge 3 ]; then
        COMPREPLY=($(compgen -W "$(_sky_names jobs "\${COMP_WORDS[2]}")" -- "$current"))
        return
      fi
      if [ "$COMP_CWORD" -ge 3 ] && [[ "$named" == *" \${COMP_WORDS[2]}:"* ]]; then
        kind="\${named#*" \${COMP_WORDS[2]}:"}"
        COMPREPLY=($(compgen -W "$(_sky_names "\${kind%% *}")" -- "$current"))
        return
      fi
      [ "$clusters" = 1 ] && COMPREPLY=($(compgen -W "$(_sky_names clusters)" -- "$current"))
      [ "\${#COMPREPLY[@]}" -eq 0 ] && COMPREPLY=($(compgen -f -- "$current"))
      ;;
  esac
}
complete -o filenames -F _sky sky`;
}

/** Whether the option's value is a cluster's name. */
function isCluster(option: { flags: string[] }): boolean {
  return option.flags.includes("--cluster");
}

function quoted(text: string): string {
  return text.replaceAll("'", "").replaceAll("[", "(").replaceAll("]", ")").replaceAll(":", " ");
}

/** What stands where no option stands. */
function restOfZsh(words: Words): string {
  if (words.takesJobs) {
    return "'1:cluster:_sky_clusters' '*:job:_sky_jobs'";
  }
  const [first] = words.nameVerbs;
  if (first !== undefined) {
    return `'*:name:_sky_${first.kind}'`;
  }
  return words.takesClusters ? "'*:cluster:_sky_clusters'" : "'*:file:_files'";
}

function zsh(all: Words[]): string {
  const cases = all.map((words) => {
    const options = words.options.flatMap((option) =>
      option.flags.map(
        (flag) => `'${flag}[${quoted(option.description)}]${isCluster(option) ? ":cluster:_sky_clusters" : ""}'`,
      ),
    );
    const inner = words.subcommands.length > 0 ? [`'1:command:(${words.subcommands.join(" ")})'`] : [];
    const rest = restOfZsh(words);
    return `    ${words.name}) _arguments ${[...options, ...inner, rest].join(" ")} ;;`;
  });
  return `#compdef sky
_sky_clusters() {
  local -a names
  names=(\${(f)"$(command sky names clusters 2>/dev/null </dev/null)"})
  compadd -a names
  _files
}
_sky_jobs() {
  local -a names
  names=(\${(f)"$(command sky names jobs "$words[2]" 2>/dev/null </dev/null)"})
  compadd -a names
}
_sky_requests() {
  local -a names
  names=(\${(f)"$(command sky names requests 2>/dev/null </dev/null)"})
  compadd -a names
}
_sky_policies() {
  local -a names
  names=(\${(f)"$(command sky names policies 2>/dev/null </dev/null)"})
  compadd -a names
}
_sky() {
  local -a commands
  commands=(${all.map((words) => `'${words.name}:${quoted(words.description)}'`).join(" ")})
  if ((CURRENT == 2)); then
    _describe command commands
    return
  fi
  local name="$words[2]"
  shift words
  ((CURRENT--))
  case "$name" in
${cases.join("\n")}
  esac
}
compdef _sky sky`;
}

function fish(all: Words[]): string {
  const clusterNames = "(command sky names clusters 2>/dev/null </dev/null)";
  const lines = ["# fish completion for sky", "complete -c sky -f -n __fish_use_subcommand"];
  for (const words of all) {
    lines.push(`complete -c sky -n __fish_use_subcommand -a ${words.name} -d '${quoted(words.description)}'`);
    const when = `-n '__fish_seen_subcommand_from ${words.name}'`;
    for (const option of words.options) {
      const flags = option.flags.map((flag) => (flag.startsWith("--") ? `-l ${flag.slice(2)}` : `-s ${flag.slice(1)}`));
      const value = isCluster(option) ? ` -x -a "${clusterNames}"` : "";
      lines.push(`complete -c sky ${when} ${flags.join(" ")}${value} -d '${quoted(option.description)}'`);
    }
    const second = `'__fish_seen_subcommand_from ${words.name}; and test (count (commandline -opc)) -eq 2'`;
    if (words.subcommands.length > 0) {
      lines.push(`complete -c sky -f -n ${second} -a "${words.subcommands.join(" ")}"`);
    }
    const third = `'__fish_seen_subcommand_from ${words.name}; and test (count (commandline -opc)) -ge 3'`;
    if (words.takesJobs) {
      const names = "(command sky names jobs (commandline -opc)[3] 2>/dev/null </dev/null)";
      lines.push(`complete -c sky -f -n ${third} -a "${names}"`);
    }
    for (const { kind, verbs } of words.nameVerbs) {
      const seen = `__fish_seen_subcommand_from ${verbs.join(" ")}`;
      const names = `(command sky names ${kind} 2>/dev/null </dev/null)`;
      lines.push(`complete -c sky -f -n '__fish_seen_subcommand_from ${words.name}; and ${seen}' -a "${names}"`);
    }
    if (words.takesClusters) {
      lines.push(`complete -c sky ${words.takesJobs ? `-f -n ${second}` : when} -a "${clusterNames}"`);
    }
  }
  return lines.join("\n");
}

/** The script for this shell, from the commands that the program really has. */
export function completion(shell: "bash" | "zsh" | "fish", program: Command): string {
  return { bash, zsh, fish }[shell](wordsOf(program));
}
