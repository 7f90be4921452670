/**
 * What ansible-playbook prints, line by line, turned into events: which play and task runs, what failed on which
 * machine and why, and how each machine ended. Pure; it must never throw on a line that it does not know, because other
 * versions of ansible print others. Called by client/ansible/playbook.ts.
 */

export type PlaybookEvent =
  | { type: "play"; name: string }
  | { type: "task"; name: string }
  /** A task failed on a machine, or the machine could not be reached at all. */
  | { type: "failed"; host: string; reason: string; unreachable: boolean }
  /** What the playbook tells the person about a machine (`ansible.builtin.debug`). */
  | { type: "said"; host: string; text: string }
  /** The failure before this was expected by the playbook. */
  | { type: "ignored" }
  | { type: "recap"; host: string; ok: number; changed: number; failed: number; unreachable: number };

/** Longest text of one failure in characters, before it is read and as it is shown. */
const blockMax = 256 * 1024;
const reasonMax = 2_000;

/** Reads a transcript as it grows. */
export class Transcript {
  private block: { host: string; kind: "failed" | "unreachable" | "said"; text: string } | null = null;

  /** Takes one line without its newline; the events that it completes. */
  push(line: string): PlaybookEvent[] {
    if (this.block !== null) {
      return this.goOn(line);
    }
    const play = /^PLAY \[(.*)\] \**$/.exec(line)?.[1];
    if (play !== undefined) {
      return [{ type: "play", name: play }];
    }
    const task = /^(?:TASK|RUNNING HANDLER) \[(.*)\] \**$/.exec(line)?.[1];
    if (task !== undefined) {
      return [{ type: "task", name: task }];
    }
    if (line === "...ignoring") {
      return [{ type: "ignored" }];
    }
    return this.failure(line) ?? this.result(line) ?? recap(line);
  }

  private failure(line: string): PlaybookEvent[] | null {
    const found =
      /^(?:fatal|failed): \[([^\]\s]+)(?: -> [^\]]*)?\](?: \(item=.*\))?: (UNREACHABLE|FAILED)! => (.*)$/.exec(line);
    if (found === null) {
      return null;
    }
    const [, host = "", kind, rest = ""] = found;
    const unreachable = kind === "UNREACHABLE";
    if (rest === "{") {
      this.block = { host, kind: unreachable ? "unreachable" : "failed", text: rest };
      return [];
    }
    return [{ type: "failed", host, unreachable, reason: reasonOf(rest) }];
  }

  /** A result that ansible shows begins like this, and goes on over several lines. */
  private result(line: string): PlaybookEvent[] | null {
    const host = /^ok: \[([^\]\s]+)\] => \{$/.exec(line)?.[1];
    if (host === undefined) {
      return null;
    }
    this.block = { host, kind: "said", text: "{" };
    return [];
  }

  /** Inside a failure or a result that is printed over several lines; it ends with a brace of its own. */
  private goOn(line: string): PlaybookEvent[] {
    const block = this.block;
    if (block === null) {
      return [];
    }
    if (block.text.length < blockMax) {
      block.text += `\n${line}`;
    }
    if (line !== "}") {
      return [];
    }
    this.block = null;
    const { host, kind, text } = block;
    return kind === "said"
      ? [{ type: "said", host, text: reasonOf(text) }]
      : [{ type: "failed", host, unreachable: kind === "unreachable", reason: reasonOf(text) }];
  }
}

function recap(line: string): PlaybookEvent[] {
  const found = /^(\S+)\s+: ok=(\d+)\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)/.exec(line);
  if (found === null) {
    return [];
  }
  const [, host = "", ok, changed, unreachable, failed] = found;
  return [
    {
      type: "recap",
      host,
      ok: Number(ok),
      changed: Number(changed),
      unreachable: Number(unreachable),
      failed: Number(failed),
    },
  ];
}

/** The part of a module's result that people need: its message, and what the program behind it said. */
function reasonOf(text: string): string {
  let result: unknown;
  try {
    result = JSON.parse(text);
  } catch {
    return text.slice(0, reasonMax);
  }
  const part = (key: string): string => {
    const value = (result as Record<string, unknown> | null)?.[key];
    return typeof value === "string" ? value.trim() : "";
  };
  const said = [part("stderr"), part("stdout"), part("module_stderr")].find((one) => one !== "") ?? "";
  const message = part("msg");
  const lines = [message, said === message ? "" : said].filter((one) => one !== "");
  return (lines.length === 0 ? text : lines.join("\n")).slice(0, reasonMax);
}

/** How many tasks `ansible-playbook --list-tasks` names. */
export function countTasks(listing: string): number {
  return listing.split("\n").filter((line) => /^ {6}\S.*\tTAGS: \[/.test(line)).length;
}
