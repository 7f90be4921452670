/** The coordinator's config: what scheduling makes of it, and what is refused with which words. */
import { expect, it } from "vitest";
import { parseConfig } from "../shared/config-file.ts";
import { effectiveConfig } from "../shared/effective-config.ts";
import { defaultScheduling } from "../shared/scheduling.ts";
import { type CoordinatorConfig, coordinatorConfigSchema, schedulingOf } from "./config.ts";

const least = `cluster: lab
host_key: /k
redis: {socket: /r.sock}
state_dir: /s
`;
const withNode = (labels: string): string => `${least}nodes:\n  - {name: n1, key: ssh-ed25519 A, labels: ${labels}}\n`;

function read(text: string): CoordinatorConfig {
  return parseConfig(text, "coordinator.yaml", coordinatorConfigSchema);
}

it("without a word about scheduling, the core has its defaults and nodes have no labels", () => {
  const config = read(withNode("{}"));
  expect(schedulingOf(config)).toEqual(defaultScheduling);
  expect(config.nodes[0]?.labels).toEqual({});
});

it("everything of scheduling comes to the core, and --check prints what reads back as the same", () => {
  const config = read(`${withNode("{rack: a3, 'example.org/disk': nvme}")}
scheduling:
  fair_share:
    half_life_hours: 24
    user_weights: {alice: 2, bob@example.org: 0.5}
    group_weights: {prof-ada: 3}
    cpus_per_accelerator: 8
  default_time: 90m
  max_time: 1d12h
  warning_seconds: 30
  reserve_after_seconds: 0
  preemption: true
  preemption_warning_seconds: 5
  show_holders: group
  max_priority: 100
`);
  expect(schedulingOf(config)).toEqual({
    fairShare: {
      halfLifeHours: 24,
      userWeights: { alice: 2, "bob@example.org": 0.5 },
      groupWeights: { "prof-ada": 3 },
      cpusPerAccelerator: 8,
    },
    defaultTimeSeconds: 5_400,
    maxTimeSeconds: 129_600,
    warningSeconds: 30,
    reserveAfterSeconds: 0,
    preemption: true,
    maxPriority: 100,
    preemptionWarningSeconds: 5,
    showHolders: "group",
  });
  expect(config.nodes[0]?.labels).toEqual({ rack: "a3", "example.org/disk": "nvme" });
  expect(read(effectiveConfig(config, coordinatorConfigSchema))).toEqual(config);
});

const scheduling = (text: string): string => `${withNode("{}")}scheduling: ${text}\n`;

it.each([
  [
    "a weight of nothing",
    scheduling("{fair_share: {user_weights: {alice: 0}}}"),
    "'scheduling.fair_share.user_weights.alice': must be above 0",
  ],
  ["a user's name", scheduling("{fair_share: {user_weights: {'al ice': 1}}}"), "'al ice' is not a valid name here"],
  ["a group's name", scheduling("{fair_share: {group_weights: {'a:b': 1}}}"), "'a:b' is not a valid name here"],
  ["a time without a unit", scheduling("{max_time: 120}"), "'scheduling.max_time': must be a time with its unit"],
  ["a time as YAML 1.1 counts it", scheduling("{default_time: 1:30:00}"), "must be a time with its unit"],
  ["a time beyond a year", scheduling("{max_time: 400d}"), "at most 366d"],
  [
    "a default beyond the longest",
    scheduling("{default_time: 3h, max_time: 2h}"),
    "'scheduling.default_time': must not be longer",
  ],
  ["a mistyped key", scheduling("{fairshare: {}}"), "unknown key 'scheduling.fairshare'. Did you mean 'fair_share'?"],
  ["a label's name", withNode("{'-rack': a}"), "'-rack' is not a valid name here"],
  ["a label that is a number", withNode("{rack: 3}"), "Put it in quotes to make it text"],
  ["the label that nodes have anyway", withNode("{node: n2}"), "every node has its name as that label"],
])("%s is refused with its place", (_, text, words) => {
  expect(() => read(text)).toThrow(words);
});

it("a default without a longest is any", () => {
  expect(schedulingOf(read(scheduling("{default_time: 2d}"))).defaultTimeSeconds).toBe(172_800);
});
