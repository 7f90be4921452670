/** What ansible-core 2.14 really printed, and what people are told of it. */
import { describe, expect, it } from "vitest";
import { countTasks, type PlaybookEvent, Transcript } from "./transcript.ts";

function eventsOf(text: string): PlaybookEvent[] {
  const transcript = new Transcript();
  return text.split("\n").flatMap((line) => transcript.push(line));
}

const run = `
PLAY [Installing on-premise dependencies] **************************************

TASK [redis : The private server is installed] *********************************
fatal: [u]: UNREACHABLE! => {"changed": false, "msg": "Failed to connect to the host via ssh: ssh: connect to host 127.0.0.1 port 1: Connection refused", "unreachable": true}
changed: [a]
skipping: [b]

TASK [agent : What the node has] ***********************************************
ok: [a] => {
    "msg": "V100:4 (found by nvidia-smi), 16 CPUs, 64.0 GiB of memory"
}
ok: [b -> a]

TASK [agent : breaks here] *****************************************************
fatal: [b]: FAILED! => {"changed": true, "cmd": ["/bin/false"], "delta": "0:00:00.005021", "msg": "non-zero return code", "rc": 1, "stderr": "no such thing\\n", "stderr_lines": [], "stdout": ""}
...ignoring
failed: [a] (item=x [y]) => {"ansible_loop_var": "item", "msg": "an item's failure is told once more at the end"}
fatal: [a -> head]: FAILED! => {
    "assertion": "inventory_hostname == 'c'",
    "changed": false,
    "msg": "not c"
}

RUNNING HANDLER [agent : restart the agent] ************************************
changed: [a]

PLAY RECAP *********************************************************************
a                          : ok=2    changed=2    unreachable=0    failed=1    skipped=1    rescued=0    ignored=0   
`;

describe("Transcript", () => {
  it("names plays, tasks, failures with their causes, and how each machine ended", () => {
    expect(eventsOf(run)).toEqual([
      { type: "play", name: "Installing on-premise dependencies" },
      { type: "task", name: "redis : The private server is installed" },
      {
        type: "failed",
        host: "u",
        unreachable: true,
        reason: "Failed to connect to the host via ssh: ssh: connect to host 127.0.0.1 port 1: Connection refused",
      },
      { type: "task", name: "agent : What the node has" },
      { type: "said", host: "a", text: "V100:4 (found by nvidia-smi), 16 CPUs, 64.0 GiB of memory" },
      { type: "task", name: "agent : breaks here" },
      { type: "failed", host: "b", unreachable: false, reason: "non-zero return code\nno such thing" },
      { type: "ignored" },
      { type: "failed", host: "a", unreachable: false, reason: "not c" },
      { type: "task", name: "agent : restart the agent" },
      { type: "recap", host: "a", ok: 2, changed: 2, unreachable: 0, failed: 1 },
    ]);
  });

  it("passes over what it does not know, and keeps a failure that is no JSON", () => {
    expect(eventsOf("Using /etc/ansible/ansible.cfg\n[WARNING]: x\n\n}\n")).toEqual([]);
    expect(eventsOf("fatal: [n1]: FAILED! => something else")).toEqual([
      { type: "failed", host: "n1", unreachable: false, reason: "something else" },
    ]);
  });

  it("keeps no more than a bounded part of an endless failure", () => {
    const transcript = new Transcript();
    expect(transcript.push("fatal: [n1]: FAILED! => {")).toEqual([]);
    for (let line = 0; line < 20_000; line += 1) {
      expect(transcript.push(`  "x": "${"y".repeat(100)}",`)).toEqual([]);
    }
    const [end] = transcript.push("}");
    expect(end?.type === "failed" && end.reason.length).toBeLessThanOrEqual(2_000);
  });
});

describe("countTasks", () => {
  it("counts the tasks of all plays", () => {
    const listing = [
      "playbook: p.yml",
      "",
      "  play #1 (all): Installing on-premise dependencies\tTAGS: []",
      "    tasks:",
      "      first thing\tTAGS: []",
      "      redis : second\tTAGS: [a, b]",
      "",
      "  play #2 (all): Launching sky runtime\tTAGS: []",
      "    tasks:",
      "      last thing\tTAGS: []",
    ].join("\n");
    expect(countTasks(listing)).toBe(3);
  });
});
